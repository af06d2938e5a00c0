"""Buildings of a place as a file that ``load_city`` opens again, after they were edited."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pinca_lib.cities.place import Place
from pinca_lib.errors import needed
from pinca_lib.writing import written_whole


def write_buildings(path: Path | str, place: Place, before: Place | None = None) -> None:
    """Write all buildings of a place, surroundings included, as polygons of a GeoJSON file.

    Polygons follow the edges of the cells. Coordinates are those of the place, in metres, so that
    the file opens again on the same cells. RFC 7946 wants longitude and latitude, in which they
    would not; the file therefore names its system as GeoJSON 2008 does, which GDAL and QGIS read.

    Parameters
    ----------
    path : Path or str
    place : Place
    before : Place, optional
        The same place before the edit. Buildings that differ from it have ``built_here`` true.

    Raises
    ------
    InputError
        If geopandas or rasterio is missing.
    """
    for library in ("geopandas", "rasterio"):
        needed(library, "writing GeoJSON")
    import geopandas
    from rasterio.features import shapes
    from rasterio.transform import from_origin
    from shapely.geometry import shape

    grid, heights = place.grid, place.heights
    built = np.zeros_like(heights) if before is None else heights != before.heights
    kinds = np.stack([heights, built, place.assumed], axis=-1).reshape(-1, 3)
    kinds, numbers = np.unique(kinds, axis=0, return_inverse=True)
    north_up = np.ascontiguousarray(numbers.reshape(grid.shape)[::-1].astype(np.int32))
    transform = from_origin(grid.west, grid.bounds.north, grid.cell, grid.cell)
    outlines = shapes(north_up, heights[::-1] > 0, transform=transform)
    found = [(shape(outline), *kinds[int(number)]) for outline, number in outlines]
    table = geopandas.GeoDataFrame(
        {"height": [round(float(height), 3) for _, height, *_ in found],
         "built_here": [bool(built) for *_, built, _ in found],
         "height_assumed": [bool(assumed) for *_, assumed in found]},
        geometry=[outline for outline, *_ in found],
    )  # fmt: skip
    named = {"type": "name", "properties": {"name": _name(place.crs)}}
    features = table.to_geo_dict(drop_id=True)["features"]
    text = json.dumps({"type": "FeatureCollection", "crs": named, "features": features})
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _name(crs: Any) -> str:
    """Return the name of a coordinate reference system, or WKT for one without a code."""
    if crs is None:  # local metres; a file that names no system would be taken as degrees
        return 'LOCAL_CS["local",UNIT["metre",1]]'
    authority = crs.to_authority(min_confidence=100)
    return f"urn:ogc:def:crs:{authority[0]}::{authority[1]}" if authority else crs.to_wkt()
