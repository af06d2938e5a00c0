"""A place: building heights on a grid of square cells, and where on Earth the grid lies.

Readers bring what people have (footprints, CityJSON, meshes, rasters) as a ``Source``, which can
draw itself on any grid; ``lay_out`` chooses the grid: the site that was asked for, and around it
a margin whose results are not shown, because the domain of a rollout is periodic.

A place of more than ``MOST_CELLS`` a side is a town: its heights are a Dask array, which is drawn
part by part when it is computed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pinca_lib.channels import (
    COORD_X,
    COORD_Y,
    GEO_MASK,
    KNOWN_COUNT,
    STATE_COUNT,
    TOPO,
    WIND_X,
    WIND_Y,
    fresh_states,
)
from pinca_lib.errors import InputError, needed

CELL = 2.0  # m, of the shipped rules
BLOCK = 8.0  # m: the widest cells of the shipped rules; a grid holds whole ones
MARGIN = 150.0  # m of open ground or surroundings around a site; less costs accuracy
MOST_CELLS = 2500  # a side: 5 km at 2 m; a larger place is a town
PART = 1000  # cells a side: of a town, drawn at a time
GLANCE = 1000  # cells a side of a town's overview, in which its buildings are looked at and shown
BYTES_A_CELL = 700  # of a rollout of one wind direction


class Bounds(NamedTuple):
    """A rectangle in metres: x to the east, y to the north."""

    west: float
    south: float
    east: float
    north: float

    def grown(self, by: float) -> "Bounds":
        """Return the rectangle with a border of ``by`` around it."""
        west, south, east, north = self
        return Bounds(west - by, south - by, east + by, north + by)

    def mapped(self, change: Callable) -> "Bounds":
        """Return the rectangle around this one after its coordinates x, y are changed."""
        along = np.linspace(0, 1, 21)
        x = self.west + (self.east - self.west) * along
        y = self.south + (self.north - self.south) * along
        west, south, east, north = (np.full(21, side) for side in self)
        x, y = change(np.concatenate([x, x, west, east]), np.concatenate([south, north, y, y]))
        return Bounds(float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y)))


class Grid(NamedTuple):
    """Square cells: where the south-west corner lies, their side, how many."""

    west: float  # m
    south: float  # m
    cell: float  # m
    shape: tuple[int, int]  # rows from south to north, columns from west to east

    @property
    def bounds(self) -> Bounds:
        """The rectangle that the cells fill."""
        height, width = (self.cell * count for count in self.shape)
        return Bounds(self.west, self.south, self.west + width, self.south + height)


def reach(held: Bounds) -> str:
    """Say where a file's buildings lie, in the file's own coordinates."""
    west, south, east, north = (
        f"{value:.6g}" if abs(value) < 1000 else f"{value:.0f}" for value in held
    )
    return (
        f"the file reaches from west {west}, south {south} to east {east}, north {north}, and a "
        "site is in these coordinates, x (longitude) before y (latitude)"
    )


def _same(x, y):
    return x, y


class Drawing(NamedTuple):
    """Buildings drawn on a grid."""

    heights: np.ndarray  # (H, W), float32: m above ground, 0 in the open; row 0 is south
    assumed: np.ndarray  # (H, W), bool: buildings whose height was not given but assumed


@dataclass(frozen=True, eq=False)
class Source:
    """Buildings as a file holds them, in metres.

    Attributes
    ----------
    name : str
        Of the file.
    bounds : Bounds
        Of its buildings.
    crs : pyproj.CRS or None
        Of the coordinates, projected and in metres; None for local coordinates.
    draw : callable
        Takes a ``Grid`` and returns a ``Drawing``.
    remarks : tuple of str
        What its user should know, a sentence each.
    to_metres, from_metres : callable
        Take x, y as the file has them (perhaps degrees) to those of the source, and back.
    draw_part : callable or None
        Draws a part of a larger grid as ``draw`` does, without a check that it is a city; None
        where a part takes as long as the whole.
    """

    name: str
    bounds: Bounds
    crs: Any
    draw: Callable[[Grid], Drawing]
    remarks: tuple[str, ...] = ()
    to_metres: Callable = _same
    from_metres: Callable = _same
    draw_part: Callable[[Grid], Drawing] | None = None

    @property
    def reach(self) -> str:
        """Where the buildings lie in the file's own coordinates, for messages about a site."""
        return reach(self.bounds.mapped(self.from_metres))


@dataclass(frozen=True, eq=False)
class Place:
    """A site with its surroundings, ready for a rollout.

    Attributes
    ----------
    name : str
    grid : Grid
        The whole domain, margins included.
    heights : ndarray of shape (H, W), float32
        Building height above ground, m; 0 in the open. Row 0 is south. A Dask array in a town.
    assumed : ndarray of shape (H, W), bool
        Buildings whose height was not given but assumed.
    site : (slice, slice)
        Rows and columns whose results are shown.
    crs : pyproj.CRS or None
        Of the grid's coordinates; None for local ones.
    remarks : tuple of str
        What its user should know, a sentence each.
    """

    name: str
    grid: Grid
    heights: np.ndarray
    assumed: np.ndarray
    site: tuple[slice, slice]
    crs: Any = None
    remarks: tuple[str, ...] = ()

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the whole domain, m."""
        height, width = self.grid.shape
        return height * self.grid.cell, width * self.grid.cell

    @property
    def site_grid(self) -> Grid:
        """The cells whose results are shown."""
        rows, columns = self.site
        west = self.grid.west + columns.start * self.grid.cell
        south = self.grid.south + rows.start * self.grid.cell
        shape = rows.stop - rows.start, columns.stop - columns.start
        return Grid(west, south, self.grid.cell, shape)

    @property
    def is_town(self) -> bool:
        """Whether the place is too large to be held in memory."""
        return not isinstance(self.heights, np.ndarray)

    @property
    def thinning(self) -> int:
        """Of so many cells a side of the site, an overview shows one; 1 but for towns."""
        return -(-max(self.site_grid.shape) // GLANCE) if self.is_town else 1

    def overview(self) -> "Place":
        """Return the place itself, or a town's site thinned to fit into memory and a figure."""
        if not self.is_town:
            return self
        heights, assumed = (self.thinned(self.on_site(x)) for x in (self.heights, self.assumed))
        grid = self.site_grid
        grid = grid._replace(cell=grid.cell * self.thinning, shape=heights.shape)
        whole = slice(0, heights.shape[0]), slice(0, heights.shape[1])
        return replace(self, grid=grid, heights=heights, assumed=assumed, site=whole)

    def thinned(self, planes) -> np.ndarray:
        """Return planes (..., h, w) of the site as an overview shows them."""
        return np.asarray(planes[..., :: self.thinning, :: self.thinning])

    def on_site(self, planes):
        """Return the part of planes (..., H, W) that lies on the site."""
        return planes[(..., *self.site)]

    def states(self, wind_from: Sequence[float], channels: int = STATE_COUNT) -> Tensor:
        """Return a fresh state for each wind direction.

        Parameters
        ----------
        wind_from : sequence of float
            Where the wind comes from, degrees clockwise from the grid's north.
        channels : int
            Channels C of a state.

        Returns
        -------
        Tensor of shape (N, C, H, W), float32
        """
        height, width = self.grid.shape
        case = torch.zeros(1, KNOWN_COUNT, height, width)
        case[0, COORD_Y] = torch.linspace(-1, 1, height)[:, None]
        case[0, COORD_X] = torch.linspace(-1, 1, width)
        case[0, TOPO] = torch.from_numpy(np.ascontiguousarray(self.heights))
        case[0, GEO_MASK] = (case[0, TOPO] == 0).float()
        states = fresh_states(case, channels).repeat(len(wind_from), 1, 1, 1)
        for state, degrees in zip(states, wind_from, strict=True):
            x, y = towards(degrees)
            state[WIND_X], state[WIND_Y] = x, y
        return states


def towards(wind_from: float) -> tuple[float, float]:
    """Return the unit vector (east, north) of where a wind goes.

    Parameters
    ----------
    wind_from : float
        Where it comes from, degrees clockwise from north.

    Raises
    ------
    InputError
        If it is not a finite number.
    """
    if not math.isfinite(wind_from):
        raise InputError(f"wind_from={wind_from}: expected degrees clockwise from north")
    angle = math.radians(wind_from)
    return -math.sin(angle), -math.cos(angle)


def lay_out(
    source: Source, site: Bounds | None = None, cell: float = CELL, margin: float = MARGIN
) -> Place:
    """Draw a source on a grid that holds the site and a margin around it.

    Parameters
    ----------
    source : Source
    site : Bounds, optional
        What to show, in the source's coordinates; the rectangle of all buildings without it.
    cell : float
        Side of a cell, m.
    margin : float
        Least distance from the site to the edge of the domain, m. What the source holds there is
        drawn as surroundings; the rest is open ground.

    Raises
    ------
    InputError
        If the site holds no building, or the grid would be too large.
    """
    site = site or source.bounds
    whole = BLOCK if cell < BLOCK and (BLOCK / cell).is_integer() else cell
    west, south = (math.floor(least / cell) * cell for least in site[:2])
    size = [max(1, math.ceil((most - least) / cell - 1e-9))
            for least, most in ((south, site.north), (west, site.east))]  # fmt: skip
    around = math.ceil(margin / whole) * round(whole / cell)  # cells
    multiple = round(whole / cell)
    shape = tuple(-(-(count + 2 * around) // multiple) * multiple for count in size)
    if max(shape) > MOST_CELLS and source.draw_part is None:
        memory = BYTES_A_CELL * shape[0] * shape[1] / 2**30
        raise InputError(
            f"{source.name}: the site is {size[1] * cell:,.0f} m × {size[0] * cell:,.0f} m, which "
            f"takes about {memory:.0f} GB a wind direction: {shape[1]:,} × {shape[0]:,} cells of "
            f"{cell:g} m with the margin. Choose a part with site=, a box (west, south, east, "
            f"north) or a centre and a radius in metres; or bring a raster of heights, which is "
            f"read part by part. {source.reach[0].upper()}{source.reach[1:]}"
        )
    grid = Grid(west - around * cell, south - around * cell, cell, (shape[0], shape[1]))
    rows, columns = (slice(around, around + count) for count in size)
    if max(shape) > MOST_CELLS:
        drawing, shown = _in_parts(source, grid), _glance(source, grid)
    else:
        drawing = source.draw(grid)
        shown = drawing.heights[rows, columns]
    if not shown.any():
        raise InputError(f"{source.name}: no building lies in the site; {source.reach}")
    if not (shown == 0).any():
        raise InputError(f"{source.name}: the site is built over everywhere; no air is left")
    return Place(
        source.name, grid, drawing.heights, drawing.assumed, (rows, columns), source.crs,
        source.remarks,
    )  # fmt: skip


def _in_parts(source: Source, grid: Grid) -> Drawing:
    """Return the buildings on a large grid as Dask arrays, drawn part by part."""
    needed(
        "dask.array", f"{source.name}: a place of more than {MOST_CELLS} cells a side", "cluster"
    )
    import dask.array

    draw = source.draw_part
    assert draw is not None

    def part(block_info) -> np.ndarray:
        (south, north), (west, east) = block_info[None]["array-location"]
        corner = grid.west + west * grid.cell, grid.south + south * grid.cell
        return draw(Grid(*corner, grid.cell, (north - south, east - west))).heights

    chunks = dask.array.core.normalize_chunks(PART, grid.shape)
    heights = dask.array.map_blocks(
        part, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0), "f4")
    )
    return Drawing(heights, dask.array.zeros(grid.shape, dtype=bool, chunks=chunks))


def _glance(source: Source, grid: Grid) -> np.ndarray:
    """Return the heights of buildings on a large grid, on fewer cells."""
    times = -(-max(grid.shape) // GLANCE)
    shape = max(1, grid.shape[0] // times), max(1, grid.shape[1] // times)
    return source.draw(grid._replace(cell=grid.cell * times, shape=shape)).heights
