"""Edits of a city in the middle of a rollout: buildings painted and erased, the wind turned.

An edit changes base channels and, where a building comes to stand, sets the others to zero, as
they are in all buildings. The flow everywhere else is kept: the rule heals it from there.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pinca_lib.channels import DYNAMIC, GEO_MASK, TOPO, WIND_X, WIND_Y
from pinca_lib.errors import InputError

HEIGHTS = (3.0, 300.0)  # m; a lower building would not reach the plane of the fields


def brush(shape: tuple[int, int], points: Iterable[tuple[int, int]], radius: float) -> Tensor:
    """Return the cells that a round brush covers on its way, across the periodic edges.

    Parameters
    ----------
    shape : (height, width)
    points : iterable of (row, column)
        Where the brush touches the city.
    radius : float
        In cells; a cell is covered if its centre is within.

    Returns
    -------
    Tensor of shape (height, width), bool

    Raises
    ------
    InputError
        If a point or the radius is not a number, or a point is not in the city.
    """
    height, width = shape
    covered = torch.zeros(height, width, dtype=torch.bool)
    if not (math.isfinite(radius) and radius >= 0):
        raise InputError(f"a brush of radius {radius} covers nothing")
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for row, column in points:
        if not (0 <= row < height and 0 <= column < width):
            raise InputError(f"cell ({row}, {column}) is outside of {height}×{width} cells")
        down, across = (rows - row).abs(), (columns - column).abs()
        down, across = torch.minimum(down, height - down), torch.minimum(across, width - across)
        covered |= down**2 + across**2 <= radius**2
    return covered


def build(state: Tensor, cells: Tensor, height: float) -> Tensor:
    """Return a state with buildings of one height in some cells.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
        Not changed.
    cells : Tensor of shape (H, W), bool
    height : float
        In metres, within ``HEIGHTS``.

    Raises
    ------
    InputError
        If the height is out of range, or no air would be left.
    """
    low, high = HEIGHTS
    if not low <= height <= high:  # NaN neither
        raise InputError(f"a building is {low:g} to {high:g} m high, not {height:g} m")
    edited = state.clone()
    edited[:, GEO_MASK, cells], edited[:, TOPO, cells] = 0, height
    edited[:, DYNAMIC, cells] = 0
    if not edited[:, GEO_MASK].any():
        raise InputError("no air would be left for the wind")
    return edited


def clear(state: Tensor, cells: Tensor) -> Tensor:
    """Return a state of shape (B, C, H, W) with open ground in some cells (H, W), bool."""
    edited = state.clone()
    edited[:, GEO_MASK, cells], edited[:, TOPO, cells] = 1, 0
    return edited


def turn_wind(state: Tensor, degrees: float) -> Tensor:
    """Return a state whose driving wind blows towards a direction, as strong as before.

    Where there was none, its strength becomes 1.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
        Not changed.
    degrees : float
        Counter-clockwise from +x, where the wind goes to.

    Raises
    ------
    InputError
        If the direction is not a finite number.
    """
    if not math.isfinite(degrees):
        raise InputError(f"the wind cannot blow towards {degrees}°")
    angle = math.radians(degrees)
    strength = torch.hypot(state[:, WIND_X], state[:, WIND_Y])
    strength = torch.where(strength > 0, strength, 1)
    edited = state.clone()
    edited[:, WIND_X], edited[:, WIND_Y] = strength * math.cos(angle), strength * math.sin(angle)
    return edited
