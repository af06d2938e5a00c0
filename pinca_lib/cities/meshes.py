"""Meshes: which axis is up, which unit, what is ground, and how high the rest stands above it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pinca_lib.cities.coordinates import frame
from pinca_lib.cities.heights import LEAST, UNITS, unit_factor
from pinca_lib.cities.mesh_files import read_triangles
from pinca_lib.cities.place import Bounds, Drawing, Grid, Source
from pinca_lib.cities.triangles import bounds_of, highest, plan_areas
from pinca_lib.errors import InputError, shown

HEIGHTS = (3.0, 150.0)  # m, of the tallest building of a model whose unit is guessed
WIDTHS = (15.0, 10_000.0)  # m, likewise of the model
FLAT = 0.7  # share of flat or nearly flat area from which a sheet is ground
GLANCE = 400  # cells a side of the drawing that is looked at for terrain
THICKEST = 1.5  # m, of a sheet of ground
DENSEST = 0.85  # share of its rectangle that a city covers with roofs


def read_mesh(
    path: Path,
    kind: str,
    *,
    crs: Any = None,
    unit: str = "",
    up: str = "",
    into: Any = None,
) -> Source:
    """Read buildings from a mesh.

    Heights are above the local ground: the terrain in the mesh, or else the foot of each building.

    Parameters
    ----------
    path : Path
    kind : str
        ".obj", ".stl", ".ply", ".glb", ".gltf" or ".off".
    crs : optional
        A projected system that x and y are in; local coordinates by default.
    unit : str
        One of "m", "mm", "cm", "ft" and "in"; guessed where there is no doubt.
    up : str
        The axis that points up, "y" or "z"; guessed where there is no doubt.
    into : pyproj.CRS, optional
        To project into.

    Returns
    -------
    Source
        In plan, x is to the east; y to the north if z is up, and -z if y is up.

    Raises
    ------
    InputError
        If the file cannot be read, its axes or unit are in doubt, or its ground cannot be told
        from its roofs.
    """
    triangles = read_triangles(path, kind)
    remarks: tuple[str, ...] = ()
    if up not in ("", "y", "z"):
        raise InputError(f"up={shown(up)!r}: expected 'y' or 'z', the axis that points up")
    is_gltf = kind in (".glb", ".gltf")  # which means metres and y up
    likely = _likely_axis(triangles)
    if not up:
        up = _axis_without_doubt(path.name, triangles, likely, is_gltf)
        remarks += (f"{up} is taken as the axis that points up.",)
    elif likely not in ("", up):
        remarks += (f"The model looks as if {likely}, not {up}, pointed up.",)
    if up == "y":
        triangles = np.stack([triangles[..., 0], -triangles[..., 2], triangles[..., 1]], axis=-1)
    if not unit:
        unit = _guessed_unit(path.name, triangles, is_gltf)
        feet = "" if is_gltf or unit != "m" else "; if they are feet, say unit='ft'"
        remarks += (f"Coordinates are taken as {unit}: {_size(triangles, UNITS[unit])}{feet}.",)
    factor = unit_factor(unit)
    triangles = triangles * factor
    extent = bounds_of(triangles)
    spacing = max(extent.east - extent.west, extent.north - extent.south)
    of_file = frame(path.name, extent, spacing, None, crs, into)
    triangles[..., 0], triangles[..., 1] = of_file.to_metres(triangles[..., 0], triangles[..., 1])
    parts = _sorted_out(path.name, triangles)
    _check_is_city(path.name, parts)

    def draw(grid: Grid) -> Drawing:
        return Drawing(_above_ground(parts, grid), np.zeros(grid.shape, bool))

    def to_metres(x, y):
        return of_file.to_metres(np.multiply(x, factor), np.multiply(y, factor))

    def from_metres(x, y):
        x, y = of_file.from_metres(x, y)
        return np.divide(x, factor), np.divide(y, factor)

    return Source(path.name, bounds_of(parts.buildings), of_file.crs, draw,
                  remarks + of_file.remarks + parts.remarks, to_metres, from_metres)  # fmt: skip


def _likely_axis(triangles: np.ndarray) -> str:
    """Return "y" or "z" by the shape of the model and by where its buildings stand, "" in doubt.

    A city is wider than it is high, and its buildings share their lowest level.
    """
    corners = triangles.reshape(-1, 3)
    size = np.ptp(corners, axis=0)
    standing = (corners < corners.min(axis=0) + 0.01 * size.max()).mean(axis=0)
    votes = {"y": 0, "z": 0}
    for measure, least_ratio in ((1 / np.maximum(size, 1e-9), 2.0), (standing, 2.0)):
        for axis, other in (("y", 1), ("z", 2)), (("z", 2), ("y", 1)):
            if measure[axis[1]] >= least_ratio * max(measure[other[1]], 1e-9):
                votes[axis[0]] += 1
    best = max(votes, key=lambda axis: votes[axis])
    return best if votes[best] and not min(votes.values()) else ""


def _axis_without_doubt(where: str, triangles: np.ndarray, likely: str, is_gltf: bool) -> str:
    """Return the axis that points up, or ask for it."""
    if is_gltf and likely != "z":
        return "y"
    if likely and not is_gltf:
        return likely
    sides = np.ptp(triangles.reshape(-1, 3), axis=0)
    x, y, z = (f"{side:,.0f}" if side >= 100 else f"{side:.3g}" for side in sides)
    reason = ": glTF means y, but the model looks as if it were z" if is_gltf else ""
    raise InputError(
        f"{where}: it is in doubt which axis points up{reason}. With up='z' it is {x} × {y} on "
        f"the ground and {z} high; with up='y' {x} × {z} and {y} high, in units of the "
        "file: say up="
    )


def _guessed_unit(where: str, triangles: np.ndarray, is_metric: bool) -> str:
    """Return the only unit in which the model is a city; metres are not doubted for feet."""
    size = np.ptp(triangles.reshape(-1, 3), axis=0)
    width, height = max(size[:2]), size[2]
    fits = [
        unit for unit, factor in UNITS.items()
        if HEIGHTS[0] <= height * factor <= HEIGHTS[1] and WIDTHS[0] <= width * factor <= WIDTHS[1]
    ]  # fmt: skip
    if is_metric and HEIGHTS[0] <= height <= 2 * HEIGHTS[1] and width >= WIDTHS[0]:
        return "m"
    if fits == ["m", "ft"]:
        return "m"
    if len(fits) == 1 and not is_metric:
        return fits[0]
    choices = "; ".join(f"unit='{unit}' makes it {_size(triangles, UNITS[unit])}"
                        for unit in fits or UNITS)  # fmt: skip
    raise InputError(f"{where}: its unit of length is in doubt. {choices}. Say unit=")


def _size(triangles: np.ndarray, factor: float) -> str:
    x, y, z = np.ptp(triangles.reshape(-1, 3), axis=0) * factor
    return f"{x:,.4g} m × {y:,.4g} m on the ground and {z:,.3g} m high"


class Parts(NamedTuple):
    """What stands in a mesh, and on what."""

    buildings: np.ndarray  # (T, 3, 3), z above their own foot, or above 0 if there is terrain
    terrain: np.ndarray  # (G, 3, 3)
    extent: Bounds  # of both
    remarks: tuple[str, ...]


def _sorted_out(where: str, triangles: np.ndarray) -> Parts:
    """Tell terrain from buildings by the pieces that hang together."""
    piece, count = _pieces(triangles)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, piece, triangles.min(axis=1))
    np.maximum.at(high, piece, triangles.max(axis=1))
    plan, whole = plan_areas(triangles), _areas(triangles)
    flat = np.bincount(piece, plan, count) / np.maximum(np.bincount(piece, whole, count), 1e-12)
    rectangle = np.prod(high[:, :2] - low[:, :2], axis=1)
    extent = bounds_of(triangles)
    everything = (extent.east - extent.west) * (extent.north - extent.south)
    relief = (high - low)[:, 2] / np.sqrt(np.maximum(rectangle, 1e-12))
    like_ground = (count > 1) & (flat > FLAT) & (relief < 0.5) & (rectangle > 0.05 * everything)
    is_ground = _ground(triangles, piece, like_ground, (low + high) / 2)
    in_ground = is_ground[piece]
    buildings, terrain = triangles[~in_ground].copy(), triangles[in_ground]
    remarks: tuple[str, ...] = ()
    if in_ground.any():
        rise = np.ptp(terrain[..., 2])
        slope = f", which rises by {rise:.1f} m," if rise > 1 else ""
        remarks = (f"A ground plane or terrain was found{slope} and heights are above it.",)
    else:
        foot = _feet(low, high)
        if np.ptp(foot) > 1:
            remarks = ("The mesh holds no terrain and its buildings stand at different levels: "
                       "heights are above the foot of each.",)  # fmt: skip
        buildings[..., 2] -= foot[piece][:, None]
    return Parts(buildings, terrain, extent, remarks)


def _ground(
    triangles: np.ndarray, piece: np.ndarray, like_ground: np.ndarray, middle: np.ndarray
) -> np.ndarray:
    """Return which pieces (P,) are ground: thin, and most others stand over them."""
    ground = np.zeros_like(like_ground)
    over = np.zeros_like(like_ground)
    for number in np.flatnonzero(like_ground):
        sheet = triangles[piece == number]
        grid = _coarse(bounds_of(sheet))
        top, bottom = highest(sheet, grid), -highest(sheet * (1, 1, -1), grid)
        covered = np.isfinite(top)
        if not covered.any() or np.median((top - bottom)[covered]) > THICKEST:
            continue
        ground[number] = True
        column, row = ((middle[:, :2] - (grid.west, grid.south)) // grid.cell).astype(int).T
        inside = (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1])
        over[inside] |= covered[row[inside], column[inside]]
    others = ~ground
    return ground if others.any() and over[others].mean() > 0.5 else np.zeros_like(ground)


def _coarse(extent: Bounds) -> Grid:
    """Return a grid of at most ``GLANCE`` cells a side over a rectangle."""
    width, depth = extent.east - extent.west, extent.north - extent.south
    cell = max(width, depth) / GLANCE
    return Grid(extent.west, extent.south, cell,
                (max(1, int(depth / cell)), max(1, int(width / cell))))  # fmt: skip


def _pieces(triangles: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the piece (T,) that each triangle hangs together with, and how many there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    corners = triangles.reshape(-1, 3)
    step = max(float(np.ptp(corners, axis=0).max()) * 1e-6, 1e-4)
    whole = np.round((corners - corners.min(axis=0)) / step).astype(np.int64)
    key = (whole[:, 0] * 2_000_003 + whole[:, 1]) * 2_000_003 + whole[:, 2]
    _, vertex = np.unique(key, return_inverse=True)
    vertex = vertex.reshape(-1, 3)
    pairs = np.concatenate([vertex[:, :2], vertex[:, 1:]])
    count = int(vertex.max()) + 1
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    number, of_vertex = connected_components(graph, directed=False)
    return of_vertex[vertex[:, 0]], number


def _feet(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the level (P,) that each piece stands on, from the corners (P, 3) of all pieces.

    What lies within the outline of a lower piece, such as a lift shaft on a roof, stands on its
    foot.
    """
    import shapely

    foot = low[:, 2].copy()
    boxes = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    middles = shapely.points((low[:, :2] + high[:, :2]) / 2)
    inner, outer = shapely.STRtree(boxes).query(middles, predicate="intersects")
    smaller = shapely.area(boxes)[inner] <= shapely.area(boxes)[outer] * 1.001
    np.minimum.at(foot, inner[smaller], low[outer[smaller], 2])
    return foot


def _areas(triangles: np.ndarray) -> np.ndarray:
    sides = triangles[:, 1:] - triangles[:, :1]
    return np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2


def _above_ground(parts: Parts, grid: Grid) -> np.ndarray:
    """Return heights (H, W), float32, above the terrain; where it has a gap, above its lowest."""
    top = highest(parts.buildings, grid)
    if len(parts.terrain):
        ground = highest(parts.terrain, grid)
        top = top - np.where(np.isfinite(ground), ground, parts.terrain[..., 2].min())
    return np.maximum(top, 0).astype(np.float32)


def _check_is_city(where: str, parts: Parts) -> None:
    """Refuse a mesh whose terrain would count as roofs."""
    heights = _above_ground(parts, _coarse(parts.extent))
    share = (heights > LEAST).mean()
    solid = np.ptp(heights) < 0.5  # one block fills its own rectangle
    if share > DENSEST and not solid and not len(parts.terrain):
        raise InputError(
            f"{where}: {share:.0%} of its area would count as roofs, so terrain and buildings seem "
            f"to be one surface, or to stand on a plate thicker than {THICKEST:g} m: export the "
            "buildings as objects of their own, with a thin ground or none, or give a surface and "
            "a terrain raster"
        )
    if heights.max() < LEAST:
        raise InputError(
            f"{where}: nothing in it rises {LEAST:g} m above its ground (the highest "
            f"{heights.max():.3g} m); expected buildings: check unit= and up="
        )
