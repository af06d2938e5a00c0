"""Triangles from above: cut surfaces into them, and draw the highest point over each cell."""

from collections.abc import Sequence

import numpy as np

from pinca_lib.cities.place import Bounds, Grid

CELLS_AT_ONCE = 4_000_000  # that a piece of the triangles covers; bounds memory
STEEPEST = 0.01  # upward part of a unit normal; a steeper surface is a wall and covers no cell
Rings = Sequence[np.ndarray]  # an outline and its holes, each (n, 3), not closed


def triangulated(surfaces: Sequence[Rings]) -> tuple[np.ndarray, np.ndarray]:
    """Cut planar surfaces into triangles, around their holes and into their corners.

    Upright surfaces with more than three corners are left out: nothing above sees them.

    Parameters
    ----------
    surfaces : sequence of sequences of ndarray of shape (n, 3)
        The rings of each surface: its outline, then its holes; x, y, z in m.

    Returns
    -------
    triangles : ndarray of shape (T, 3, 3), float64
    owner : ndarray of shape (T,), int
        The number of the surface that each belongs to.

    Raises
    ------
    InputError
        If Shapely is missing.
    """
    plain, plain_owner = [], []
    bent, bent_owner = [], []
    for number, rings in enumerate(surfaces):
        outline = rings[0]
        if len(outline) < 3:
            continue
        if len(outline) == 3 and len(rings) == 1:
            plain.append(outline)
            plain_owner.append(number)
        elif not _is_wall(outline):
            bent.append(rings)
            bent_owner.append(number)
    triangles, owner = _cut(bent)
    owner = np.asarray(bent_owner, int)[owner]
    if plain:
        triangles = np.concatenate([np.stack(plain), triangles])
        owner = np.concatenate([np.asarray(plain_owner, int), owner])
    return triangles, owner


def _cut(surfaces: Sequence[Rings]) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles (T, 3, 3) of surfaces that are not upright, and the surface of each."""
    import shapely

    if not surfaces:
        return np.zeros((0, 3, 3)), np.zeros(0, int)
    outlines = np.array([
        shapely.Polygon(rings[0][:, :2], [ring[:, :2] for ring in rings[1:] if len(ring) > 2])
        for rings in surfaces
    ])  # fmt: skip
    whole = ~shapely.is_valid(outlines)
    outlines[whole] = shapely.make_valid(outlines[whole])
    polygons, of = shapely.get_parts(outlines, return_index=True)
    parts, of_part = shapely.get_parts(polygons, return_index=True)  # collections hold collections
    flat = shapely.get_type_id(parts) == 3
    polygons, of = parts[flat], of[of_part[flat]]
    cut = shapely.constrained_delaunay_triangles(polygons)
    pieces, of_piece = shapely.get_parts(cut, return_index=True)
    owner = of[of_piece]
    plan = shapely.get_coordinates(pieces).reshape(-1, 4, 2)[:, :3]
    planes = np.array([_plane(rings[0]) for rings in surfaces])[owner]  # (T, 5)
    slope, level = planes[:, None, :2], planes[:, None, 2]
    z = np.clip((plan * slope).sum(-1) + level, planes[:, None, 3], planes[:, None, 4])
    return np.concatenate([plan, z[..., None]], axis=-1), owner


def newell_normal(ring: np.ndarray) -> np.ndarray:
    """Return the normal of a ring (n, 3), as long as twice its area (Newell's method)."""
    near = ring - ring[0]  # keeps the digits of coordinates in the millions
    return np.cross(near, np.roll(near, -1, axis=0)).sum(axis=0)


def _is_wall(ring: np.ndarray) -> bool:
    normal = newell_normal(ring)
    return abs(normal[2]) <= STEEPEST * np.linalg.norm(normal)


def _plane(ring: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return dz/dx, dz/dy, z at the origin, and the least and the greatest z of a ring."""
    normal, middle = newell_normal(ring), ring.mean(axis=0)
    slope_x, slope_y = -normal[0] / normal[2], -normal[1] / normal[2]
    level = middle[2] - slope_x * middle[0] - slope_y * middle[1]
    return slope_x, slope_y, level, ring[:, 2].min(), ring[:, 2].max()


def plan_areas(triangles: np.ndarray) -> np.ndarray:
    """Return the area (T,) that triangles (T, 3, 3) cover on the ground, m²."""
    first, second = (triangles[:, k, :2] - triangles[:, 0, :2] for k in (1, 2))
    return np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def bounds_of(triangles: np.ndarray) -> Bounds:
    """Return the rectangle around triangles (T, 3, 3)."""
    least, most = triangles[..., :2].min(axis=(0, 1)), triangles[..., :2].max(axis=(0, 1))
    return Bounds(*map(float, (*least, *most)))


def highest(triangles: np.ndarray, grid: Grid) -> np.ndarray:
    """Draw the highest point of triangles over the centre of each cell.

    Parameters
    ----------
    triangles : ndarray of shape (T, 3, 3)
        Corners; x, y, z in m.
    grid : Grid

    Returns
    -------
    ndarray of shape (H, W), float64
        z in m; minus infinity where nothing lies. Row 0 is south.
    """
    height, width = grid.shape
    surface = np.full(height * width, -np.inf)
    cells = np.empty_like(triangles, dtype=float)  # in cells, whole numbers at their centres
    cells[..., 0] = (triangles[..., 0] - grid.west) / grid.cell - 0.5
    cells[..., 1] = (triangles[..., 1] - grid.south) / grid.cell - 0.5
    cells[..., 2] = triangles[..., 2]
    cells = cells[plan_areas(triangles) > 1e-6]
    least, most = cells.min(axis=1, initial=np.inf), cells.max(axis=1, initial=-np.inf)
    inside = ((least[:, 0] < width) & (most[:, 0] > -1) & (least[:, 1] < height)
              & (most[:, 1] > -1))  # fmt: skip
    cells, size = cells[inside], (most - least)[inside]
    budget = np.cumsum((size[:, 0] + 2) * (size[:, 1] + 2))
    for piece in np.split(cells, np.flatnonzero(np.diff(budget // CELLS_AT_ONCE)) + 1):
        _draw(piece, surface, height, width)
    return surface.reshape(height, width)


def _draw(cells: np.ndarray, surface: np.ndarray, height: int, width: int) -> None:
    """Raise ``surface`` (H W,) to triangles (T, 3, 3), line by line of cells."""
    first = np.maximum(np.ceil(cells[..., 1].min(axis=1) - 1e-9), 0).astype(int)
    last = np.minimum(np.floor(cells[..., 1].max(axis=1) + 1e-9), height - 1).astype(int)
    triangle, row = _runs(first, last)
    corners = cells[triangle]  # (L, 3, 3)
    start, end = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for k in range(3):  # where the line crosses each side
        (xa, ya), (xb, yb) = corners[:, k, :2].T, corners[:, (k + 1) % 3, :2].T
        crossed = (np.minimum(ya, yb) <= row + 1e-9) & (np.maximum(ya, yb) >= row - 1e-9)
        rise = np.where(ya == yb, 1, yb - ya)
        x = xa + np.clip((row - ya) / rise, 0, 1) * (xb - xa)
        for candidate in (x, np.where(ya == yb, xb, x)):
            start = np.where(crossed, np.minimum(start, candidate), start)
            end = np.where(crossed, np.maximum(end, candidate), end)
    hit = end >= start
    triangle, row, start, end = triangle[hit], row[hit], start[hit], end[hit]
    line, column = _runs(
        np.maximum(np.ceil(start - 1e-9), 0).astype(int),
        np.minimum(np.floor(end + 1e-9), width - 1).astype(int),
    )
    triangle, row = triangle[line], row[line]
    a, b, c = (cells[triangle, k] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    x, y = column - a[:, 0], row - a[:, 1]
    along_b = (x * (c[:, 1] - a[:, 1]) - y * (c[:, 0] - a[:, 0])) / area
    along_c = (y * (b[:, 0] - a[:, 0]) - x * (b[:, 1] - a[:, 1])) / area
    z = a[:, 2] + along_b * (b[:, 2] - a[:, 2]) + along_c * (c[:, 2] - a[:, 2])
    lowest, uppermost = (pick(pick(a[:, 2], b[:, 2]), c[:, 2]) for pick in (np.minimum, np.maximum))
    np.maximum.at(surface, row * width + column, np.clip(z, lowest, uppermost))


def _runs(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole numbers from ``first`` to ``last`` of each run, with the run's number."""
    lengths = np.maximum(last - first + 1, 0)
    run = np.repeat(np.arange(len(first)), lengths)
    begin = np.cumsum(lengths) - lengths
    return run, np.arange(lengths.sum()) - begin[run] + first[run]
