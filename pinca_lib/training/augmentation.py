"""Augmentation: shift, mirror and turn cases to get more training data.

If a periodic city is shifted, mirrored or turned by a right angle, its mean flow moves with it. The
vector components have to be transformed too: u and v, the driving wind, and <u'w'>, which is the x
component of a flux. After a turn by a right angle the x component is the former <v'w'>. City files
do not contain <v'w'>, so <u'w'> is then unknown.

Mirroring and turning require that rows, v and the driving wind agree on which way is north. If a
file does not state its row order, this cannot be known, and a mirrored case could teach a wrong
flow. Such cases are only shifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pinca_lib.channels import FLUX, GEO_MASK, WIND_X, WIND_Y, U, V


@dataclass(frozen=True)
class Move:
    """A transformation of a case: shift it, then mirror it, then swap its axes.

    Attributes
    ----------
    down, right : int
        Number of cells to shift by, towards higher rows and columns. Cells that leave the grid
        enter again at the opposite edge.
    is_mirrored_y, is_mirrored_x : bool
        Whether the order of the rows or of the columns is reversed.
    is_swapped : bool
        Whether rows and columns are exchanged. Together with a mirror image this is a turn by a
        right angle.
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
        """Return a random move for a grid.

        Parameters
        ----------
        size : (height, width)
            Size of the grid in cells. The axes are swapped only if the grid is square.
        random : numpy.random.Generator
        turnable : bool
            Whether the case may be mirrored and turned. If not, it is only shifted.
        """
        height, width = size
        y, x, swapped = (bool(flag) and turnable for flag in random.integers(2, size=3))
        down, right = random.integers(height), random.integers(width)
        return cls(int(down), int(right), y, x, swapped and height == width)

    def state(self, state: Tensor) -> Tensor:
        """Return the moved copy of a state.

        Parameters
        ----------
        state : Tensor of shape (12, H, W)
            Channels 0-11 of a case.

        Returns
        -------
        Tensor of shape (12, H, W)
            Channels 0 and 1 are unchanged: they are the coordinates of the cells. If the axes are
            swapped, <u'w'> is unknown and set to 0.
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
        """Return which of channels 6-11 are known after the move.

        Parameters
        ----------
        known : Tensor of shape (6,), bool
            Which of them are known before the move.

        Returns
        -------
        Tensor of shape (6,), bool
        """
        after = known.clone()
        after[FLUX - U] &= not self.is_swapped
        return after

    def extent(self, extent: Tensor) -> Tensor:
        """Return the height and width of the moved domain, m, from those before; shape (2,)."""
        return extent.flip(0) if self.is_swapped else extent
