"""How a grid that does not fit into memory is cut into tiles with halos.

Within the steps between two exchanges a rule sees no farther than the halo (``reach``), and blocks
of coarse cells lie in a tile as they lie on the grid.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import psutil

from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK
from pinca_lib.errors import InputError

CHUNK = 256  # cells a side of the chunks of a store: a halo costs little more than itself to read
BYTES_A_CELL, BYTES_IN_AIR = 700, 850  # of a window, for each cell and as much more if in air
MOST_STEPS = 8  # between two exchanges: fewer read and write more often, more have wider halos
SAMPLED = 8  # cells from one to the next at which the share of air is looked at


class Span(NamedTuple):
    """The rows or the columns of a tile, and of the window around it."""

    own: slice
    window: list[slice]  # one run, or two in ascending order
    inside: slice  # where the tile lies in the window

    @property
    def length(self) -> int:
        """Rows or columns of the window."""
        return sum(run.stop - run.start for run in self.window)


class Tiling(NamedTuple):
    """How a grid is cut into tiles, and the steps between two exchanges."""

    shape: tuple[int, int]  # H, W
    tile: tuple[int, int]  # rows and columns, whole chunks; at the end of the grid perhaps fewer
    chunk: tuple[int, int]  # of a store, multiples of ``unit``
    halo: int  # cells, a multiple of ``unit``
    unit: int  # cells, of which all blocks of coarse cells are a part
    steps: int

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles from south to north and from west to east."""
        rows, columns = (-(-size // side) for size, side in zip(self.shape, self.tile, strict=True))
        return rows, columns

    def axes(self) -> list[list[Span]]:
        """Return the spans of the tiles, from south to north and from west to east."""
        return [
            [
                _span(slice(start, min(start + side, size)), self.halo, size, self.unit)
                for start in range(0, size, side)
            ]
            for size, side in zip(self.shape, self.tile, strict=True)
        ]


def reach(rules: Sequence[CA], steps: int) -> int:
    """Return how far cells see in a number of steps, from a corner of their blocks.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step.
    steps : int

    Returns
    -------
    int
        Cells. A rule of scale s that must be right in the next w cells reads whole blocks, and one
        more: s (ceil(w / s) + 1). The shipped rules see 8 cells a step.
    """
    cells = 0
    for _ in range(steps):
        for rule in reversed(rules):
            cells = rule.scale * (-(-cells // rule.scale) + 1)
    return cells


def choose_tiling(rules: Sequence[CA], base: Any, steps: int, memory: float) -> Tiling:
    """Return the largest tiles that fit into so much memory.

    Parameters
    ----------
    rules : sequence of CA
    base : dask.array.Array of shape (6, H, W)
        Base channels, of which the air counts: a rollout stores more for cells in air.
    steps : int
        Number of steps of the rollout.
    memory : float
        Most memory that this process may take, in GB (1e9 bytes).

    Raises
    ------
    InputError
        If there is not enough memory for tiles of ``CHUNK`` cells.
    """
    air = base[GEO_MASK, ::SAMPLED, ::SAMPLED].compute(scheduler="synchronous")
    air = (air > 0).astype(np.float32)
    shape = base.shape[-2:]
    between = -(-steps // -(-steps // MOST_STEPS))
    unit = math.lcm(*(rule.scale for rule in rules))
    halo = -(-reach(rules, between) // unit) * unit
    held, taken = psutil.Process().memory_info().rss, math.inf
    for count in range(1, max(*shape) // max(halo, CHUNK) + 2):  # tiles along the longer axis
        counts = (max(1, round(count * size / max(shape))) for size in shape)
        tile, chunk = zip(
            *(_cut(*axis, unit) for axis in zip(shape, counts, strict=True)), strict=True
        )
        tiling = Tiling(shape, tile, chunk, halo, unit, between)
        taken = _bytes(tiling, air)
        if held + taken <= memory * 1e9:
            return tiling
    raise InputError(
        f"memory={memory:g}: too little for a grid of {shape[1]:,} × {shape[0]:,} cells even in "
        f"tiles; give at least {math.ceil((held + taken) / 1e8) / 10:.1f} GB, of which this "
        f"process holds {held / 1e9:.1f} GB already"
    )


def _cut(size: int, count: int, unit: int) -> tuple[int, int]:
    """Return the side of a tile and of its chunks, for about so many tiles along an axis."""
    side = size / count
    chunks = max(1, round(side / CHUNK))
    chunk = math.ceil(side / (chunks * unit)) * unit
    return chunks * chunk, chunk


def _span(own: slice, halo: int, size: int, unit: int) -> Span:
    """Return the rows of a tile with those of its window.

    A window over the edge of the periodic grid begins with row 0: the edge of the grid is then that
    of the window, and a smaller last block of coarse cells the last one of the window, too. Every
    run begins with a whole block.
    """
    low, high = own.start - halo, own.stop + halo
    runs = [slice(low, high)]
    if low < 0:
        runs = [slice(0, high), slice(low % size // unit * unit, size)]
    elif high > size:
        runs = [slice(0, -(-(high - size) // unit) * unit), slice(low, size)]
    if len(runs) > 1 and runs[0].stop >= runs[1].start:
        runs = [slice(0, size)]
    first = 0
    for run in runs:
        if run.start <= own.start < run.stop:
            first += own.start - run.start
            break
        first += run.stop - run.start
    return Span(own, runs, slice(first, first + own.stop - own.start))


def _bytes(tiling: Tiling, air: np.ndarray) -> float:
    """Return the memory that the window of most cells in air takes while it is advanced."""
    means = []  # of the samples in the rows and in the columns of each window
    for spans, count in zip(tiling.axes(), air.shape, strict=True):
        weights = np.zeros((len(spans), count), np.float32)
        for span, row in zip(spans, weights, strict=True):
            for run in span.window:
                row[run.start // SAMPLED : -(-run.stop // SAMPLED)] = 1
        means.append(weights / weights.sum(axis=1, keepdims=True))
    shares = means[0] @ air @ means[1].T
    down, across = ([span.length for span in spans] for spans in tiling.axes())
    return float((np.outer(down, across) * (BYTES_A_CELL + BYTES_IN_AIR * shares)).max())
