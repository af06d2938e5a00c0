# SPDX-License-Identifier: MIT
"""Layouts of what real cities hold and the first layouts do not, in families with a purpose.

========== ========================================================= ========
kind       what it teaches                                           cells
========== ========================================================= ========
suburb     low houses (6 to 10 m) with gaps of 4 to 6 m, in rows     64 x 64
           along streets or scattered
towers     one to three towers of 30 to 60 m on open ground          64 x 64
mixed      one or two such towers among low houses                   64 x 64
courtyards perimeter blocks with courtyards and passages             64 x 64
lanes      dense old quarters, lanes of two and three cells          64 x 64
edge       a dense quarter beside a park or a river                  128 x 128
isolated   single buildings and small groups on open ground          128 x 128
dense      real crops, those that the rules of `layouts.py` would    64 x 64
           change most: lanes, courtyards, roofs of up to 60 m
uptown     one or two towers of 30 to 44 m among blocks of 10 to     64 x 64
           22 m, in rows or between winding streets
ward       a round quarter of low houses with one to three           128 x 128
           towers of 30 to 60 m, on open ground
========== ========================================================= ========

All layouts pass `layouts.prepare` with a narrowest street of two cells, and closed courtyards
stay open to the sky. Half of the drawn quarters are bent by a smooth periodic displacement, so
that walls and lanes do not all run along x and y. Each layout has one wind direction, a multiple
of 15 degrees. Training cases of 128 x 128 cells are a split of their own, ``train_256m``, because
all cases of a training have the same grid. Every eighth training layout, and some dense crops,
are for validation: no rule is trained on them, and error bars are calibrated on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from layouts import CELL, SOURCE_REAL, Case, Layout, cell_heights, city_raster, prepare, turned
from scipy import ndimage

LANE = 2  # narrowest lane, cells
COUNTS = {  # kind: (training layouts, test layouts)
    "suburb": (40, 4),
    "towers": (36, 4),
    "mixed": (44, 5),
    "courtyards": (46, 5),
    "lanes": (46, 5),
    "edge": (24, 4),
    "isolated": (24, 4),
    "uptown": (24, 3),
    "ward": (12, 3),
}
SIZES = {"edge": 128, "isolated": 128, "ward": 128}  # cells; others have 64
VALIDATED = 8  # one in so many training layouts
TURN = 45  # degrees by which the rasters of the cities are rotated for dense crops
# Dense crops: (city, split, number, those for validation: they share no ground with a first crop).
DENSE = (
    ("florence", "train", 22, (3, 9, 13)),
    ("munich", "train", 26, (10, 23, 25)),
    ("paris", "train", 12, (6,)),
    ("san_francisco", "test", 8, ()),
)
TALLEST = 30  # cells, 60 m
DENSE_BUILT = (0.15, 0.65)


def scatter(
    rng: np.random.Generator,
    heights: np.ndarray,
    built: float,
    sides: tuple[int, int],
    tall: tuple[int, int],
    gap: int,
    number: int = 10_000,
) -> None:
    """Place rectangles at random into ``heights``, which is periodic and changed in place.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all random choices.
    heights : numpy.ndarray
        Heights in cells, (H, W).
    built : float
        Built fraction at which to stop.
    sides, tall : (int, int)
        Smallest and largest side and height of a building, cells.
    gap : int
        Smallest distance to what stands already, cells.
    number : int
        Largest number of buildings.
    """
    rows_all, columns_all = heights.shape
    for _ in range(4000):
        if (heights > 0).mean() >= built or number == 0:
            return
        a, b = rng.integers(sides[0], sides[1] + 1, 2)
        y, x = rng.integers(0, heights.shape)
        rows = (y + np.arange(-gap, a + gap)) % rows_all
        columns = (x + np.arange(-gap, b + gap)) % columns_all
        if heights[np.ix_(rows, columns)].any():
            continue
        level = rng.integers(tall[0], tall[1] + 1)
        heights[np.ix_(rows[gap : gap + a], columns[gap : gap + b])] = level
        number -= 1


def suburb(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return low houses, scattered or in rows along streets."""
    heights = np.zeros((size, size), int)
    gap = int(rng.integers(2, 4))
    if rng.random() < 0.4:
        scatter(rng, heights, rng.uniform(0.18, 0.36), (4, 8), (3, 5), gap)
        return heights
    pitch = size // int(rng.integers(3, 6))  # from one street to the next
    for street in range(size // pitch):
        depth = int(rng.integers(4, 7))
        row = street * pitch + int(rng.integers(0, 3))
        x = int(rng.integers(0, 4))
        while x < size - 4:
            length = int(rng.integers(4, 9))
            if rng.random() < 0.9 and x + length <= size - gap:
                rows = (row + int(rng.integers(0, 3)) + np.arange(depth)) % size
                heights[np.ix_(rows, np.arange(x, x + length))] = rng.integers(3, 6)
            x += length + gap
    return heights


def towers(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one to three towers on open ground."""
    heights = np.zeros((size, size), int)
    scatter(rng, heights, 0.3, (8, 14), (15, TALLEST), 6, number=int(rng.integers(1, 4)))
    return heights


def mixed(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one or two towers among low houses."""
    heights = np.zeros((size, size), int)
    scatter(rng, heights, 0.2, (7, 13), (15, TALLEST), 8, number=int(rng.integers(1, 3)))
    low = int(rng.integers(3, 9))
    gap = int(rng.integers(2, 6))
    scatter(rng, heights, rng.uniform(0.2, 0.42), (5, 12), (low, low + 2), gap)
    return heights


def ring(rng: np.random.Generator, block: np.ndarray) -> None:
    """Fill ``block`` with a perimeter block around one courtyard or two; changed in place."""
    rows, columns = block.shape
    depth = int(rng.integers(4, 7))
    level = int(rng.integers(6, 12))
    if min(rows, columns) < 2 * depth + 4:
        block[...] = level
        return
    block[...] = level
    block[depth:-depth, depth:-depth] = 0
    if columns >= 3 * depth + 10 and rng.random() < 0.4:  # a wing across
        middle = columns // 2 - depth // 2
        block[:, middle : middle + depth] = level
    if rng.random() < 0.5:  # one side has another height
        block[:depth] = np.where(block[:depth] > 0, max(4, level + int(rng.integers(-3, 4))), 0)
    for _ in range(int(rng.integers(0, 3))):  # passages from the street, open to the sky
        width = int(rng.integers(2, 4))
        if rng.random() < 0.5:
            at = int(rng.integers(depth, columns - depth - width + 1))
            end = slice(None, depth) if rng.random() < 0.5 else slice(-depth, None)
            block[end, at : at + width] = 0
        else:
            at = int(rng.integers(depth, rows - depth - width + 1))
            end = slice(None, depth) if rng.random() < 0.5 else slice(-depth, None)
            block[at : at + width, end] = 0


def divided(
    rng: np.random.Generator, size: int, widths: tuple[int, int], least: int, most: int
) -> list[tuple[int, int, int, int]]:
    """Divide a square by streets, again and again, into blocks (y, x, height, width) in cells.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all random choices.
    size : int
        Side of the square, cells.
    widths : (int, int)
        Smallest and largest width of a street, cells.
    least, most : int
        Smallest side of a block, and the side above which a block is always divided, cells.
    """

    def divide(y: int, x: int, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
        street = int(rng.integers(widths[0], widths[1] + 1))
        long = max(rows, columns)
        if long < 2 * least + street or (long <= most and rng.random() < 0.5):
            return [(y, x, rows, columns)]
        at = int(rng.integers(least, long - street - least + 1))
        rest = long - at - street
        if rows >= columns:
            return divide(y, x, at, columns) + divide(y + at + street, x, rest, columns)
        return divide(y, x, rows, at) + divide(y, x + at + street, rows, rest)

    border = int(rng.integers(widths[0], widths[1] + 1))
    return divide(0, 0, size - border, size - border)


def courtyards(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return perimeter blocks between streets of 8 to 16 m."""
    heights = np.zeros((size, size), int)
    for y, x, rows, columns in divided(rng, size, (4, 8), 16, 34):
        ring(rng, heights[y : y + rows, x : x + columns])
    return heights


def lanes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return an old quarter: lanes of two and three cells, few courtyards, a small square."""
    heights = np.zeros((size, size), int)
    for y, x, rows, columns in divided(rng, size, (2, 3), 6, 20):
        block = heights[y : y + rows, x : x + columns]
        draw = rng.random()
        if draw < 0.07:
            continue  # a small square
        block[...] = rng.integers(5, 13)
        if draw > 0.7 and min(rows, columns) >= 10:
            a, b = (int(rng.integers(3, n - 6)) for n in (rows, columns))
            block[3 : 3 + a, 3 : 3 + b] = 0
    return heights


def edge(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a dense quarter beside open ground, which is cut out along a winding line."""
    style = (lanes, courtyards, suburb)[int(rng.integers(0, 3))]
    heights = style(rng, size)
    y = np.arange(size)
    phase, number = rng.uniform(0, 2 * np.pi), int(rng.integers(1, 3))
    middle = size / 2 + rng.uniform(0, 8) * np.sin(2 * np.pi * number * y / size + phase)
    width = rng.uniform(size / 5, size / 2)
    open_ground = np.abs(np.arange(size) - middle[:, None]) < width / 2
    label, _ = ndimage.label(heights > 0)  # a building on the line stays or goes as a whole
    cut = ndimage.mean(open_ground, label, np.arange(label.max() + 1)) > 0.5
    heights[cut[label] & (label > 0)] = 0
    return heights if rng.random() < 0.5 else heights.T.copy()


def isolated(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a single building, a few buildings far apart, or a small group close together.

    In half of the layouts one building is a tower of 30 to 40 m.
    """
    heights = np.zeros((size, size), int)
    draw = rng.random()
    number = 1 if draw < 0.3 else int(rng.integers(2, 10))
    group = heights
    if draw > 0.6:  # close together
        side = int(rng.integers(36, 60))
        group = heights[32 : 32 + side, 32 : 32 + side]
    scatter(rng, group, 0.4, (5, 16), (4, 16), int(rng.integers(2, 7)), number)
    if rng.random() < 0.5:
        buildings, count = ndimage.label(heights)
        heights[buildings == rng.integers(1, count + 1)] = rng.integers(15, 21)
    return heights


def uptown(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return one or two towers among blocks, in straight rows or between streets of 8 to 14 m."""
    heights = np.zeros((size, size), int)
    level = int(rng.integers(6, 11))
    if rng.random() < 0.5:
        number = int(rng.integers(3, 6))
        side = int(size / number * rng.uniform(0.4, 0.7))
        starts = [size * k // number for k in range(number)]
        blocks = [(y, x, side, side) for y in starts for x in starts]
    else:
        blocks = divided(rng, size, (4, 7), 8, 20)
    for y, x, rows, columns in blocks:
        heights[y : y + rows, x : x + columns] = level + rng.integers(-1, 2)
    for k in rng.choice(len(blocks), int(rng.integers(1, 3)), replace=False):
        y, x, rows, columns = blocks[k]
        heights[y : y + rows, x : x + columns] = rng.integers(15, 23)
    return heights


def ward(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a round quarter of low houses with one to three towers, on open ground.

    The towers are of 30 to 44 m, in two of five layouts of 46 to 60 m.
    """
    heights = np.zeros((size, size), int)
    middle = heights[size // 4 : -size // 4, size // 4 : -size // 4]
    scatter(rng, middle, 0.3, (7, 12), (15, 23), 8, number=int(rng.integers(1, 4)))
    low, gap = int(rng.integers(3, 7)), int(rng.integers(2, 4))
    scatter(rng, heights, rng.uniform(0.3, 0.45), (4, 10), (low, low + 2), gap)
    label, count = ndimage.label(heights > 0)
    places = np.array(ndimage.center_of_mass(heights > 0, label, np.arange(1, count + 1)))
    far = np.hypot(*(places - size / 2).T) > rng.uniform(0.32, 0.4) * size
    heights[np.append(False, far)[label]] = 0
    if rng.random() > 0.62:
        heights[heights >= 15] += 8
    return heights


def bent(rng: np.random.Generator, heights: np.ndarray) -> np.ndarray:
    """Displace a layout smoothly and periodically by up to six cells."""
    size = len(heights)
    y, x = np.meshgrid(*(np.arange(n) for n in heights.shape), indexing="ij")
    wave = 2 * np.pi / size
    a, b = rng.uniform(2, 6, 2)
    p, q = rng.uniform(0, 2 * np.pi, 2)
    rows = np.rint(y + a * np.sin(wave * x + p)).astype(int) % size
    columns = np.rint(x + b * np.sin(wave * y + q)).astype(int) % size
    return heights[rows, columns]


def split_of(number: int, training: int, large: bool = False) -> str:
    """Return the split of a family's layout, counted from 1, of which so many are for training."""
    if number > training:
        return "test"
    if number % VALIDATED == 0:
        return "validation"
    return "train_256m" if large else "train"


def drawn(kind: str, number: int) -> Layout:
    """Return a layout of a drawn family; the last ones of each family are test layouts."""
    rng = np.random.default_rng([sorted(COUNTS).index(kind), number])
    makers = (suburb, towers, mixed, courtyards, lanes, edge, isolated, uptown, ward)
    make = {maker.__name__: maker for maker in makers}[kind]
    heights = make(rng, SIZES.get(kind, 64))
    if kind not in ("towers", "isolated", "uptown", "ward") and rng.random() < 0.5:
        heights = bent(rng, heights)
    heights = prepare(heights, LANE, connected=False)
    return Layout(
        name=f"{kind}_{number:02d}",
        split=split_of(number, COUNTS[kind][0], kind in SIZES),
        kind=kind,
        heights=heights,
        source="idealised, drawn at random",
        licence="CC-BY-4.0",
        geometry=f"{kind}, built fraction {(heights > 0).mean():.3f}",
    )


def dense(wheel: Path, work: Path) -> list[Layout]:
    """Return the dense crops of real cities, those that the rules of `prepare` change most first.

    Parameters
    ----------
    wheel, work : Path
        As in `layouts.real`.
    """
    layouts = []
    metres = round(64 * CELL)
    for city, split, count, validation in DENSE:
        height = turned(city_raster(wheel, work, city), TURN, empty=CELL * (TALLEST + 2))
        found = []
        for y in range(0, height.shape[0] - metres + 1, 16):
            for x in range(0, height.shape[1] - metres + 1, 16):
                raw = cell_heights(height[y : y + metres, x : x + metres])
                if raw.max() > TALLEST:
                    continue
                cells = prepare(raw, LANE, connected=False)
                built = (cells > 0).mean()
                if DENSE_BUILT[0] <= built <= DENSE_BUILT[1]:
                    changed = ((prepare(raw) > 0) != (raw > 0)).mean()
                    found.append((changed, y, x, cells))
        taken: list[tuple[int, int]] = []
        for _, y, x, cells in sorted(found, key=lambda crop: -crop[0]):
            if len(taken) == count:
                break
            if any(abs(y - b) < metres and abs(x - a) < metres for b, a in taken):
                continue
            taken.append((y, x))
            layouts.append(
                Layout(
                    name=f"{city}_h{len(taken):02d}",
                    split="validation" if len(taken) in validation else split,
                    kind="dense",
                    heights=cells,
                    source=SOURCE_REAL,
                    licence="ODbL-1.0",
                    geometry=(
                        f"{city}: crop of {metres} m, origin y = {y} m, x = {x} m of the model "
                        f"turned by {TURN} degrees, built fraction {(cells > 0).mean():.3f}"
                    ),
                    origin=(y, x),
                )
            )
    return layouts


def cases(wheel: Path, work: Path) -> list[Case]:
    """List the cases of all families, mixed evenly, so that a part of them is balanced, too."""
    families = {k: [drawn(k, n) for n in range(1, sum(c) + 1)] for k, c in COUNTS.items()}
    families["dense"] = sorted(dense(wheel, work), key=lambda crop: crop.name[-2:])  # in turns
    for later in ("uptown", "ward"):  # last: wind directions depend on the order
        families[later] = families.pop(later)
    placed = []
    for seed, layouts in enumerate(families.values()):
        rng = np.random.default_rng(seed)
        for is_test in (False, True):
            group = [layout for layout in layouts if (layout.split == "test") == is_test]
            for k, layout in enumerate(group):
                degrees = 15 * int(rng.integers(0, 24))
                placed.append(((k + 0.5) / len(group), Case(layout, degrees)))
    return [case for _, case in sorted(placed, key=lambda pair: pair[0])]
