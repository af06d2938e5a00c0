"""Height rasters: GeoTIFF and other grids of heights, arrays, and city files without their wind.

A raster of heights above ground is drawn as it is. Elevations above sea level (a surface model,
DSM) need the bare terrain (DEM) as well: buildings are what rises above it.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pinca_lib.cities.coordinates import Frame, centre_of, frame, parse_crs, same
from pinca_lib.cities.heights import LEAST, TALLEST, unit_factor
from pinca_lib.cities.place import Bounds, Drawing, Grid, Source
from pinca_lib.errors import InputError, first_line, needed, shown, unreadable

GLANCE = 1000  # cells a side of the thinned raster that is looked at before it is drawn
MOSTLY = 0.8  # share of cells above 2 m from which a raster is no city
HIGHEST_GROUND = 6000.0  # m: no town lies higher
FILL = -400.0  # m: no ground lies lower, so lower values stand for nothing


def read_raster(
    path: Path,
    *,
    terrain: Path | None = None,
    site: tuple[float, ...] | None = None,
    crs: Any = None,
    unit: str = "",
    into: Any = None,
) -> Source:
    """Read a raster of heights above ground, or a surface model with its terrain.

    Each cell of a grid takes the value under its centre. Cells without data count as open ground.

    Parameters
    ----------
    path : Path
        GeoTIFF, ASCII grid or another that GDAL reads; its first band counts.
    terrain : Path, optional
        Elevations of the bare ground; then ``path`` holds elevations of its surface.
    site : tuple of float, optional
        A parsed site: where to choose the map projection.
    crs : optional
        Of the coordinates, where the file names none or a wrong one.
    unit : str
        Of the heights; metres by default.
    into : pyproj.CRS, optional
        To project into.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        If the file cannot be read, or its values are no heights above ground.
    """
    needed("rasterio", f"reading {path.name}")
    factor = unit_factor(unit) if unit else 1.0
    of_file, bounds, values = _glance(path, site, crs, into)
    remarks = of_file.remarks
    ground: Callable[[Grid], np.ndarray] | None = None
    under = ""
    if terrain is not None:
        of_ground, _, _ = _glance(terrain, None, crs, of_file.crs)
        under = terrain.name
        remarks += (f"Buildings are what rises {LEAST:g} m above the terrain of {terrain.name}: "
                    "trees count, too, where the surface model holds them.",)  # fmt: skip
        ground = lambda grid: _warped(terrain, of_ground, grid, smooth=True)  # noqa: E731
    else:
        _check_is_city(path.name, values * factor)
        bad = np.isnan(values).mean()
        if bad > 0:
            remarks += (f"{_share(float(bad))} of the raster's cells hold no data and count as "
                        "open ground.",)  # fmt: skip
        if (low := np.mean(values * factor < -LEAST)) > 0:
            remarks += (f"{_share(float(low))} of the raster's cells lie more than {LEAST:g} m "
                        "below the ground and count as open.",)  # fmt: skip

    def above_ground(grid: Grid) -> np.ndarray:
        above = _warped(path, of_file, grid) * factor
        return above if ground is None else above - ground(grid) * factor

    def draw(grid: Grid) -> Drawing:
        above = above_ground(grid)
        if ground is not None:
            _check_above_terrain(path.name, under, above)
        return _drawing(above)

    return Source(path.name, bounds, of_file.crs, draw, remarks, of_file.to_metres,
                  of_file.from_metres, lambda grid: _drawing(above_ground(grid)))  # fmt: skip


def array_source(
    heights: np.ndarray, cell: tuple[float, float], name: str = "array", assumed=None
) -> Source:
    """Return an array of building heights as a source in local coordinates.

    Parameters
    ----------
    heights : ndarray of shape (H, W)
        Above ground, m; 0 in the open. **Row 0 is south**, column 0 is west.
    cell : (float, float)
        Height and width of a cell, m; the south-west corner of the array is (0, 0).
    name : str
        For messages.
    assumed : ndarray of shape (H, W), bool, optional
        Buildings whose height was not given but assumed.

    Raises
    ------
    InputError
        If the array holds something else than heights.
    """
    if heights.ndim != 2 or heights.dtype.kind not in "fiu" or min(heights.shape) < 3:
        raise InputError(
            f"{name}: an array of shape {heights.shape} and type {heights.dtype}; expected "
            "building heights in metres, (rows, columns) of numbers, at least 3 × 3, row 0 south"
        )
    values = heights.astype(np.float32)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"{name}: {(~np.isfinite(values)).sum():,} cells are NaN or infinite, the first in row "
            f"{row}, column {column}; expected heights in metres, 0 in the open"
        )
    if values.min() < 0:
        raise InputError(
            f"{name}: {(values < 0).sum():,} cells are negative, down to {values.min():g}; "
            "expected heights above ground in metres, 0 in the open"
        )
    _check_is_city(name, values)
    marked = np.zeros(values.shape, bool) if assumed is None else assumed
    (rows, columns), (high, wide) = values.shape, cell

    def draw(grid: Grid) -> Drawing:
        row = np.floor((grid.south + (np.arange(grid.shape[0]) + 0.5) * grid.cell) / high)
        column = np.floor((grid.west + (np.arange(grid.shape[1]) + 0.5) * grid.cell) / wide)
        down, across = ((row >= 0) & (row < rows)), ((column >= 0) & (column < columns))
        on_grid, assumed_on_grid = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, bool)
        cells = np.ix_(row[down].astype(int), column[across].astype(int))
        on_grid[np.ix_(down, across)] = values[cells]
        assumed_on_grid[np.ix_(down, across)] = marked[cells]
        return Drawing(on_grid, assumed_on_grid)

    return Source(name, Bounds(0.0, 0.0, columns * wide, rows * high), None, draw)


def read_array(path: Path, cell: float) -> Source:
    """Read an array that NumPy saved; see ``array_source``."""
    try:
        heights = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy parses the header as Python
        raise InputError(f"{path.name}: not a readable .npy file ({first_line(error)})") from error
    if not isinstance(heights, np.ndarray):
        raise InputError(f"{path.name}: holds several arrays; expected one, of building heights")
    return array_source(heights, (cell, cell), path.name)


@contextmanager
def _opened(path: Path):
    """Open a raster; raise what is wrong with it as ``InputError``."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                yield file
    except InputError:
        raise
    except (RasterioError, OSError, ValueError, MemoryError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise unreadable(
            path, cause, "raster",
            "expected a GeoTIFF of heights: it is truncated, damaged or in another format",
        ) from error  # fmt: skip


def _glance(path: Path, site, crs, into) -> tuple[Frame, Bounds, np.ndarray]:
    """Return the frame of a raster, its rectangle in metres, and a thinned copy."""
    with _opened(path) as file:
        if file.count > 2 and file.dtypes[0] == "uint8":
            raise InputError(
                f"{path.name}: {file.count} bands of bytes, which is an image; expected one "
                "band of heights in metres"
            )
        if file.dtypes[0].startswith("complex"):
            raise InputError(f"{path.name}: holds complex numbers; expected heights in metres")
        if file.transform.is_identity:
            raise InputError(
                f"{path.name}: names neither the place nor the size of its cells; expected a "
                "georeferenced raster. Write it again with its transform, or read it yourself and "
                "give load_city the array, row 0 south, with cell="
            )
        corners = np.array(
            [
                file.transform * corner
                for corner in ((0, 0), (file.width, 0), (0, file.height), (file.width, file.height))
            ]
        )
        extent = Bounds(*corners.min(axis=0), *corners.max(axis=0))
        spacing = float(np.hypot(file.transform.a, file.transform.d))
        stated = parse_crs(file.crs.to_wkt(), path.name) if file.crs else None
        of_file = frame(path.name, extent, spacing, stated, crs, into, centre_of(site))
        if abs(file.transform.b) > 0.01 * spacing:
            said = "The raster is turned on its map; what lies beyond it counts as open ground."
            of_file = of_file._replace(remarks=(*of_file.remarks, said))
        size = tuple(min(side, GLANCE) for side in file.shape)
        values = _values(file.read(1, out_shape=size, masked=True), file)
    if not np.isfinite(values).any():
        raise InputError(f"{path.name}: no cell holds data; expected heights in metres")
    return of_file, extent.mapped(of_file.to_metres), values


def _values(band: np.ma.MaskedArray, file) -> np.ndarray:
    """Return a band as float32 after its scale and offset, NaN where it holds nothing."""
    values = np.ma.filled(band.astype(np.float32), np.nan)
    values = values * np.float32(file.scales[0]) + np.float32(file.offsets[0])
    values[~np.isfinite(values) | (values < FILL)] = np.nan
    return values


def _warped(path: Path, of_file: Frame, grid: Grid, smooth: bool = False) -> np.ndarray:
    """Return the values (H, W) of a raster under the centres of a grid's cells, row 0 south.

    NaN where the raster holds nothing.
    """
    from rasterio.crs import CRS
    from rasterio.enums import Resampling
    from rasterio.transform import from_origin
    from rasterio.vrt import WarpedVRT

    with _opened(path) as file:
        local = CRS.from_epsg(32631)  # any metric one: a local raster only changes its cells
        target = CRS.from_wkt(of_file.crs.to_wkt()) if of_file.crs is not None else local
        unchanged = of_file.to_metres is same
        source = target if unchanged else CRS.from_wkt(of_file.given.to_wkt())
        about = {
            "src_crs": source, "crs": target, "height": grid.shape[0], "width": grid.shape[1],
            "transform": from_origin(grid.west, grid.bounds.north, grid.cell, grid.cell),
            "resampling": Resampling.bilinear if smooth else Resampling.nearest,
            "nodata": np.nan, "dtype": "float32",  # as well where the raster does not reach
        }  # fmt: skip
        with WarpedVRT(file, **about) as view:
            return _values(view.read(1, masked=True), file)[::-1].copy()


def _drawing(above: np.ndarray) -> Drawing:
    on_grid = np.nan_to_num(np.maximum(above, 0), nan=0.0).astype(np.float32)
    return Drawing(on_grid, np.zeros(on_grid.shape, bool))


def _check_is_city(where: str, values: np.ndarray) -> None:
    """Refuse values that are elevations above sea level, fill values or no buildings at all."""
    valid = values[np.isfinite(values)]
    if valid.max() > HIGHEST_GROUND and np.median(valid) < TALLEST:
        raise InputError(
            f"{where}: its cells reach {valid.max():g}, above {HIGHEST_GROUND:g} m, "
            "which looks like a fill value: declare it as nodata (gdal_edit -a_nodata), or state "
            "the unit with unit="
        )
    if valid.max() < LEAST:
        raise InputError(
            f"{where}: no cell is as high as {LEAST:g} m (the highest {valid.max():.3g} m); "
            "expected building heights above ground in metres; state another unit with unit="
        )
    built = (valid >= LEAST).mean()
    lowest = np.percentile(valid, 1)
    gaps = 1 - valid.size / values.size  # heights may be given in buildings only
    if built > MOSTLY and (gaps < 0.3 or lowest > 30):
        raise InputError(
            f"{where}: {built:.0%} of its ground is above {LEAST:g} m, the lowest part at "
            f"{lowest:.1f} m: it seems to hold elevations above sea level, so that terrain would "
            "count as roofs. Give the bare ground as well with terrain='dem.tif', or a raster of "
            "heights above ground"
        )


def _check_above_terrain(where: str, terrain: str, above: np.ndarray) -> None:
    """Refuse a surface that does not lie on its terrain."""
    valid = above[np.isfinite(above)]
    if not valid.size:
        raise InputError(f"{where} and {shown(terrain)} do not both hold data in the site")
    level = float(np.percentile(valid, 10))
    if abs(level) > 5 or np.mean(valid > LEAST) > 0.95:
        way = "above" if level > 0 else "below"
        raise InputError(
            f"{where} does not lie on {shown(terrain)}, but about {abs(level):.1f} m {way} it; "
            "expected most ground to be the same in both. Check that both are elevations in the "
            "same unit above the same zero, and that terrain= is the bare ground"
        )


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "Less than 1 %"
