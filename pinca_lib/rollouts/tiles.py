"""Rollouts over grids that do not fit into memory: tiles with halos, and states in Zarr.

Between two exchanges every tile is read with a halo around it, advanced by ``rollout``, and written
without the halo. Within so many steps a rule sees no farther than the halo (``reach``), and blocks
of coarse cells lie in a tile as they lie on the grid. So the result is that of the whole rollout,
but for the last digits.

Zarr cuts and joins, and Dask runs the tiles, one after the other, since each uses all cores. A
state between exchanges is a store ``after_<steps>.zarr`` with two arrays: ``state``, and ``done``,
which says of each tile whether it is there. A rollout that was killed goes on from there.
"""

import ctypes
import hashlib
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from tqdm import tqdm

from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, DYNAMIC, GEO_MASK
from pinca_lib.errors import InputError, first_line, needed
from pinca_lib.rollouts.dispatch import rollout

CHUNK = 256  # cells a side of the chunks of a store: a halo costs little more than itself to read
BYTES_A_CELL, BYTES_IN_AIR = 700, 850  # of a window, for each cell and as much more if in air
PREPARATION = 2.0  # steps that last as long as reading, preparing and writing a tile
MOST_STEPS = 16  # between two exchanges
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
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


class Layout(NamedTuple):
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

    def axes(self) -> list[list["Span"]]:
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


def rollout_in_tiles(
    rules: Sequence[CA],
    base: Any,
    steps: int,
    folder: Path | str,
    layout: Layout,
    kept: slice = DYNAMIC,
    title: str = "tiles",
) -> Any:
    """Roll out from zero over a grid that need not fit into memory.

    The result is that of ``rollout`` to about 1e-6, on grids of any size. A rollout that was
    stopped, or killed, goes on in its folder when it is called again, from the last tile that was
    written.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step; on the device that is to be used.
    base : dask.array.Array of shape (6, H, W)
        Base channels, float32.
    steps : int
        Number of steps, at least 1.
    folder : Path or str
        For the states between exchanges, two of them at a time: 144 bytes a cell. Only the result
        stays.
    layout : Layout
        As ``choose_layout`` returns it.
    kept : slice
        Channels of the result.
    title : str
        Of the progress bar, which counts tiles.

    Returns
    -------
    dask.array.Array of shape (kept, H, W), float32
        The final state, which lies in ``folder``.

    Raises
    ------
    InputError
        If Dask or Zarr is missing, the disk is too small, or the folder holds a rollout of another
        city, wind or rules.
    """
    needed("zarr", "a rollout in tiles", "cluster")
    needed("dask.array", "a rollout in tiles", "cluster")
    import dask.array

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = _digest(rules, base, kept, steps)
    final = folder / f"after_{steps}.zarr"
    if _is_complete(_opened(final, about)):
        return dask.array.from_zarr(final, component="state")
    done = max(
        (n for n in range(steps) if _is_complete(_opened(_path(folder, n), about))), default=0
    )
    _check_disk(folder, base.shape[-2:], rules[0].channels)
    exchanges = -(-(steps - done) // layout.steps)
    ends = [done + (steps - done) * number // exchanges for number in range(exchanges + 1)]
    total = math.prod(layout.counts) * exchanges
    with _kept_memory(), tqdm(total=total, desc=title, unit="tile") as bar:
        for start, stop in pairwise(ends):
            _exchange(rules, base, folder, (start, stop), steps, layout, about, kept, bar)
            for old in folder.glob("after_*.zarr"):
                if old != _path(folder, stop):
                    shutil.rmtree(old)
    return dask.array.from_zarr(final, component="state")


def choose_layout(rules: Sequence[CA], base: Any, steps: int, memory: float) -> Layout:
    """Return the tiles that cost the least time in so much memory.

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
    held = psutil.Process().memory_info().rss
    found, least = [], math.inf
    for between in sorted({-(-steps // exchanges) for exchanges in range(1, steps + 1)}):
        if between > MOST_STEPS:
            break
        usual = (memory * 1e9 - held) / _bytes_a_cell(air.mean())
        for layout in _layouts(rules, base.shape[-2:], between, usual):
            most = _bytes(layout, air)
            least = min(least, most)
            if held + most <= memory * 1e9:
                found.append((_cost(layout), layout))
                break
    if not found:
        height, width = base.shape[-2:]
        raise InputError(
            f"memory={memory:g}: too little for a grid of {width:,} × {height:,} cells even in "
            f"tiles; give at least {math.ceil((held + least) / 1e8) / 10:.1f} GB, of which this "
            f"process holds {held / 1e9:.1f} GB already"
        )
    return min(found)[1]


def _layouts(
    rules: Sequence[CA], shape: tuple[int, int], steps: int, cells: float
) -> Iterator[Layout]:
    """Yield layouts of more and more tiles, from those whose windows have about so many cells."""
    unit = math.lcm(*(rule.scale for rule in rules))
    halo = -(-reach(rules, steps) // unit) * unit
    side = max(*shape, unit)
    first = int(side / max(math.sqrt(max(cells, 0)) - 2 * halo, CHUNK))
    fewest = side // max(halo, CHUNK)
    for half in range(2 * max(min(first, fewest), 1), 2 * max(fewest, 1) + 1):
        rows, columns = shape[0] * half // (2 * side), -(-shape[1] * half // (2 * side))
        tile, chunk = zip(*map(_cut, shape, (rows, columns), (unit, unit)), strict=True)
        yield Layout(shape, tile, chunk, halo, unit, steps)


def _cut(size: int, count: int, unit: int) -> tuple[int, int]:
    """Return the side of a tile and of its chunks, for about so many tiles along an axis."""
    side = size / max(count, 1)
    chunks = max(1, round(side / CHUNK))
    chunk = math.ceil(side / (chunks * unit)) * unit
    return chunks * chunk, chunk


def _exchange(
    rules: Sequence[CA],
    base: Any,
    folder: Path,
    between: tuple[int, int],
    steps: int,
    layout: Layout,
    about: str,
    kept: slice,
    bar: tqdm,
) -> None:
    """Advance all tiles from one store to the next, but for those that are there."""
    import dask
    from dask.callbacks import Callback

    start, stop = between
    before = _opened(_path(folder, start), about) if start else None
    channels = range(rules[0].channels)[kept if stop == steps else DYNAMIC]
    after = _begun(_path(folder, stop), about, layout, len(channels))

    down, across = layout.axes()

    def advance(i: int, j: int) -> None:
        rows, columns = down[i], across[j]
        state = torch.zeros(1, rules[0].channels, rows.length, columns.length)
        _fill(state[0, :BASE_COUNT].numpy(), base, rows, columns)
        if before is not None:
            _fill(state[0, DYNAMIC].numpy(), before["state"], rows, columns)
        with torch.no_grad():
            state = rollout(rules, state.to(rules[0].w1.weight.device), stop - start)
        inner = state[0, channels.start : channels.stop, rows.inside, columns.inside]
        after["state"][:, rows.own, columns.own] = inner.cpu().numpy()
        after["done"][i, j] = 1

    done = after["done"][:]
    bar.update(int(done.sum()))
    tasks = [dask.delayed(advance, pure=False)(i, j) for i, j in np.argwhere(done == 0).tolist()]
    try:
        with Callback(posttask=lambda *_: bar.update()):
            dask.compute(tasks, scheduler="synchronous")
    except OSError as error:
        raise InputError(
            f"{folder}: a tile cannot be written ({first_line(error)}); make space and start "
            "again: the rollout goes on where it was"
        ) from error


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Keep the memory of a tile for the next one, where glibc is the C library.

    The system clears every page that it hands out: without this, a rollout over 1800 × 1800 cells
    in six tiles took 1.4 times as long.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt, malloc_trim = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, 65_536)  # the defaults of glibc
        mallopt(M_TRIM_THRESHOLD, 131_072)
        malloc_trim(0)


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


def _fill(window: np.ndarray, array: Any, rows: Span, columns: Span) -> None:
    """Copy a window out of an array (C, H, W) of Dask or Zarr."""
    y = 0
    for down in rows.window:
        x = 0
        for across in columns.window:
            part = array[:, down, across]
            if hasattr(part, "compute"):
                part = part.compute(scheduler="synchronous")
            height, width = part.shape[1:]
            window[:, y : y + height, x : x + width] = part
            x += width
        y += height


def _bytes(layout: Layout, air: np.ndarray) -> float:
    """Return the memory that the window of most cells in air takes while it is advanced."""
    means = []  # of the samples in the rows and in the columns of each window
    for spans, count in zip(layout.axes(), air.shape, strict=True):
        weights = np.zeros((len(spans), count), np.float32)
        for span, row in zip(spans, weights, strict=True):
            for run in span.window:
                row[run.start // SAMPLED : -(-run.stop // SAMPLED)] = 1
        means.append(weights / weights.sum(axis=1, keepdims=True))
    shares = means[0] @ air @ means[1].T
    down, across = ([span.length for span in spans] for spans in layout.axes())
    return float((np.outer(down, across) * _bytes_a_cell(shares)).max())


def _bytes_a_cell(air):
    return BYTES_A_CELL + BYTES_IN_AIR * air


def _cost(layout: Layout) -> float:
    """Return about how long the layout takes, in times of the whole rollout."""
    cells = math.prod(sum(span.length for span in spans) for spans in layout.axes())
    return (1 + PREPARATION / layout.steps) * cells / math.prod(layout.shape)


def _path(folder: Path, steps: int) -> Path:
    return folder / f"after_{steps}.zarr"


def _opened(path: Path, about: str) -> Any:
    """Return the store of a state, or None if it was not even begun."""
    import zarr

    try:
        group = zarr.open_group(path, mode="r+")
        arrays = "state" in group and "done" in group
    except (OSError, ValueError, KeyError):  # missing, or a kill left it without a description
        return None
    if group.attrs.get("about") != about:
        raise InputError(
            f"{path.parent}: holds a rollout of another city, wind or rules; give another folder, "
            "or delete this one"
        )
    return group if arrays else None


def _is_complete(group: Any) -> bool:
    return group is not None and bool(np.all(group["done"][:]))


def _begun(path: Path, about: str, layout: Layout, channels: int) -> Any:
    """Return the store of a state that is to be written, as far as it goes with this layout."""
    import zarr

    group = _opened(path, about)
    if group is not None and group.attrs.get("layout") == _plain(layout):
        return group
    if path.exists():
        shutil.rmtree(path)
    group = zarr.open_group(path, mode="w", attributes={"about": about, "layout": _plain(layout)})
    one = (1, 1)
    group.create_array("done", shape=layout.counts, chunks=one, dtype="uint8", fill_value=0)
    group.create_array(
        "state", shape=(channels, *layout.shape), chunks=(channels, *layout.chunk), dtype="float32",
        fill_value=np.nan, compressors=None,  # compressing takes long and saves little
    )  # fmt: skip
    return group


def _plain(layout: Layout) -> list:
    return [list(part) if isinstance(part, tuple) else part for part in layout]


def _digest(rules: Sequence[CA], base: Any, kept: slice, steps: int) -> str:
    """Return a digest of the rules, the city and its wind."""
    import dask

    def digest(block: np.ndarray) -> bytes:
        return hashlib.blake2b(block.tobytes(), digest_size=16).digest()

    blocks = [dask.delayed(digest)(block) for block in base[GEO_MASK:].to_delayed().ravel()]
    total = hashlib.blake2b(repr((base.shape, steps, kept)).encode(), digest_size=16)
    for each in dask.compute(*blocks, scheduler="threads"):
        total.update(each)
    for rule in rules:
        for name, value in rule.state_dict().items():
            total.update(name.encode() + np.ascontiguousarray(value.cpu()).tobytes())
    return total.hexdigest()


def _check_disk(folder: Path, shape: tuple[int, int], channels: int) -> None:
    """Check that two states fit, counting what this rollout has on the disk already."""
    most = 2 * (channels - BASE_COUNT) * 4 * math.prod(shape)
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if free + held < 1.01 * most:
        raise InputError(
            f"{folder}: {most / 1e9:,.1f} GB are needed for the states of {shape[1]:,} × "
            f"{shape[0]:,} cells, {free / 1e9:,.1f} GB are free; make space, or give a folder on "
            "another disk"
        )
