"""Maps as files that lie where the buildings lie: GeoTIFF, CF-NetCDF and GeoPackage.

In all of them north is up and coordinates are those of the place. Files of places without a
coordinate reference system keep their local coordinates, and say so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pinca_lib.cities.place import Place
from pinca_lib.cities.prediction import WindMaps
from pinca_lib.datasets.netcdf import SOURCE, to_xarray, write_dataset
from pinca_lib.errors import needed
from pinca_lib.writing import written_whole

GDAL_CACHE = 256  # MB: by default GDAL keeps a twentieth of the memory


def write_geotiff(
    path: Path | str,
    place: Place,
    layers: Mapping[str, np.ndarray],
    remarks: Sequence[str] | None = None,
) -> None:
    """Write planes of a site as the bands of a cloud-optimised GeoTIFF.

    Parameters
    ----------
    path : Path or str
    place : Place
    layers : mapping of str to ndarray of shape (h, w)
        By what each band shows, with its unit; row 0 south, NaN where there is nothing. Dask
        arrays are computed part by part.
    remarks : sequence of str, optional
        What whoever opens the file should know; by default the remarks of the place.

    Raises
    ------
    InputError
        If rasterio is missing.
    """
    needed("rasterio", "writing a GeoTIFF")
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    path, grid = Path(path), place.site_grid
    about = {
        "driver": "GTiff", "count": len(layers), "dtype": "float32", "nodata": np.nan,
        "height": grid.shape[0], "width": grid.shape[1], "crs": place.crs,
        "transform": from_origin(grid.west, grid.bounds.north, grid.cell, grid.cell),
        "tiled": True, "bigtiff": "if_safer", "sparse_ok": True,
    }  # fmt: skip
    limits = rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE)
    with limits, TemporaryDirectory(dir=path.parent, prefix=".part_") as beside:
        plain = Path(beside) / "plain.tif"  # what a COG holds is in an order of its own
        with rasterio.open(plain, "w", **about) as file:
            for number, (name, plane) in enumerate(layers.items(), 1):
                _write_band(file, number, plane)
                file.set_band_description(number, name)
            file.update_tags(source=SOURCE, remarks=_joined(place, remarks))
        with rasterio.open(plain) as file, written_whole(path) as partial:
            copy(file, partial, driver="COG", compress="deflate", bigtiff="if_safer")


def write_maps(
    path: Path | str,
    maps: WindMaps,
    planes: Mapping[str, tuple[np.ndarray, str]] | None = None,
    remarks: Sequence[str] | None = None,
) -> None:
    """Write maps as NetCDF after the CF conventions 1.11.

    The fields lie by ``wind_from``, ``y`` and ``x`` (centres of the cells, y to the north); the
    grid mapping is in ``crs`` where the place has one.

    Parameters
    ----------
    path : Path or str
    maps : WindMaps
    planes : mapping of str to (ndarray of shape (h, w), str), optional
        Further planes and what each shows, such as comfort classes.
    remarks : sequence of str, optional
        What whoever opens the file should know; by default the remarks of the place.
    """
    place, grid = maps.place, maps.place.site_grid
    south, west = (
        first + (np.arange(cells) + 0.5) * grid.cell
        for first, cells in zip((grid.south, grid.west), grid.shape, strict=True)
    )
    heights = place.on_site(place.heights)
    dataset = to_xarray(maps.fields, heights, (south, west), _about(place, remarks), maps.wind_from)
    if maps.error is not None:
        about = {"long_name": "half-width of the error bar of the mean speed", "units": "m s-1"}
        dataset["wind_speed_error"] = (("wind_from", "y", "x"), maps.error, about)
        dataset["wind_speed"].attrs["ancillary_variables"] = "wind_speed_error"
    for name, (plane, meaning) in (planes or {}).items():
        dataset[name] = (("y", "x"), plane, {"long_name": meaning})
    if place.crs is not None:
        for variable in dataset.data_vars.values():
            variable.attrs["grid_mapping"] = "crs"
        for axis in "yx":
            dataset[axis].attrs |= {
                "standard_name": f"projection_{axis}_coordinate",
                "axis": axis.upper(),
            }
        dataset["crs"] = ((), 0, place.crs.to_cf())
    write_dataset(path, dataset)


def write_polygons(
    path: Path | str,
    place: Place,
    layers: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    remarks: Sequence[str] | None = None,
) -> None:
    """Write classes of a site as polygons of a GeoPackage, one layer or several.

    Parameters
    ----------
    path : Path or str
    place : Place
    layers : mapping of str to (ndarray of shape (h, w), sequence of str)
        By the name of the layer: the number of the class of each cell, row 0 south, -1 for none;
        and the labels of the classes.
    remarks : sequence of str, optional
        What whoever opens the file should know; by default the remarks of the place.

    Raises
    ------
    InputError
        If geopandas or rasterio is missing.
    """
    for library in ("geopandas", "rasterio"):
        needed(library, "writing a GeoPackage")
    import geopandas
    from rasterio.features import shapes
    from rasterio.transform import from_origin
    from shapely.geometry import shape

    grid = place.site_grid
    transform = from_origin(grid.west, grid.bounds.north, grid.cell, grid.cell)
    with written_whole(path) as partial:
        for layer, (classes, labels) in layers.items():
            north_up = np.ascontiguousarray(classes[::-1].astype(np.int16))
            outlines = shapes(north_up, north_up >= 0, transform=transform)
            found = [(shape(outline), int(number)) for outline, number in outlines]
            frame = geopandas.GeoDataFrame(
                {"class": [labels[number] for _, number in found],
                 "area_m2": [outline.area for outline, _ in found]},
                geometry=[outline for outline, _ in found], crs=place.crs,
            )  # fmt: skip
            frame.to_file(partial, layer=layer, driver="GPKG", engine="pyogrio",
                          DESCRIPTION=_joined(place, remarks))  # fmt: skip


class _Band:
    """A band of a raster that Dask can store parts in, rows from the south."""

    def __init__(self, file, number: int):
        self.file, self.number = file, number

    def __setitem__(self, cells: tuple[slice, slice], values: np.ndarray) -> None:
        from rasterio.windows import Window

        rows, columns = cells
        place = (columns.start, self.file.height - rows.stop), values.shape[::-1]
        window = Window(*place[0], *place[1])
        self.file.write(np.asarray(values[::-1], np.float32), self.number, window=window)


def _write_band(file, number: int, plane) -> None:
    """Write a plane (h, w), row 0 south, of NumPy or of Dask."""
    if isinstance(plane, np.ndarray):
        file.write(np.asarray(plane[::-1], np.float32), number)
        return
    import dask.array

    band: Any = _Band(file, number)  # all that Dask needs of an array is __setitem__
    dask.array.store(plane, band, scheduler="synchronous")


def _joined(place: Place, remarks: Sequence[str] | None) -> str:
    local = () if place.crs is not None else ("Coordinates are local: the file named no system.",)
    return " ".join((*local, *(place.remarks if remarks is None else remarks)))


def _about(place: Place, remarks: Sequence[str] | None) -> dict[str, str]:
    return {
        "title": f"Mean wind at pedestrian level: {place.name}",
        "comment": _joined(place, remarks) or "none",
    }
