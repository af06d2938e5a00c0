"""Read untrusted HDF5 files: every member is checked, and no link is followed."""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path

import h5py
import numpy as np
from h5py.h5z import FILTER_DEFLATE, FILTER_SHUFFLE

from pinca_lib.datasets import first_read
from pinca_lib.errors import InputError, shown, unreadable

LONGEST_SIDE = 4096  # cells
LARGEST = 2 * 2**30  # bytes, what a dataset may unpack to
LONGEST_TEXT = 65_536  # characters
PACKED = ("scale_factor", "add_offset")  # attributes of integers that stand for other numbers
LARGEST_VALUE = 1000.0  # m/s, m²/s² or m; a larger number is taken as a fill value
# What h5py raises for damaged files, types that NumPy lacks and absurd sizes:
DAMAGE = OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError, zlib.error


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; raise faults found now or inside the ``with`` as ``InputError``."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        first_read.check(path)
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except DAMAGE as error:
        raise unreadable(path, error, "HDF5 file") from error


def has(parent: h5py.Group, name: str) -> bool:
    """Return whether a group has a member, or a link, of that name."""
    return parent.get(name, getlink=True) is not None


def child(path: Path, parent: h5py.Group, name: str, kind: type) -> h5py.Group | h5py.Dataset:
    """Return a member of a group after checking its type and that it is stored in this file."""
    where = f"{path.name}: {shown(parent.name)}: {shown(name)!r}"
    link = parent.get(name, getlink=True)
    if link is None:
        raise InputError(f"{where} is missing; found {[shown(key) for key in list(parent)[:8]]}")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{where} is a link, which is refused; store the data in the file itself")
    found = parent[name]
    if not isinstance(found, kind):
        expected = "group" if kind is h5py.Group else "dataset"
        raise InputError(f"{where} is not a {expected}, which the layout of city files requires")
    return found


def dataset(
    path: Path, parent: h5py.Group, name: str, sides: int = 3, kinds: str = "f"
) -> h5py.Dataset:
    """Return a dataset of real numbers, (..., H, W), after checks.

    It must have ``sides`` dimensions, and a type of one of ``kinds``, as NumPy names them.
    """
    data = child(path, parent, name, h5py.Dataset)
    where = f"{path.name}: {shown(data.name)}"
    if data.is_virtual or data.external:
        raise InputError(
            f"{where} keeps its data in another file, which is refused; store it in the file itself"
        )
    if packed := [name for name in PACKED if name in data.attrs]:
        raise InputError(
            f"{where} is packed ({', '.join(packed)}), which city files are not; store the numbers "
            "themselves, in m, m/s, m²/s² and 1/s, as floating-point numbers"
        )
    if data.dtype.kind not in kinds:
        raise InputError(f"{where} has type {data.dtype}; expected floating-point numbers")
    if len(data.shape or ()) != sides:
        expected = "halves, channels, height, width" if sides == 4 else "channels, height, width"
        raise InputError(f"{where} has shape {data.shape}; expected ({expected})")
    if not all(3 <= side <= LONGEST_SIDE for side in data.shape[-2:]):
        raise InputError(
            f"{where} has shape {data.shape}; expected 3 to {LONGEST_SIDE} cells per side"
        )
    unpacked = data.dtype.itemsize * prod(
        -(-cells // side) * side
        for cells, side in zip(data.shape, data.chunks or data.shape, strict=True)
    )
    if unpacked > LARGEST:
        raise InputError(
            f"{where} has shape {data.shape} in chunks of {data.chunks}, {unpacked / 2**30:.1f} GB "
            f"unpacked; expected at most {LARGEST / 2**30:.0f} GB"
        )
    for number, name in _filters(data):
        if not h5py.h5z.filter_avail(number):
            raise InputError(
                f"{where} is compressed by a filter that is not installed here (number {number}, "
                f"{shown(name)}); write it again with gzip, or install the filter, for example "
                "with hdf5plugin"
            )
    return data


def text(group: h5py.Group, name: str, where: str) -> str:
    """Return an attribute as text; an array of one element stands for the element."""
    wrong = InputError(f"{where}: {name} must be text of at most {LONGEST_TEXT} characters")
    attribute = group.attrs.get_id(name)
    count = attribute.get_space().get_simple_extent_npoints()
    if count * attribute.get_type().get_size() > 4 * LONGEST_TEXT:  # bytes; before it is read
        raise wrong
    raw = group.attrs[name]
    if isinstance(raw, h5py.Empty):
        return ""
    if isinstance(raw, np.ndarray) and raw.size == 1:
        raw = raw.item()
    raw = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    if not isinstance(raw, str):
        raise wrong
    return raw


def _filters(data: h5py.Dataset) -> list[tuple[int, str]]:
    """Return number and name of each filter of a dataset."""
    properties = data.id.get_create_plist()
    found = (properties.get_filter(i) for i in range(properties.get_nfilters()))
    return [(number, name.decode(errors="replace")) for number, _, _, name in found]


def packed_chunks(data: h5py.Dataset) -> list[tuple[tuple[int, ...], bytes]] | None:
    """Return first index and packed content of each chunk; None if only HDF5 can unpack them."""
    filters = [number for number, _ in _filters(data)]
    if filters not in ([FILTER_DEFLATE], [FILTER_SHUFFLE, FILTER_DEFLATE]):
        return None
    steps = [range(0, cells, side) for cells, side in zip(data.shape, data.chunks, strict=True)]
    if data.id.get_num_chunks() != prod(map(len, steps)):  # missing chunks hold the fill value
        return None
    corners = list(product(*steps))
    filter_masks, packed = zip(*map(data.id.read_direct_chunk, corners), strict=True)
    if any(filter_masks):  # a chunk was written without one of the filters
        return None
    return list(zip(corners, packed, strict=True))


def numbers(data: h5py.Dataset) -> np.ndarray:
    """Return all values of a dataset, (..., H, W), in its stored type.

    HDF5 allows only one thread at a time to read, and decompresses while it holds its lock. So
    this function lets HDF5 fetch only the compressed chunks, and decompresses them itself. Threads
    can then decompress several files at once. Datasets with other filters than gzip and
    shuffle are read by HDF5, in another process (see ``first_read``).
    """
    if (chunks := packed_chunks(data)) is None:
        found = first_read.array(Path(data.file.filename), data.name) if _filters(data) else None
        return data[:] if found is None else found
    whole = np.empty(data.shape, data.dtype)
    for corner, packed in chunks:
        place = whole[tuple(map(slice, corner, np.add(corner, data.chunks)))]
        place[:] = _unpacked(packed, data)[tuple(map(slice, place.shape))]
    return whole


def _unpacked(packed: bytes, data: h5py.Dataset) -> np.ndarray:
    """Return a chunk, in the shape of chunks, after checking its size and zlib's checksum."""
    size = data.dtype.itemsize
    length = prod(data.chunks) * size
    unpacking = zlib.decompressobj()
    content: bytes | np.ndarray = unpacking.decompress(packed, length + 1)
    if len(content) != length or not unpacking.eof:
        raise ValueError("a chunk unpacks to another size than the file states")
    if len(_filters(data)) > 1:  # shuffled: the first bytes of all numbers, then the second …
        content = np.stack(list(np.frombuffer(content, np.uint8).reshape(size, -1)), axis=-1)
    return np.frombuffer(content, data.dtype).reshape(data.chunks)


def checked_array(planes: np.ndarray, where: str, names: Sequence[str]) -> np.ndarray:
    """Return planes (K, H, W) as float32, after checking that all are finite and not too large."""
    array = planes.astype(np.float32)
    for name, plane in zip(names, array, strict=True):
        if not np.isfinite(plane).all():
            row, column = np.argwhere(~np.isfinite(plane))[0]
            raise InputError(
                f"{where}: {name} has {(~np.isfinite(plane)).sum()} NaN or infinite values, the "
                f"first in row {row}, column {column}; expected finite numbers, and 0 in buildings"
            )
        if np.abs(plane).max() > LARGEST_VALUE:
            raise InputError(
                f"{where}: {name} reaches {np.abs(plane).max():g}, more than {LARGEST_VALUE:g}; "
                "check for fill values and for the unit"
            )
    return array
