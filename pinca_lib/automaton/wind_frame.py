"""The wind frame: axes along (x) and across (y) the driving wind, rotations into it, mirror images.

Two kinds of vectors rotate: the pairs of channels in ``channels.VECTORS``, and the gradient that
the two Sobel filters give of every channel. The mirror image swaps the left and right side of the
wind. It changes the sign of the *odd* channels, and leaves that of the *even* ones. Odd are the y
components of vectors and, by definition, the second half of the hidden channels after <v'w'>.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pinca_lib.channels import FLUX_Y, VECTORS, WIND_X, WIND_Y

ACROSS = 2  # index of Sobel y in ``automaton.FILTERS``
GRADIENT = (1, ACROSS)  # indices of Sobel x and Sobel y


def heading(state: Tensor) -> Tensor:
    """Return the direction of the mean driving wind of states (B, >= 6, H, W), as a unit vector.

    Returns
    -------
    Tensor of shape (B, 2)
        x and y component of where the wind goes; (1, 0) if there is no wind.
    """
    wind = state[:, [WIND_X, WIND_Y]].mean((2, 3))
    speed = torch.linalg.vector_norm(wind, dim=1, keepdim=True)
    return torch.where(speed > 0, wind / speed, wind.new_tensor([1.0, 0.0]))


def wind_direction(state: Tensor) -> float:
    """Return where the mean driving wind of a state (C, H, W) goes.

    Returns
    -------
    float
        Degrees anticlockwise from x (east), 0 to 360.
    """
    x, y = (float(state[channel].mean()) for channel in (WIND_X, WIND_Y))
    return math.degrees(math.atan2(y, x)) % 360


def reverse(wind: Tensor) -> Tensor:
    """Return the unit vectors (B, 2) of the opposite rotation."""
    return wind * wind.new_tensor([1.0, -1.0])


def rotated(values: Tensor, wind: Tensor, dim: int) -> Tensor:
    """Rotate the vectors among channels from the wind frame to the grid.

    Parameters
    ----------
    values : Tensor of shape (B, ...) or (1, ...)
        Values with channels along the axis ``dim``.
    wind : Tensor of shape (B, 2)
        Result of ``heading``. To rotate from the grid to the wind frame, pass ``reverse(wind)``.
    dim : int
        Axis of the channels, at least 1.

    Returns
    -------
    Tensor of shape (B, ...)
    """
    return _rotated(values, wind, VECTORS, dim)


def rotated_perception(values: Tensor, wind: Tensor, dim: int) -> Tensor:
    """Rotate what is perceived as ``rotated`` does; the axis after the channels is the filters."""
    return _rotated(rotated(values, wind, dim), wind, [GRADIENT], dim + 1)


def is_odd(count: int) -> list[bool]:
    """Return for each of ``count`` channels whether it changes sign in the mirror image."""
    odd = {y for _, y in VECTORS}.union(range((FLUX_Y + 1 + count) // 2, count))
    return [c in odd for c in range(count)]


def even_and_odd(count: int, part: slice) -> tuple[list[int], list[int]]:
    """Return which channels of a slice of ``count`` channels are even, and which are odd.

    In both lists the components of vectors come first, in the order of ``VECTORS``.
    """
    odd, components = is_odd(count), [c for vector in VECTORS for c in vector]
    channels = sorted(range(count)[part], key=lambda c: c not in components)
    return [c for c in channels if not odd[c]], [c for c in channels if odd[c]]


def mirrored(values: Tensor, dim: int) -> Tensor:
    """Change the sign of the odd channels along the axis ``dim``. Values are in the wind frame."""
    signs = 1 - 2 * values.new_tensor(is_odd(values.shape[dim]))
    return values * signs.view(-1, *[1] * (values.ndim - dim - 1))


def mirrored_perception(values: Tensor, dim: int) -> Tensor:
    """Mirror what is perceived as ``mirrored`` does; the axis after the channels is the filters."""
    signs = values.new_ones(values.shape[dim + 1])
    signs[ACROSS] = -1
    return mirrored(values, dim) * signs.view(-1, *[1] * (values.ndim - dim - 2))


def _rotated(values: Tensor, wind: Tensor, vectors: Sequence[tuple[int, int]], dim: int) -> Tensor:
    cos, sin = (part.view(-1, *[1] * (values.ndim - 2)) for part in wind.unbind(1))
    parts = list(values.expand(len(wind), *values.shape[1:]).unbind(dim))
    for x, y in (pair for pair in vectors if max(pair) < len(parts)):
        parts[x], parts[y] = cos * parts[x] - sin * parts[y], sin * parts[x] + cos * parts[y]
    return torch.stack(parts, dim)
