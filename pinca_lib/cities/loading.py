"""``load_city``: a place from whatever holds its buildings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pinca_lib.cities.cityjson import read_cityjson
from pinca_lib.cities.coordinates import Site, parse_site, site_bounds
from pinca_lib.cities.footprints import read_footprints
from pinca_lib.cities.formats import MESHES, detect
from pinca_lib.cities.heights import LEAST, check_default_height, doubtful_heights
from pinca_lib.cities.meshes import read_mesh
from pinca_lib.cities.place import CELL, MARGIN, Bounds, Drawing, Grid, Place, Source, lay_out
from pinca_lib.cities.rasters import array_source, read_array, read_raster
from pinca_lib.cities.simulated import read_simulated
from pinca_lib.errors import InputError, shown

BORDER = 20.0  # m of ground around the outermost buildings, shown where no site is chosen
CELLS = (0.25, 20.0)  # m, range of the side of a cell
LEAST_KEPT = 1 / 3  # of the ground built over; a proposal that keeps less may lack what stays
WIDEST_MARGIN = 2000.0  # m


def load_city(
    buildings: Path | str | np.ndarray,
    *,
    site: Site = None,
    cell: float = CELL,
    margin: float = MARGIN,
    height_field: str = "",
    default_height: float | None = None,
    crs: Any = None,
    terrain: Path | str | None = None,
    unit: str = "",
    up: str = "",
    like: Place | None = None,
) -> Place:
    """Bring a place onto a grid, from whatever holds its buildings.

    Parameters
    ----------
    buildings : Path, str or ndarray of shape (H, W)
        A file: footprints with heights (GeoJSON, GeoPackage, Shapefile, FlatGeobuf, zipped),
        CityJSON, a mesh (OBJ, STL, PLY, glTF), a raster of heights (GeoTIFF, ASCII grid), a city
        file (HDF5) or an array (.npy). Of a file with several layers, one is named as in QGIS:
        ``"town.gpkg|layername=buildings"``. An array holds heights in metres, 0 in the open;
        its **row 0 is south** and its cells have the side ``cell``.
    site : sequence of float or str, optional
        What to show: a box (west, south, east, north), or a centre and a radius in metres
        (x, y, radius); in the file's own coordinates (degrees where these are longitude and
        latitude). Text with commas is the same. By default, all buildings with 20 m around them.
    cell : float
        Side of a cell, m; 2 m is that of the shipped rules.
    margin : float
        Least distance from the site to the edge of the domain, m. What the file holds there is
        drawn as surroundings, and no results are shown.
    height_field : str
        Name of the field of heights in footprints; the usual names are tried by default.
    default_height : float, optional
        Height of buildings that have no usable one, m. Without it they are refused; with it they
        are marked in ``Place.assumed``.
    crs : optional
        Coordinate reference system of the file where it names none or a wrong one, such as
        "EPSG:4326".
    terrain : Path or str, optional
        A raster of the bare ground, for a raster of surface elevations.
    unit : str
        Of a mesh, or of heights in footprints and rasters: "m", "mm", "cm", "ft" or "in".
    up : str
        The axis of a mesh that points up: "y" or "z".
    like : Place, optional
        Draw on the grid of this place and show its site, to compare a proposal with what stands.

    Returns
    -------
    Place
        In metres; what its user should know is in ``remarks``. Buildings lower than 2 m, the height
        of the fields, are left out. Buildings above 300 m stay, with a remark, unless they are more
        than one in twenty, which is a wrong unit.

    Raises
    ------
    InputError
        If what was brought cannot be used. One line says what was wrong, what was expected and
        what to do.
    """
    cell, margin = _number("cell", cell, *CELLS), _number("margin", margin, 0, WIDEST_MARGIN)
    wanted = parse_site(site) if like is None else None
    default_height = check_default_height(default_height)
    into = like.crs if like is not None else None
    if isinstance(buildings, np.ndarray):
        kind, source = "array", array_source(buildings, (cell, cell))
    else:
        path, layer = _path_and_layer(buildings)
        kind = detect(path)
        if terrain and kind != "raster":
            raise InputError(
                f"{path.name}: terrain= goes with rasters of surface elevations; leave it out "
                "here, where heights are above ground"
            )
        if kind in MESHES:
            source = read_mesh(path, kind, crs=crs, unit=unit, up=up, into=into)
        elif kind == "raster":
            ground = _path_and_layer(terrain)[0] if terrain else None
            if ground is not None and detect(ground) != "raster":
                raise InputError(f"{ground.name}: terrain= must be a raster, such as a GeoTIFF")
            source = read_raster(path, terrain=ground, site=wanted, crs=crs, unit=unit, into=into)
        elif kind == "cityjson":
            source = read_cityjson(path, site=wanted, crs=crs, into=into)
        elif kind == "array":
            source = read_array(path, cell)
        elif kind == "city":
            source = read_simulated(path, cell, default_height)
        else:
            source = read_footprints(
                path, layer=layer, site=wanted, around=2 * margin, height_field=height_field,
                default_height=default_height, crs=crs, unit=unit, into=into,
            )  # fmt: skip
    part = source.draw_part and _without_low(source.draw_part)
    source = replace(source, draw=_without_low(source.draw), draw_part=part)
    if like is not None:
        place = _redrawn(source, like)
    else:
        place = lay_out(source, _shown(source, kind, wanted), cell, margin)
    if kind == "footprints":  # which has looked at buildings already, not at cells
        return place
    heights = place.overview().heights
    said = doubtful_heights(heights[heights > 0], place.name, "cells of buildings")
    return replace(place, remarks=place.remarks + said)


def _number(name: str, value: Any, least: float, most: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:
        raise InputError(f"{name}={shown(value)}: expected metres, {least:g} to {most:g}")
    return number


def _path_and_layer(given: Path | str) -> tuple[Path, str]:
    """Return the file and the layer of ``"town.gpkg|layername=buildings"``."""
    if not isinstance(given, Path | str) or not str(given).strip():
        raise InputError(
            f"buildings={shown(given)!r}: expected a file of buildings or an array of heights"
        )
    path, _, layer = str(given).partition("|layername=")
    return Path(path).expanduser(), layer


def _shown(source: Source, kind: str, site: tuple[float, ...] | None) -> Bounds:
    """Return the rectangle to show, m."""
    if site is None:
        is_grid = kind in ("raster", "array", "city")
        return source.bounds if is_grid else source.bounds.grown(BORDER)
    bounds, held = site_bounds(site, source.to_metres), source.bounds
    apart = (bounds.west >= held.east or bounds.east <= held.west
             or bounds.south >= held.north or bounds.north <= held.south)  # fmt: skip
    if apart:
        raise InputError(
            f"{source.name}: no building lies in site={shown(','.join(f'{x:g}' for x in site))}; "
            + source.reach
        )
    return bounds


def _without_low(draw: Callable[[Grid], Drawing]) -> Callable[[Grid], Drawing]:
    """Return ``draw`` of a source without what does not reach the height of the fields."""

    def draw_higher(grid: Grid) -> Drawing:
        heights, assumed = draw(grid)
        heights = np.where(heights < LEAST, np.float32(0), heights)
        return Drawing(heights, assumed & (heights > 0))

    return draw_higher


def _redrawn(source: Source, like: Place) -> Place:
    """Return a source on the grid of another place."""
    if like.is_town:
        raise InputError(
            f"{source.name}: {like.name} is too large to compare with a proposal; choose a part of "
            "it with site="
        )
    heights, assumed = source.draw(like.grid)
    if not heights.any():
        raise InputError(
            f"{source.name}: no building lies in the domain of {like.name}; it must cover the same "
            "site: check its coordinate system"
        )
    share = np.count_nonzero(heights) / np.count_nonzero(like.heights)
    said = () if share > LEAST_KEPT else (
        f"It builds over {share:.0%} of what {like.name} does. A proposal holds all buildings: add "
        "those that stay, if it lacks them.",)  # fmt: skip
    return Place(source.name, like.grid, heights, assumed, like.site, like.crs,
                 source.remarks + said)  # fmt: skip
