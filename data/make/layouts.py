# SPDX-License-Identifier: MIT
"""Geometry of the data set: building heights, wind directions and the list of cases.

A layout is a map of building heights in whole cells of 2 m. It is periodic in both horizontal
directions, with row 0 in the south and columns along x. Real layouts are square crops of four
city models from the wheel of ``sionna-rt`` 2.2.0 (meshes (c) OpenStreetMap contributors, ODbL).
Regular arrays and irregular blocks are generated here.

The simulation needs several cells per street and per building, so a layout is prepared:

- Buildings that are one cell high are raised to two cells, so that the pedestrian plane at
  z = 2 m never lies at roof height.
- Buildings thinner than two cells are removed.
- The air is opened morphologically with a square of 4 x 4 cells: narrower streets and courtyards
  are filled.
- Only the largest connected piece of the air remains.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from scipy import ndimage

CELL = 2.0  # side of a cell, m
MAX_CELLS = 14  # highest building allowed, cells (28 m)
STREET = 4  # narrowest street allowed, cells
BUILT = (0.12, 0.50)  # smallest and largest built fraction of a layout
# Kinds of layout that `families.py` makes. "dense" are real crops with lanes and courtyards.
FAMILIES = ("suburb", "towers", "mixed", "courtyards", "lanes",
            "edge", "isolated", "dense", "uptown", "ward")  # fmt: skip
SOURCE_REAL = "© OpenStreetMap contributors, ODbL, via sionna-rt 2.2.0"
SCENES = {
    "paris": "etoile",
    "munich": "munich",
    "florence": "florence",
    "san_francisco": "san_francisco",
}


@dataclass(frozen=True)
class Layout:
    """One geometry.

    Attributes
    ----------
    name : str
        Name of the city file.
    split : str
        ``"train"``, ``"train_256m"``, ``"test"`` or ``"fresh"`` (simulated when the shipped weights
        were final). A geometry is in only one of them.
    kind : str
        ``"real"``, ``"regular"``, ``"irregular"`` or one of `FAMILIES`.
    heights : numpy.ndarray
        Building heights in cells, integer, shape (H, W); 0 is air.
    source, licence, geometry : str
        Where the layout comes from, its licence and a description.
    repeats : tuple of (int, int)
        Shifts in (rows, columns) that map the layout onto itself; the flow statistics are
        averaged over them. ``((0, 0),)`` if there are none.
    origin : tuple of (int, int)
        South-west corner of a real crop in the city model, (y, x) in m; (0, 0) otherwise.
    """

    name: str
    split: str
    kind: str
    heights: np.ndarray
    source: str
    licence: str
    geometry: str
    repeats: tuple = ((0, 0),)
    origin: tuple = (0, 0)


@dataclass(frozen=True)
class Case:
    """One layout under one wind direction.

    ``degrees`` is the direction towards which the wind blows, counter-clockwise from +x.
    """

    layout: Layout
    degrees: int

    @property
    def name(self) -> str:
        """Name of the case, such as ``munich_c03_d045``."""
        return f"{self.layout.name}_d{self.degrees:03d}"

    @property
    def lid(self) -> float:
        """Height of the lid, m: 64 m, or twice the tallest building in whole steps of 16 m."""
        return max(64.0, 16.0 * float(np.ceil(CELL * self.layout.heights.max() / 8)))

    @property
    def averaging(self) -> float:
        """Averaging time, T = 16 m / u_tau."""
        if self.is_short:
            return 10.0
        return 30.0 if self.layout.kind in ("regular", *FAMILIES) else 50.0

    @property
    def spin_up(self) -> float:
        """Spin-up time, T: longer below a higher lid, and where little stands in the wind."""
        if not self.is_short:
            return 10.0 * self.lid / 64
        return (6.0 if (self.layout.heights > 0).mean() > 0.2 else 12.0) * self.lid / 64

    @property
    def is_short(self) -> bool:
        """Whether a few turnovers are enough, since many such cases are learned from."""
        return self.layout.kind in FAMILIES and self.layout.split != "test"


def _read_mesh(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices (n, 3) in m and the triangles (m, 3) of a PLY mesh."""
    from plyfile import PlyData

    ply = PlyData.read(io.BytesIO(data))
    vertex = ply["vertex"]
    points = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(float)
    faces = ply["face"][ply["face"].properties[0].name]
    triangles = [(f[0], f[k], f[k + 1]) for f in faces for k in range(1, len(f) - 1)]
    return points, np.array(triangles, dtype=int).reshape(-1, 3)


def _rasterise(points: np.ndarray, triangles: np.ndarray, top: np.ndarray, corner) -> None:
    """Raise ``top``, a raster of 1 m with row 0 in the south, to the triangles above its cells."""
    rows, columns = top.shape
    for a, b, c in points[triangles] - np.array([corner[0], corner[1], 0.0]):
        area = (b[1] - c[1]) * (a[0] - c[0]) + (c[0] - b[0]) * (a[1] - c[1])
        if abs(area) < 1e-9:  # a vertical triangle, part of a wall
            continue
        low = np.minimum(np.minimum(a, b), c)
        high = np.maximum(np.maximum(a, b), c)
        i0, j0 = (max(0, int(np.ceil(v - 0.5))) for v in low[:2])
        i1 = min(columns - 1, int(np.floor(high[0] - 0.5)))
        j1 = min(rows - 1, int(np.floor(high[1] - 0.5)))
        if i1 < i0 or j1 < j0:
            continue
        x, y = np.meshgrid(np.arange(i0, i1 + 1) + 0.5, np.arange(j0, j1 + 1) + 0.5)
        wa = ((b[1] - c[1]) * (x - c[0]) + (c[0] - b[0]) * (y - c[1])) / area
        wb = ((c[1] - a[1]) * (x - c[0]) + (a[0] - c[0]) * (y - c[1])) / area
        wc = 1 - wa - wb
        inside = np.minimum(np.minimum(wa, wb), wc) >= -1e-9
        part = top[j0 : j1 + 1, i0 : i1 + 1]
        z = wa * a[2] + wb * b[2] + wc * c[2]
        part[inside] = np.maximum(part[inside], z[inside])


def city_heights(wheel: Path, city: str) -> np.ndarray:
    """Rasterise a city model to building heights above ground.

    Parameters
    ----------
    wheel : Path
        The wheel of sionna-rt 2.2.0.
    city : str
        A key of `SCENES`.

    Returns
    -------
    numpy.ndarray
        Heights in m on a raster of 1 m, row 0 south; 0 where there is no building.
    """
    folder = f"sionna/rt/scenes/{SCENES[city]}/meshes/"
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(folder) and n.endswith(".ply"))
        meshes = {n: _read_mesh(archive.read(n)) for n in names}
    ground = [n for n in names if re.search(r"(plane|ground|terrain)\.ply$", n, re.IGNORECASE)]
    points = np.concatenate([meshes[n][0] for n in names if n not in ground])
    corner = np.floor(points.min(axis=0))
    columns, rows = (np.ceil(points.max(axis=0)) - corner)[:2].astype(int)
    top = np.full((rows, columns), -np.inf)
    terrain = np.zeros((rows, columns))
    for name in names:
        if name not in ground:
            _rasterise(*meshes[name], top, corner)
        elif "terrain" in name.lower():
            terrain = np.full((rows, columns), -np.inf)
            _rasterise(*meshes[name], terrain, corner)
            terrain[~np.isfinite(terrain)] = 0.0
    height = np.where(np.isfinite(top), top - terrain, 0.0)
    return np.maximum(height, 0.0)


def city_raster(wheel: Path, work: Path, city: str) -> np.ndarray:
    """Return the raster of a city as `city_heights` does; it is stored in ``work``."""
    cache = work / f"{city}_1m.npy"
    if not cache.exists():
        np.save(cache, city_heights(wheel, city).astype(np.float32))
    return np.load(cache)


def _periodic(operation, mask: np.ndarray, size: int) -> np.ndarray:
    """Apply a morphological operation with a square element to a periodic mask."""
    pad = 2 * size
    wide = operation(np.pad(mask, pad, mode="wrap"), np.ones((size, size), bool))
    return wide[pad:-pad, pad:-pad]


def _nearest_height(heights: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return ``heights`` with the cells of ``where`` set to the height of the nearest building."""
    tiled = np.tile(heights, (3, 3))
    index = ndimage.distance_transform_edt(tiled == 0, return_distances=False, return_indices=True)
    rows, columns = heights.shape
    nearest = tiled[tuple(index)][rows : 2 * rows, columns : 2 * columns]
    return np.where(where, nearest, heights)


def _largest_air(air: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of a periodic mask of air."""
    rows, columns = air.shape
    label, count = ndimage.label(np.tile(air, (2, 2)))
    if count == 0:
        return air
    tile = label[:rows, :columns]
    parent = np.arange(count + 1)

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    for other in (label[rows:, :columns], label[:rows, columns:], label[rows:, columns:]):
        for a, b in np.unique(np.stack([tile[air], other[air]]), axis=1).T:
            parent[root(a)] = root(b)
    piece = np.array([root(k) for k in range(count + 1)])[tile]
    sizes = np.bincount(piece[air], minlength=count + 1)
    return air & (piece == sizes.argmax())


def prepare(heights: np.ndarray, street: int = STREET, connected: bool = True) -> np.ndarray:
    """Prepare a height map for the simulation, as the module's docstring describes.

    Parameters
    ----------
    heights : numpy.ndarray
        Heights in cells, integer, shape (H, W).
    street : int
        Narrowest street, cells; narrower air is filled.
    connected : bool
        Fill closed courtyards, too.

    Returns
    -------
    numpy.ndarray
        The prepared heights in cells, same shape.
    """
    heights = np.where(heights == 1, 2, heights)
    solid = _periodic(ndimage.binary_opening, heights > 0, 2)
    heights = np.where(solid, heights, 0)
    if not solid.any() or solid.all():
        return heights
    air = _periodic(ndimage.binary_opening, heights == 0, street)
    air = _largest_air(air) if connected else air
    return _nearest_height(heights, ~air & (heights == 0))


def turned(height: np.ndarray, degrees: int, empty: float = CELL * (MAX_CELLS + 2)) -> np.ndarray:
    """Rotate the raster of a city; the corners get the height ``empty``, too high for a crop."""
    if degrees == 0:
        return height
    return ndimage.rotate(height, degrees, order=0, cval=empty)


def cell_heights(part: np.ndarray) -> np.ndarray:
    """Return the medians over 2 x 2 cells of a raster of 1 m, in whole cells of 2 m."""
    rows, columns = (n // 2 for n in part.shape)
    part = part.reshape(rows, 2, columns, 2).swapaxes(1, 2).reshape(rows, columns, 4)
    return np.rint(np.median(part, axis=-1) / CELL).astype(int)


def crops(height: np.ndarray, metres: int, step: int = 16) -> list[tuple]:
    """List the suitable crops of a city, those that the preparation changes least first.

    Parameters
    ----------
    height : numpy.ndarray
        Heights in m on a raster of 1 m, row 0 south.
    metres : int
        Side of the square crop, m.
    step : int
        Spacing of the crops that are tried, m.

    Returns
    -------
    list of (float, int, int, numpy.ndarray)
        For each crop: the share of cells that the preparation changed from air to building or
        back, the origin y and x in m, and the prepared heights in cells.
    """
    size = int(metres / CELL)
    found = []
    for y in range(0, height.shape[0] - metres + 1, step):
        for x in range(0, height.shape[1] - metres + 1, step):
            raw = cell_heights(height[y : y + metres, x : x + metres])
            if raw.max() > MAX_CELLS or not BUILT[0] <= (raw > 0).mean() <= BUILT[1]:
                continue
            cells = prepare(raw)
            built = cells > 0
            quarters = built.reshape(2, size // 2, 2, size // 2).mean(axis=(1, 3))
            if not BUILT[0] <= built.mean() <= BUILT[1] or quarters.min() < 0.03:
                continue
            if cells[built].mean() < 3:  # only very low buildings
                continue
            found.append(((built != (raw > 0)).mean(), y, x, cells))
    return sorted(found, key=lambda c: c[:3])


def choose(candidates: list[tuple], metres: int, count: int, taken: list[tuple]) -> list[tuple]:
    """Choose crops in order, skipping those that overlap with crops chosen before.

    Parameters
    ----------
    candidates : list
        As returned by `crops`.
    metres, count : int
        Side of a crop in m, and the largest number of crops to choose.
    taken : list of (int, int, int)
        Origin y and x and side, in m, of crops chosen before; the new ones are appended.

    Returns
    -------
    list
        The chosen candidates.
    """
    chosen = []
    for candidate in candidates:
        _, y, x, _ = candidate
        clear = all(
            y >= b + side or b >= y + metres or x >= a + side or a >= x + metres
            for b, a, side in taken
        )
        if clear and len(chosen) < count:
            chosen.append(candidate)
            taken.append((y, x, metres))
    return chosen


# Real crops of each city: (split, name stem, side in m, number, rotation of the city in degrees).
REAL = {
    "paris": [
        ("train", "paris_c", 128, 8, 0),
        ("train", "paris_e", 128, 2, 0),
        ("train", "paris_t", 128, 14, 30),
        ("train", "paris_u", 128, 9, 60),
    ],
    "munich": [
        ("train", "munich_c", 128, 9, 0),
        ("train", "munich_e", 128, 15, 0),
        ("train", "munich_t", 128, 14, 30),
        ("train", "munich_u", 128, 9, 60),
    ],
    "florence": [
        ("train", "florence_c", 128, 5, 0),
        ("train", "florence_e", 128, 8, 0),
        ("train", "florence_t", 128, 14, 30),
        ("train", "florence_u", 128, 5, 60),
    ],
    "san_francisco": [
        ("test", "san_francisco_l", 256, 2, 0),
        ("test", "san_francisco_c", 128, 6, 0),
        ("fresh", "san_francisco_d", 128, 10, 0),
        ("fresh", "san_francisco_m", 256, 3, 30),
    ],
}
# Pairs of wind directions, reduced to 0 to 45 degrees by the symmetry of the square.
FOLDED = ((0, 30), (15, 45), (45, 0), (30, 15), (15, 0), (30, 45))
# Regular arrays of square blocks, 16 m high, on a grid of 64 x 64 cells:
# (arrangement, pitch in cells, block in cells, split, wind directions).
REGULAR = (
    ("aligned", 16, 8, "train", (0, 45)),
    ("staggered", 16, 8, "train", (0, 45)),
    ("aligned", 32, 13, "train", (0, 45)),
    ("aligned", 32, 12, "test", (0, 45)),
    ("staggered", 32, 8, "train", (0, 45)),
    ("aligned", 32, 21, "train", (0, 45)),
    ("aligned", 16, 10, "test", (45,)),
    ("staggered", 32, 12, "train", (45, 0)),
    ("staggered", 16, 10, "train", (0,)),
    ("staggered", 32, 13, "test", (0, 45)),
    ("aligned", 32, 8, "train", (45,)),
    ("aligned", 32, 19, "train", (0, 45)),
)
# Irregular blocks: (intended built fraction, range of sides in cells, split, wind directions).
IRREGULAR = (
    (0.20, (6, 14), "train", (15, 300)),
    (0.30, (8, 16), "train", (120, 225)),
    (0.15, (6, 10), "train", (60,)),
    (0.25, (8, 20), "test", (30,)),
    (0.35, (10, 20), "train", (195,)),
    (0.25, (6, 12), "train", (345,)),
    (0.30, (6, 20), "train", (90,)),
    (0.20, (8, 12), "test", (255,)),
    (0.12, (6, 12), "train", (45,)),
    (0.18, (8, 24), "train", (270,)),
    (0.22, (6, 16), "train", (165,)),
    (0.26, (10, 14), "train", (75,)),
    (0.30, (6, 10), "train", (330,)),
    (0.34, (8, 24), "train", (285,)),
    (0.38, (12, 24), "train", (105,)),
    (0.40, (8, 14), "train", (0,)),
    (0.16, (12, 28), "train", (210,)),
    (0.24, (6, 8), "train", (240,)),
    (0.28, (14, 28), "train", (150,)),
    (0.20, (6, 20), "train", (30,)),
)
DRAWN = 24  # the first 24 of the 60 layouts that `drawn` describes are training data
DRAWN_FRESH = 2  # the next two are fresh; the others are not used


def regular(arrangement: str, pitch: int, block: int, split: str, size: int = 64) -> Layout:
    """Return a regular array of square blocks, 16 m high.

    In a staggered array every second column of blocks is shifted by half a pitch along y.
    """
    heights = np.zeros((size, size), int)
    repeats = []
    for i in range(size // pitch):
        shift = pitch // 2 if arrangement == "staggered" and i % 2 else 0
        for j in range(size // pitch):
            rows = (j * pitch + shift + (pitch - block) // 2 + np.arange(block)) % size
            columns = (i * pitch + (pitch - block) // 2 + np.arange(block)) % size
            heights[np.ix_(rows, columns)] = 8
            repeats.append((j * pitch + shift, i * pitch))
    density = (block / pitch) ** 2
    return Layout(
        name=f"uniform_{arrangement}_p{pitch:02d}_b{block:02d}",
        split=split,
        kind="regular",
        heights=heights,
        source="idealised",
        licence="CC-BY-4.0",
        geometry=(
            f"{arrangement} array of blocks {block * CELL:g} m square and 16 m high, pitch "
            f"{pitch * CELL:g} m, plan density {density:.3f}"
        ),
        repeats=tuple(repeats),
    )


def drawn() -> list[tuple]:
    """Return more rows like those of `IRREGULAR`, drawn at random.

    Built fractions are spread evenly from 0.10 to 0.42, and wind directions over all multiples of
    15 degrees.
    """
    rng, count = np.random.default_rng(0), 60
    built = rng.permutation(np.linspace(0.10, 0.42, count)).round(3).tolist()
    winds = rng.permutation(15 * (np.arange(count) % 24)).tolist()
    least = rng.integers(6, 15, count).tolist()
    more = rng.integers(2, 17, count).tolist()
    splits = ["train"] * DRAWN + ["fresh"] * DRAWN_FRESH
    return [
        (density, (a, a + b), split, (degrees,))
        for density, a, b, split, degrees in zip(built, least, more, splits, winds, strict=False)
    ]


def irregular(number: int, density: float, sides: tuple, split: str, size: int = 64) -> Layout:
    """Return a layout of rectangles with random sides and heights (8 to 28 m).

    They are placed at least four cells apart.
    """
    rng = np.random.default_rng(number)
    heights = np.zeros((size, size), int)
    for _ in range(20000):
        if (heights > 0).mean() >= density:
            break
        a, b = rng.integers(sides[0], sides[1] + 1, 2)
        y, x = rng.integers(0, size, 2)
        rows = (y + np.arange(-STREET, a + STREET)) % size
        columns = (x + np.arange(-STREET, b + STREET)) % size
        if heights[np.ix_(rows, columns)].any():
            continue
        level = int(np.clip(np.rint(rng.normal(8, 3)), 4, MAX_CELLS))
        heights[np.ix_(rows[STREET:-STREET], columns[STREET:-STREET])] = level
    heights = prepare(heights)
    return Layout(
        name=f"varied_{number:02d}",
        split=split,
        kind="irregular",
        heights=heights,
        source="idealised, random blocks",
        licence="CC-BY-4.0",
        geometry=f"random rectangular blocks, built fraction {(heights > 0).mean():.3f}",
    )


def real(wheel: Path, work: Path) -> dict[str, list[Layout]]:
    """Choose the real crops.

    Parameters
    ----------
    wheel : Path
        The wheel of sionna-rt 2.2.0.
    work : Path
        Folder that stores the rasters of the cities between runs.

    Returns
    -------
    dict of str to list of Layout
        The layouts of each name stem in `REAL`.
    """
    result = {}
    for city, groups in REAL.items():
        height = city_raster(wheel, work, city)
        taken: dict[int, list[tuple]] = defaultdict(list)
        for split, stem, metres, count, turn in groups:
            found = crops(turned(height, turn), metres, step=16 if metres <= 128 else 32)
            result[stem] = [
                Layout(
                    name=f"{stem}{k:02d}",
                    split=split,
                    kind="real",
                    heights=cells,
                    source=SOURCE_REAL,
                    licence="ODbL-1.0",
                    geometry=(
                        f"{city}: crop of {metres} m, origin y = {y} m, x = {x} m of the model"
                        f"{f' turned by {turn} degrees' if turn else ''}, "
                        f"{changed:.1%} of the cells changed by the preparation"
                    ),
                    origin=(y, x),
                )
                for k, (changed, y, x, cells) in enumerate(
                    choose(found, metres, count, taken[turn]), start=1
                )
            ]
    return result


def directions(number: int) -> tuple[int, int]:
    """Return the two wind directions of a real layout, in degrees.

    The symmetry of the square does not map one to the other. Quadrant and mirror image change from
    one layout to the next, so that all 24 multiples of 15 degrees occur.
    """
    pair = FOLDED[number % len(FOLDED)]
    return tuple(
        (90 * ((number + 2 * k) % 4) + (a if (number // 2 + k) % 2 else -a)) % 360
        for k, a in enumerate(pair)
    )


def plan(wheel: Path, work: Path) -> list[Case]:
    """List the cases in the order in which they are simulated.

    The first four are two real training cases, an idealised case and a real test case. After that
    the groups alternate, so that a run that is stopped early leaves a balanced data set. Crops that
    were added later come last.
    """
    crop = real(wheel, work)

    def in_turns(*stems: str) -> list[Layout]:
        columns = zip_longest(*(crop[stem] for stem in stems))
        return [layout for turn in columns for layout in turn if layout]

    train = in_turns("paris_c", "munich_c", "florence_c")
    small, large = crop["san_francisco_c"], crop["san_francisco_l"]
    later = in_turns("florence_e", "munich_e", "paris_e")
    last = in_turns("munich_t", "paris_t", "florence_t")
    further = in_turns("munich_u", "paris_u", "florence_u")
    fresh = in_turns("san_francisco_m", "san_francisco_d")
    known = train + small + large + later + last + further + fresh
    winds = {layout.name: directions(k) for k, layout in enumerate(known)}

    def turns(layouts: list[Layout]) -> list[Case]:
        return [Case(layout, winds[layout.name][k]) for k in (0, 1) for layout in layouts]

    arrays = [
        Case(regular(name, pitch, block, split), degrees)
        for name, pitch, block, split, angles in REGULAR
        for degrees in angles
    ]
    blocks = [
        Case(irregular(number, density, sides, split), degrees)
        for number, (density, sides, split, angles) in enumerate([*IRREGULAR, *drawn()], start=1)
        for degrees in angles
    ]
    queues = [turns(train), turns(small), arrays, blocks]
    pattern = (0, 0, 2, 1, 0, 3, 0, 0, 2, 1, 0, 0, 3, 0, 2, 1)
    cases: list[Case] = []
    while any(queues):
        for group in pattern:
            if queues[group]:
                cases.append(queues[group].pop(0))
    cases[16:16] = turns(large)
    once = [Case(layout, winds[layout.name][0]) for layout in further + fresh]
    return cases + turns(later) + turns(last) + once
