"""Edit a city during a rollout: add and remove buildings, and turn the driving wind.

An edit changes base channels. In new buildings it also sets the dynamic channels to zero, as they
are in all buildings. Everywhere else the flow stays as it is, and the rollout adapts it from there.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pinca_lib.channels import DYNAMIC, GEO_MASK, TOPO, WIND_X, WIND_Y
from pinca_lib.cities.place import towards
from pinca_lib.errors import InputError

HEIGHTS = (3.0, 300.0)  # m, range of building heights; the fields lie at about 2 m


def brush(shape: tuple[int, int], points: Iterable[tuple[int, int]], radius: float) -> Tensor:
    """Return the cells that a round brush covers, continued across the periodic edges.

    Parameters
    ----------
    shape : (height, width)
        Size of the city in cells.
    points : iterable of (row, column)
        Cells on which the brush is centred.
    radius : float
        Radius in cells. A cell is covered if its centre is within the radius of a point.

    Returns
    -------
    Tensor of shape (height, width), bool

    Raises
    ------
    InputError
        If the radius is negative, NaN or infinite, or a point is outside the city.
    """
    height, width = shape
    covered = torch.zeros(height, width, dtype=torch.bool)
    if not (math.isfinite(radius) and radius >= 0):
        raise InputError(f"brush radius {radius}: expected a number of cells, at least 0")
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for row, column in points:
        if not (0 <= row < height and 0 <= column < width):
            raise InputError(
                f"cell ({row}, {column}) is outside the city of {height}×{width} cells"
            )
        down, across = (rows - row).abs(), (columns - column).abs()
        down, across = torch.minimum(down, height - down), torch.minimum(across, width - across)
        covered |= down**2 + across**2 <= radius**2
    return covered


def build(state: Tensor, cells: Tensor, height: float) -> Tensor:
    """Return a copy of a state with buildings in some cells.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
        Not changed.
    cells : Tensor of shape (H, W), bool
        True where buildings are added.
    height : float
        Height of the buildings, m, within ``HEIGHTS``.

    Returns
    -------
    Tensor of shape (B, C, H, W)

    Raises
    ------
    InputError
        If the height is out of range, or no air would remain.
    """
    low, high = HEIGHTS
    if not low <= height <= high:  # also true for NaN
        raise InputError(f"building height {height:g} m: expected {low:g} to {high:g} m")
    edited = state.clone()
    edited[:, GEO_MASK, cells], edited[:, TOPO, cells] = 0, height
    edited[:, DYNAMIC, cells] = 0
    if not edited[:, GEO_MASK].any():
        raise InputError("no air would remain: leave at least one cell without a building")
    return edited


def clear(state: Tensor, cells: Tensor) -> Tensor:
    """Return a copy of a state without buildings in some cells.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
        Not changed.
    cells : Tensor of shape (H, W), bool
        True where the ground is cleared. The dynamic channels stay as they are.

    Returns
    -------
    Tensor of shape (B, C, H, W)
    """
    edited = state.clone()
    edited[:, GEO_MASK, cells], edited[:, TOPO, cells] = 1, 0
    return edited


def turn_wind(state: Tensor, wind_from: float) -> Tensor:
    """Return a copy of a state with the driving wind turned to a direction.

    The length of the wind vector does not change. Where it is 0, it becomes 1.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
        Not changed.
    wind_from : float
        Where the wind comes from, degrees clockwise from north.

    Returns
    -------
    Tensor of shape (B, C, H, W)

    Raises
    ------
    InputError
        If the direction is NaN or infinite.
    """
    x, y = towards(wind_from)
    strength = torch.hypot(state[:, WIND_X], state[:, WIND_Y])
    strength = torch.where(strength > 0, strength, 1)
    edited = state.clone()
    edited[:, WIND_X], edited[:, WIND_Y] = strength * x, strength * y
    return edited
