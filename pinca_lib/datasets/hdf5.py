"""HDF5 files that are not trusted: opened, walked and read with checks, and no link followed."""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path

import h5py
import numpy as np
from h5py.h5z import FILTER_DEFLATE, FILTER_SHUFFLE

from pinca_lib.errors import InputError, first_line, shown

LONGEST_SIDE = 4096  # cells
LARGEST_VALUE = 1000.0  # m/s, m²/s² or m; beyond it a number is a fill value
# What damaged files, types that NumPy lacks and absurd sizes raise:
DAMAGE = OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError, zlib.error


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; whatever is wrong with it, then or later, is an ``InputError``."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{path.name}: not a readable HDF5 file ({first_line(error)}); "
            "it is truncated, damaged or of another format: copy or download it again"
        ) from error


def child(path: Path, parent: h5py.Group, name: str, kind: type) -> h5py.Group | h5py.Dataset:
    """Return a member of a group after checking that it lies in this file."""
    where = f"{path.name}: {shown(parent.name)}: {shown(name)!r}"
    link = parent.get(name, getlink=True)
    if link is None:
        raise InputError(f"{where} is missing; found {[shown(key) for key in list(parent)[:8]]}")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{where} is a link, which is refused; store the data in the file itself")
    found = parent[name]
    if not isinstance(found, kind):
        expected = "group" if kind is h5py.Group else "dataset"
        raise InputError(f"{where} is not a {expected}, as the layout of city files wants")
    return found


def dataset(path: Path, parent: h5py.Group, name: str, sides: int = 3) -> h5py.Dataset:
    """Return planes of numbers, (..., height, width), of which there are ``sides`` dimensions."""
    data = child(path, parent, name, h5py.Dataset)
    where = f"{path.name}: {shown(data.name)}"
    if data.is_virtual or data.external:
        raise InputError(f"{where} keeps its data in another file, which is refused")
    if data.dtype.kind not in "fiu":
        raise InputError(f"{where} has type {data.dtype}; expected floating-point numbers")
    if len(data.shape or ()) != sides:
        expected = "halves, channels, height, width" if sides == 4 else "channels, height, width"
        raise InputError(f"{where} has shape {data.shape}; expected ({expected})")
    if not all(3 <= side <= LONGEST_SIDE for side in data.shape[-2:]):
        raise InputError(f"{where} has shape {data.shape}; a side has 3 to {LONGEST_SIDE} cells")
    return data


def numbers(data: h5py.Dataset) -> np.ndarray:
    """Return all of a dataset, (..., H, W), in the type that it is stored in.

    HDF5 lets one thread read at a time. So a chunk that gzip has packed is only fetched from it,
    and unpacked here, where threads can read many files at once.
    """
    packing = data.id.get_create_plist()
    filters = [packing.get_filter(i)[0] for i in range(packing.get_nfilters())]
    if filters not in ([FILTER_DEFLATE], [FILTER_SHUFFLE, FILTER_DEFLATE]):
        return data[:]
    sides, size = data.chunks, data.dtype.itemsize
    corners = list(product(*map(range, [0] * data.ndim, data.shape, sides)))
    if data.id.get_num_chunks() != len(corners):  # the others hold the fill value
        return data[:]
    skipped, packed = zip(*map(data.id.read_direct_chunk, corners), strict=True)
    if any(skipped):  # some filter, in one of the chunks
        return data[:]
    length = prod(sides) * size
    plain = b"".join([zlib.decompress(chunk, bufsize=length) for chunk in packed])
    if FILTER_SHUFFLE in filters:  # in every chunk all first bytes, then all second ones, …
        lanes = np.frombuffer(plain, np.uint8).reshape(len(corners), size, -1)
        plain = np.stack(list(lanes.swapaxes(0, 1)), axis=-1)
    counts = [-(-cells // side) for cells, side in zip(data.shape, sides, strict=True)]
    chunks = np.frombuffer(plain, data.dtype).reshape(*counts, *sides)
    order = [axis for i in range(data.ndim) for axis in (i, data.ndim + i)]
    whole = chunks.transpose(order).reshape(np.multiply(counts, sides))
    return whole[tuple(map(slice, data.shape))]


def checked_array(planes: np.ndarray, where: str, names: Sequence[str]) -> np.ndarray:
    """Return named planes, (K, H, W), as float32 after checking their numbers."""
    array = planes.astype(np.float32)
    for name, plane in zip(names, array, strict=True):
        if not np.isfinite(plane).all():
            row, column = np.argwhere(~np.isfinite(plane))[0]
            raise InputError(
                f"{where}: {name} has {(~np.isfinite(plane)).sum()} NaN or infinite values, the "
                f"first in row {row}, column {column}; cells in buildings must hold 0"
            )
        if np.abs(plane).max() > LARGEST_VALUE:
            raise InputError(
                f"{where}: {name} reaches {np.abs(plane).max():g}, more than {LARGEST_VALUE:g}; "
                "is it a fill value, or another unit?"
            )
    return array
