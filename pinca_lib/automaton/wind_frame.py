"""The frame of the driving wind, x along it and y across: turning into it, and mirroring in it.

Vectors are the pairs of channels in ``channels.VECTORS``, and what the two Sobel filters give. In
the mirror image across the wind their y components change sign, and so does the second half of the
hidden channels that come after <v'w'>.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pinca_lib.channels import FLUX_Y, VECTORS, WIND_X, WIND_Y

ACROSS = 2  # of ``automaton.FILTERS``: Sobel y
GRADIENT = (1, ACROSS)


def heading(state: Tensor) -> Tensor:
    """Return the direction of the mean driving wind of states (B, >= 6, H, W), as a unit vector.

    Returns
    -------
    Tensor of shape (B, 2)
        Its x and y components; (1, 0) where no wind blows.
    """
    wind = state[:, [WIND_X, WIND_Y]].mean((2, 3))
    speed = torch.linalg.vector_norm(wind, dim=1, keepdim=True)
    return torch.where(speed > 0, wind / speed, wind.new_tensor([1.0, 0.0]))


def wind_direction(state: Tensor) -> float:
    """Return where the mean driving wind of a state (C, H, W) goes to, degrees in 0…360."""
    x, y = (float(state[channel].mean()) for channel in (WIND_X, WIND_Y))
    return math.degrees(math.atan2(y, x)) % 360


def reverse(wind: Tensor) -> Tensor:
    """Return what turns by as much the other way, (B, 2)."""
    return wind * wind.new_tensor([1.0, -1.0])


def rotated(values: Tensor, wind: Tensor, dim: int) -> Tensor:
    """Turn the vectors among channels from the frame of the wind into that of the grid.

    Parameters
    ----------
    values : Tensor of shape (B, ...) or (1, ...)
        With channels along the axis ``dim``.
    wind : Tensor of shape (B, 2)
        The ``heading``; ``reverse`` it, from that of the grid into that of the wind.
    dim : int

    Returns
    -------
    Tensor of shape (B, ...)
    """
    return _rotated(values, wind, VECTORS, dim)


def rotated_perception(values: Tensor, wind: Tensor, dim: int) -> Tensor:
    """Turn as ``rotated`` what the filters see of the channels, filters along the next axis."""
    return _rotated(rotated(values, wind, dim), wind, [GRADIENT], dim + 1)


def is_odd(count: int) -> list[bool]:
    """Return which of so many channels change sign in the mirror image across the wind."""
    odd = {y for _, y in VECTORS}.union(range((FLUX_Y + 1 + count) // 2, count))
    return [c in odd for c in range(count)]


def even_and_odd(count: int, part: slice) -> tuple[list[int], list[int]]:
    """Return which of a part of so many channels are even in the mirror image, and which odd.

    Vectors' components come first, in the order of ``VECTORS``.
    """
    odd, components = is_odd(count), [c for vector in VECTORS for c in vector]
    channels = sorted(range(count)[part], key=lambda c: c not in components)
    return [c for c in channels if not odd[c]], [c for c in channels if odd[c]]


def mirrored(values: Tensor, dim: int) -> Tensor:
    """Return the mirror image across the wind of channels along an axis, in the wind's frame."""
    signs = 1 - 2 * values.new_tensor(is_odd(values.shape[dim]))
    return values * signs.view(-1, *[1] * (values.ndim - dim - 1))


def mirrored_perception(values: Tensor, dim: int) -> Tensor:
    """Mirror as ``mirrored`` what the filters see of the channels, filters along the next axis."""
    signs = values.new_ones(values.shape[dim + 1])
    signs[ACROSS] = -1
    return mirrored(values, dim) * signs.view(-1, *[1] * (values.ndim - dim - 2))


def _rotated(values: Tensor, wind: Tensor, vectors: Sequence[tuple[int, int]], dim: int) -> Tensor:
    cos, sin = (part.view(-1, *[1] * (values.ndim - 2)) for part in wind.unbind(1))
    parts = list(values.expand(len(wind), *values.shape[1:]).unbind(dim))
    for x, y in (pair for pair in vectors if max(pair) < len(parts)):
        parts[x], parts[y] = cos * parts[x] - sin * parts[y], sin * parts[x] + cos * parts[y]
    return torch.stack(parts, dim)
