"""Footprints: polygons with heights, in any file that GDAL reads as vectors."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pinca_lib.cities.coordinates import (
    Frame,
    centre_of,
    frame,
    parse_crs,
    site_bounds,
)
from pinca_lib.cities.heights import (
    LEAST,
    Heights,
    doubtful_heights,
    find_columns,
    find_elevations,
    own_unit,
    parse_height,
    usable_heights,
)
from pinca_lib.cities.place import Bounds, Drawing, Grid, Source, reach
from pinca_lib.errors import InputError, first_line, needed, shown, unreadable

IN_ZIP = (".shp", ".gpkg", ".geojson", ".fgb", ".json", ".gml", ".kml")  # the likeliest first
LAYERS = re.compile("build|bldg|gebäude|gebaeude|batiment|edific|footprint|multipolygons")
NO_BUILDING = ("", "no", "false", "0", "none", "nan")


def read_footprints(
    path: Path,
    *,
    layer: str = "",
    site: tuple[float, ...] | None = None,
    around: float = 0.0,
    height_field: str = "",
    default_height: float | None = None,
    crs: Any = None,
    unit: str = "",
    into: Any = None,
) -> Source:
    """Read polygons with heights: GeoJSON, GeoPackage, Shapefile, FlatGeobuf, zipped, and others.

    Parameters
    ----------
    path : Path
    layer : str
        Of a file with several; by default the one that holds polygons.
    site : tuple of float, optional
        A parsed site; only what lies in it and ``around`` it is read.
    around : float
        Metres.
    height_field : str
        Name of the column of heights; among the usual names by default.
    default_height : float, optional
        Of buildings without a usable height, m; they are marked as assumed.
    crs : optional
        Of the coordinates, where the file names none or a wrong one.
    unit : str
        Of heights that name none.
    into : pyproj.CRS, optional
        To project into; a metric one is chosen by default.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        If the file cannot be read, holds no polygons, or lacks heights or coordinates.
    """
    for library in ("geopandas", "pyogrio", "rasterio"):
        needed(library, f"reading {path.name}")
    import shapely

    address, layer, about = _described(path, layer)
    of_file = _frame(path.name, about, site, crs, into)
    table = _table(path.name, address, layer, _window(site, around, of_file),
                   about["total_bounds"])  # fmt: skip
    table, remarks = _only_buildings(table)
    polygons, kept, said = _polygons(path.name, table.geometry.to_numpy())
    table = table.iloc[kept]
    remarks = (*of_file.remarks, *remarks, *said)
    polygons = shapely.transform(polygons, lambda points: np.stack(
        of_file.to_metres(points[:, 0], points[:, 1]), axis=-1))  # fmt: skip
    of_buildings, columns = _heights(path.name, table, height_field, default_height, unit)
    metres, assumed = of_buildings.metres, of_buildings.assumed
    remarks += of_buildings.remarks + doubtful_heights(metres[~assumed], path.name)
    remarks += _doubtful_unit(about.get("crs"), unit, columns)
    if (low := metres < LEAST).any():
        remarks += (_said_of_low(path.name, metres, low),)
        polygons, metres, assumed = polygons[~low], metres[~low], assumed[~low]
    order = np.argsort(metres, kind="stable")  # the tallest is drawn last and wins
    polygons, metres, assumed = polygons[order], metres[order], assumed[order]

    def draw(grid: Grid) -> Drawing:
        number = _numbered(polygons, grid)  # 0 in the open
        on_grid = np.concatenate([[0], metres]).astype(np.float32)[number]
        return Drawing(on_grid, np.concatenate([[False], assumed])[number])

    bounds = Bounds(*map(float, shapely.total_bounds(polygons)))
    return Source(path.name, bounds, of_file.crs, draw, remarks, of_file.to_metres,
                  of_file.from_metres)  # fmt: skip


def _numbered(polygons: np.ndarray, grid: Grid) -> np.ndarray:
    """Return for each cell (H, W) 1 plus the last polygon that holds its centre; 0 for none."""
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import from_origin

    near = shapely.intersects(polygons, shapely.box(*grid.bounds))
    if not near.any():
        return np.zeros(grid.shape, np.int32)
    # Near 0, where 32-bit arithmetic inside of GDAL could not shift an edge.
    local = shapely.transform(polygons[near], lambda points: points - (grid.west, grid.south))
    north_up = rasterize(
        zip(local, np.flatnonzero(near) + 1, strict=True), out_shape=grid.shape,
        transform=from_origin(0, grid.shape[0] * grid.cell, grid.cell, grid.cell), dtype="int32",
    )  # fmt: skip
    return north_up[::-1]


def _described(path: Path, layer: str) -> tuple[str, str, dict]:
    """Return GDAL's name of a file, the layer to read, and what is known of it unread."""
    import pyogrio

    try:
        address = _inside_zip(path) if zipfile.is_zipfile(path) else str(path)
        layers = [(str(name), kind) for name, kind in pyogrio.list_layers(address)]
        layer = _chosen(path.name, layers, layer)
        about = pyogrio.read_info(address, layer=layer, force_feature_count=True,
                                  force_total_bounds=True)  # fmt: skip
        if about["total_bounds"] is None and about["driver"] == "OSM":  # read once more for them
            bounds = pyogrio.read_dataframe(address, layer=layer, columns=[]).bounds
            about["total_bounds"] = (bounds.minx.min(), bounds.miny.min(), bounds.maxx.max(),
                                     bounds.maxy.max())  # fmt: skip
            about["features"] = len(bounds)
    except InputError:
        raise
    except Exception as error:  # of GDAL, pandas and the archive
        raise unreadable(
            path, error, "file of footprints",
            "expected GeoJSON, GeoPackage, Shapefile or FlatGeobuf: check that it is whole, and "
            "for a Shapefile that .shp, .shx, .dbf and .prj lie together",
        ) from error  # fmt: skip
    if not about["features"]:
        raise InputError(f"{path.name}: holds no feature; expected building polygons")
    return address, layer, about


def _inside_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
    for suffix in IN_ZIP:
        found = [name for name in names if name.lower().endswith(suffix)]
        if len(found) > 1:
            raise InputError(
                f"{path.name}: holds {len(found)} files of footprints, such as {shown(found[0])} "
                f"and {shown(found[1])}: unpack it and give one of them"
            )
        if found:
            return f"/vsizip/{{{path}}}/{found[0]}"
    raise InputError(
        f"{path.name}: holds no file of footprints (.shp, .gpkg, .geojson, .fgb), but "
        f"{', '.join(map(shown, names[:5])) or 'nothing'}: unpack it and give the file of buildings"
    )


def _chosen(where: str, layers: list[tuple[str, Any]], layer: str) -> str:
    """Return the layer to read: the one named, or the only one that can hold buildings."""
    names = [name for name, _ in layers]
    listed = ", ".join(map(shown, names[:12]))
    if layer:
        if layer not in names:
            raise InputError(f"{where}: no layer {shown(layer)!r}; it has {listed}")
        return layer
    areas = [name for name, kind in layers if kind and re.search("Polygon|Unknown|Surface", kind)]
    if not areas and len(names) == 1:
        return names[0]
    named = [name for name in areas if LAYERS.search(name.lower())]
    for found in (areas, named):
        if len(found) == 1:
            return found[0]
    if not areas:
        raise InputError(f"{where}: no layer of polygons; it has {listed or 'no layer'}")
    raise InputError(
        f"{where}: several layers could hold the buildings: {listed}. Choose one by "
        f"buildings='{where}|layername={areas[0]}'"
    )


def _frame(where: str, about: dict, site: tuple[float, ...] | None, crs, into) -> Frame:
    """Return how the coordinates of a layer become metres."""
    west, south, east, north = about["total_bounds"] or (np.nan,) * 4
    if not np.isfinite([west, south, east, north]).all():
        raise InputError(f"{where}: its features have no geometry; expected building polygons")
    stated = parse_crs(about["crs"], where) if about["crs"] else None
    spacing = max(east - west, north - south) / np.sqrt(max(about["features"], 1))
    bounds = Bounds(west, south, east, north)
    return frame(where, bounds, spacing, stated, crs, into, centre_of(site))


def _window(site: tuple[float, ...] | None, around: float, of_file: Frame) -> Bounds | None:
    """Return the rectangle to read, in the file's coordinates; None for all of it."""
    if site is None:
        return None
    return site_bounds(site, of_file.to_metres).grown(around).mapped(of_file.from_metres)


def _table(where: str, address: str, layer: str, window: Bounds | None, held: tuple):
    """Return the features of a layer as a GeoDataFrame."""
    import geopandas
    import pyogrio

    try:
        table = pyogrio.read_dataframe(address, layer=layer, bbox=window and tuple(window),
                                       force_2d=True, on_invalid="ignore")  # fmt: skip
    except Exception as error:  # of GDAL, GEOS, pandas and the file's encoding
        raise InputError(
            f"{where}: cannot be read ({first_line(error)}); it is damaged, or no GIS file: open "
            "and save it again, for example as GeoPackage"
        ) from error
    if not isinstance(table, geopandas.GeoDataFrame):
        raise InputError(f"{where}: a table without geometry; expected building polygons")
    if not len(table):
        raise InputError(f"{where}: no building lies in or around the site; {reach(Bounds(*held))}")
    return table


def _only_buildings(table) -> tuple[Any, tuple[str, ...]]:
    """Leave out features that OpenStreetMap does not tag as buildings, if it tags any."""
    tags = [name for name in ("building", "building:part") if name in table.columns]
    is_building = np.zeros(len(table), bool)
    for name in tags:
        is_building |= [str(value).strip().lower() not in NO_BUILDING for value in table[name]]
    if not is_building.any() or is_building.all():
        return table, ()
    said = f"{(~is_building).sum():,} of {len(table):,} features are not tagged as buildings and " \
           "are left out."  # fmt: skip
    return table[is_building], (said,)


def _polygons(where: str, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return valid polygons, the numbers of the features that have one, and remarks."""
    import shapely

    shapes = shapely.force_2d(shapes)
    remarks = []
    broken = ~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)
    broken &= np.isin(shapely.get_type_id(shapes), (3, 6))
    shapes[broken] = shapely.make_valid(shapes[broken])
    if broken.any():
        remarks.append(f"{broken.sum():,} of {len(shapes):,} polygons cross themselves and were "
                       "repaired.")  # fmt: skip
    for number in np.flatnonzero(shapely.get_type_id(shapes) == 7):  # of several kinds
        parts = shapely.get_parts(shapely.get_parts(shapes[number]))
        areas = parts[np.isin(shapely.get_type_id(parts), (3, 6))]
        shapes[number] = shapely.union_all(areas) if len(areas) else None
    kept = np.isin(shapely.get_type_id(shapes), (3, 6)) & (shapely.area(shapes) > 0)
    if not kept.any():
        kinds = sorted({shape.geom_type for shape in shapes if shape is not None})
        raise InputError(
            f"{where}: none of its {len(shapes):,} features is a polygon with an area, but "
            f"{', '.join(kinds) or 'nothing'}; expected the outlines of buildings, closed"
        )
    if not kept.all():
        remarks.append(f"{(~kept).sum():,} of {len(kept):,} features are no polygons and are left "
                       "out.")  # fmt: skip
    return shapes[kept], np.flatnonzero(kept), tuple(remarks)


def _heights(
    where: str, table, height_field: str, default_height: float | None, unit: str
) -> tuple[Heights, list[str]]:
    """Return the heights of buildings and the columns that they come from."""
    names = [str(name) for name in table.columns if name != table.geometry.name]
    columns = {name: list(table[name]) for name in find_columns(names, height_field, where)}
    if "other_tags" in names and not height_field:
        columns |= _tags(list(table["other_tags"]))
    said: tuple[str, ...] = ()
    if not columns and (pair := find_elevations(names)):
        roof, ground = ([parse_height(value) for value in table[name]] for name in pair)
        columns = {" - ".join(pair): list(np.subtract(roof, ground))}
        said = (f"Heights are {shown(pair[0], 40)!r} less {shown(pair[1], 40)!r}.",)
    found = usable_heights(columns, len(table), where, default_height, unit, names)
    return found._replace(remarks=said + found.remarks), list(columns)


def _said_of_low(where: str, metres: np.ndarray, low: np.ndarray) -> str:
    """Return the remark that buildings are too low; refuse a file where all are."""
    if low.all():
        raise InputError(
            f"{where}: all {low.size:,} buildings are lower than {LEAST:g} m (the highest "
            f"{metres.max():g} m); expected heights above ground in metres: name another field "
            "with height_field=, or their unit with unit="
        )
    return (
        f"{low.sum():,} of {low.size:,} buildings are lower than {LEAST:g} m, where the fields "
        "lie, and are left out."
    )


def _tags(texts: list) -> dict[str, list]:
    """Return heights and levels among the tags that GDAL packs into one column of OSM files."""
    found = {}
    for key in ("height", "building:levels"):
        pattern = re.compile(rf'"{key}"=>"([^"]*)"')
        matches = [pattern.search(text) if isinstance(text, str) else None for text in texts]
        if any(matches):
            found[key] = [match and match[1] for match in matches]
    return found


def _doubtful_unit(crs: str | None, unit: str, columns: list[str]) -> tuple[str, ...]:
    """Return a remark if coordinates are in feet and heights are taken as metres."""
    if unit or not crs or not columns or any(own_unit(name) != "m" for name in columns):
        return ()
    if "foot" not in str(parse_crs(crs, "").axis_info[0].unit_name).lower():
        return ()
    return ("The coordinates are in feet, the heights are taken as metres: if they are in feet, "
            "too, say unit='ft'.",)  # fmt: skip
