"""Rollouts over grids that do not fit into memory: tiles with halos, and states in Zarr.

Between two exchanges every tile is read with a halo around it, advanced by ``rollout``, and written
without the halo. No rule sees farther than the halo (``tiling``), so the result is that of the
whole rollout, but for the last digits.

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
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, DYNAMIC, GEO_MASK
from pinca_lib.errors import InputError, first_line, needed
from pinca_lib.rollouts.dispatch import rollout
from pinca_lib.rollouts.tiling import Span, Tiling

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h


def rollout_in_tiles(
    rules: Sequence[CA],
    base: Any,
    steps: int,
    folder: Path | str,
    tiling: Tiling,
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
    tiling : Tiling
        As ``choose_tiling`` returns it.
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
    exchanges = -(-(steps - done) // tiling.steps)
    ends = [done + (steps - done) * number // exchanges for number in range(exchanges + 1)]
    total = math.prod(tiling.counts) * exchanges
    with _kept_memory(), tqdm(total=total, desc=title, unit="tile") as bar:
        for start, stop in pairwise(ends):
            _exchange(rules, base, folder, (start, stop), steps, tiling, about, kept, bar)
            for old in folder.glob("after_*.zarr"):
                if old != _path(folder, stop):
                    shutil.rmtree(old)
    return dask.array.from_zarr(final, component="state")


def _exchange(
    rules: Sequence[CA],
    base: Any,
    folder: Path,
    between: tuple[int, int],
    steps: int,
    tiling: Tiling,
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
    after = _begun(_path(folder, stop), about, tiling, len(channels))

    down, across = tiling.axes()

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


def _begun(path: Path, about: str, tiling: Tiling, channels: int) -> Any:
    """Return the store of a state that is to be written, as far as it goes with this tiling."""
    import zarr

    group = _opened(path, about)
    if group is not None and group.attrs.get("tiling") == _plain(tiling):
        return group
    if path.exists():
        shutil.rmtree(path)
    group = zarr.open_group(path, mode="w", attributes={"about": about, "tiling": _plain(tiling)})
    one = (1, 1)
    group.create_array("done", shape=tiling.counts, chunks=one, dtype="uint8", fill_value=0)
    group.create_array(
        "state", shape=(channels, *tiling.shape), chunks=(channels, *tiling.chunk), dtype="float32",
        fill_value=np.nan, compressors=None,  # compressing takes long and saves little
    )  # fmt: skip
    return group


def _plain(tiling: Tiling) -> list:
    return [list(part) if isinstance(part, tuple) else part for part in tiling]


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
