"""Buildings of CityJSON 1.0 to 2.0, and of its text sequences, above their own ground."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pinca_lib.cities.coordinates import Frame, centre_of, frame, parse_crs
from pinca_lib.cities.place import Bounds, Drawing, Grid, Source
from pinca_lib.cities.triangles import bounds_of, highest, triangulated
from pinca_lib.errors import InputError, first_line, needed, shown

KINDS = ("Building", "BuildingPart")
DEPTH = {"MultiSurface": 0, "CompositeSurface": 0, "Solid": 1, "MultiSolid": 2, "CompositeSolid": 2}


def read_cityjson(
    path: Path, *, site: tuple[float, ...] | None = None, crs: Any = None, into: Any = None
) -> Source:
    """Read the buildings of a CityJSON file.

    Of each object the geometry of the highest level of detail counts. Heights are above the lowest
    point of the building that an object belongs to, all of its parts included.

    Parameters
    ----------
    path : Path
    site : tuple of float, optional
        A parsed site: where to choose the map projection.
    crs : optional
        Of the coordinates, where the file names none or a wrong one.
    into : pyproj.CRS, optional
        To project into.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        If the file is damaged, or holds no building with surfaces.
    """
    needed("shapely", f"reading {path.name}")
    needed("pyproj", f"reading {path.name}")
    city = _parsed(path)
    try:
        vertices, objects = _vertices(city), city["CityObjects"]
        faces, families = _faces(path.name, objects)
        used = vertices[np.unique(np.concatenate([ring for face in faces for ring in face]))]
        of_file = _frame(path.name, used, len(set(families)), _system(city), site, crs, into)
        vertices[:, 0], vertices[:, 1] = of_file.to_metres(vertices[:, 0], vertices[:, 1])
        surfaces = [[vertices[ring] for ring in face] for face in faces]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path.name}: not valid CityJSON ({type(error).__name__}: {first_line(error)}); check "
            "it with cjio or val3dity, or export it again"
        ) from error
    triangles, owner = triangulated(surfaces)
    if not len(triangles):
        raise InputError(f"{path.name}: its buildings have no roofs; expected surfaces or solids")
    ground = _grounds(surfaces, families)
    triangles[..., 2] -= ground[owner][:, None]
    tallest = triangles[..., 2].max()
    if tallest <= 0.1:
        raise InputError(
            f"{path.name}: its {len(set(families)):,} buildings are flat (level of detail 0); "
            "expected solids, or give the footprints with a field of heights, as GeoPackage"
        )

    def draw(grid: Grid) -> Drawing:
        above = np.maximum(highest(triangles, grid), 0).astype(np.float32)
        return Drawing(above, np.zeros(grid.shape, bool))

    return Source(path.name, bounds_of(triangles), of_file.crs, draw, of_file.remarks,
                  of_file.to_metres, of_file.from_metres)  # fmt: skip


def _parsed(path: Path) -> dict:
    """Return the whole city as one dict, also from a sequence of lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        try:
            city = json.loads(text)
        except json.JSONDecodeError:
            city, *features = (json.loads(line) for line in text.splitlines() if line.strip())
            city = _joined(city, features)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path.name}: not readable JSON ({first_line(error)}); it is truncated or damaged"
        ) from error
    if not isinstance(city, dict) or city.get("type") != "CityJSON":
        raise InputError(f"{path.name}: no CityJSON; expected an object of type 'CityJSON'")
    return city


def _joined(city: dict, features: list[dict]) -> dict:
    """Return the city of a sequence: its first line, and a feature with own vertices a line."""
    vertices, objects = list(city.get("vertices", [])), dict(city.get("CityObjects", {}))
    for feature in features:
        shift = len(vertices)
        vertices += feature.get("vertices", [])
        for name, thing in feature.get("CityObjects", {}).items():
            for geometry in thing.get("geometry", []):
                geometry["boundaries"] = _shifted(geometry.get("boundaries", []), shift)
            objects[name] = thing
    return {**city, "vertices": vertices, "CityObjects": objects}


def _shifted(boundaries, shift: int):
    if isinstance(boundaries, list):
        return [_shifted(part, shift) for part in boundaries]
    return boundaries + shift


def _vertices(city: dict) -> np.ndarray:
    """Return the vertices (V, 3) in the file's coordinate system."""
    vertices = np.asarray(city.get("vertices") or np.zeros((0, 3)), float)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise ValueError("vertices are not triples of finite numbers")
    if "transform" in city:
        vertices = vertices * city["transform"]["scale"] + city["transform"]["translate"]
    return vertices


def _system(city: dict) -> str:
    """Return the name of the file's coordinate system, "" if it names none."""
    name = (city.get("metadata") or {}).get("referenceSystem") or ""
    return str(name).replace("http://", "https://")


def _frame(where: str, used: np.ndarray, buildings: int, system: str, site, crs, into) -> Frame:
    """Return how vertices (V, 3) become metres."""
    extent = Bounds(*map(float, (*used.min(axis=0)[:2], *used.max(axis=0)[:2])))
    spacing = max(extent.east - extent.west, extent.north - extent.south) / np.sqrt(buildings)
    stated = parse_crs(system, where) if system else None
    return frame(where, extent, spacing, stated, crs, into, centre_of(site))


def _faces(where: str, objects: dict) -> tuple[list, list[str]]:
    """Return rings of vertex numbers of all buildings' surfaces, and the building of each."""
    surfaces: list[list[list[int]]] = []
    families: list[str] = []
    found = 0
    for name, thing in objects.items():
        if thing.get("type") not in KINDS:
            continue
        found += 1
        geometries = [one for one in thing.get("geometry", []) if one.get("type") in DEPTH]
        if not geometries:
            continue
        finest = max(geometries, key=lambda one: float(one.get("lod", 0)))
        faces = finest["boundaries"]
        for _ in range(DEPTH[finest["type"]]):
            faces = [face for part in faces for face in part]
        surfaces += [face for face in faces if face and len(face[0]) > 2]
        families += [_family(objects, name)] * (len(surfaces) - len(families))
    if not found:
        kinds = sorted({shown(thing.get("type"), 30) for thing in objects.values()})
        raise InputError(f"{where}: no building among its objects; it holds "
                         f"{', '.join(kinds[:8]) or 'nothing'}")  # fmt: skip
    if not surfaces:
        raise InputError(f"{where}: its {found:,} buildings have no geometry that is read here; "
                         f"expected {', '.join(DEPTH)}")  # fmt: skip
    return surfaces, families


def _family(objects: dict, name: str) -> str:
    """Return the building that a part belongs to."""
    for _ in range(8):  # a file may name parents in a circle
        parents = objects[name].get("parents") or []
        if not parents or objects.get(parents[0], {}).get("type") not in KINDS:
            break
        name = parents[0]
    return name


def _grounds(surfaces: list, families: list[str]) -> np.ndarray:
    """Return for each surface the lowest z of its building."""
    lowest: dict[str, float] = {}
    for family, rings in zip(families, surfaces, strict=True):
        lowest[family] = min(lowest.get(family, np.inf), float(rings[0][:, 2].min()))
    return np.array([lowest[family] for family in families])
