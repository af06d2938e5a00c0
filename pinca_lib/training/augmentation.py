"""More cases out of few: the same flow shifted, mirrored and turned.

A mean flow over a periodic city stays one when the city is moved along its period, mirrored or
turned by a right angle, if the components of its vectors go along: u and v, the driving wind, and
<u'w'>, which is the x component of a flux. Turned by a right angle it becomes <v'w'>, and what
<u'w'> is there nobody has stored: it is unknown.

That is so where rows, v and the driving wind agree on what is up. Of a file that does not say how
its rows run nobody knows, and a mirror image would teach the wrong: such cases are only shifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pinca_lib.channels import FLUX, GEO_MASK, WIND_X, WIND_Y, U, V


@dataclass(frozen=True)
class Move:
    """A shift along the period, then mirror images, then a swap of the axes.

    Attributes
    ----------
    down, right : int
        Cells to shift by.
    is_mirrored_y, is_mirrored_x, is_swapped : bool
    """

    down: int = 0
    right: int = 0
    is_mirrored_y: bool = False
    is_mirrored_x: bool = False
    is_swapped: bool = False

    @classmethod
    def drawn(
        cls, size: Sequence[int], random: np.random.Generator, turnable: bool = True
    ) -> "Move":
        """Draw a move of grids of (height, width): a shift alone for what is not turnable.

        Axes are swapped on squares alone.
        """
        height, width = size
        y, x, swapped = (bool(flag) and turnable for flag in random.integers(2, size=3))
        down, right = random.integers(height), random.integers(width)
        return cls(int(down), int(right), y, x, swapped and height == width)

    def state(self, state: Tensor) -> Tensor:
        """Return a moved state of shape (12, H, W); its coordinates stay, for they are places.

        Where the axes are swapped, <u'w'> is 0, as unknown.
        """
        planes = state[GEO_MASK:].roll((self.down, self.right), (1, 2))
        if self.is_mirrored_y:
            planes = planes.flip(1)
        if self.is_mirrored_x:
            planes = planes.flip(2)
        moved = state.clone()
        moved[GEO_MASK:] = planes.transpose(1, 2) if self.is_swapped else planes
        y_like, x_like = (WIND_Y, V), (WIND_X, U)
        if self.is_swapped:
            moved[[*y_like, *x_like]] = moved[[*x_like, *y_like]]
            moved[FLUX] = 0
        signs = self.is_mirrored_y, self.is_mirrored_x
        along_y, along_x = signs[::-1] if self.is_swapped else signs
        for channels, is_mirrored in ((y_like, along_y), ((*x_like, FLUX), along_x)):
            if is_mirrored:
                moved[list(channels)] *= -1
        return moved

    def known(self, known: Tensor) -> Tensor:
        """Return which of channels 6-11 are known after the move, (6,), given those before."""
        after = known.clone()
        after[FLUX - U] &= not self.is_swapped
        return after

    def extent(self, extent: Tensor) -> Tensor:
        """Return the moved domain's height and width in metres, (2,)."""
        return extent.flip(0) if self.is_swapped else extent
