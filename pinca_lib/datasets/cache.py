"""Data sets that are too large for memory: kept on disk on one grid, and mapped from there.

A data set is written to the user's cache folder as it is read, one case after another:

    datasets/<key>/states.f32   the states, (N, 12, H, W), float32
    datasets/<key>/cases.json   the shape, what else is known of each case, and the SHA-256 of all

The key is the SHA-256 of what the content depends on: the city files, the grid, the row order. The
next time the city files are only hashed, not read, and the states are a file that is mapped: the
system reads what is used, and drops it when memory is short. What is damaged is found by its
SHA-256, and written anew. The folders can be deleted at any time.
"""

import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path
from torch import Tensor

from pinca_lib.errors import InputError, InputWarning, first_line, unreadable
from pinca_lib.writing import written_whole

FOLDER = user_cache_path("pinca") / "datasets"
LARGE = 2**28  # bytes of states; smaller data sets are held in memory
SPARE = 1.1  # of the space that is needed
KEPT = 4  # data sets; the one that was used longest ago is deleted first
READER = 1  # to be raised when cases are read or resized in another way

Kept = tuple[Tensor, list[list]]


def key_of(paths: Sequence[Path], *settings: Any) -> str:
    """Return the key of the data set of some city files, read with some settings.

    Raises
    ------
    InputError
        If a file cannot be read.
    """

    def named_digest(path: Path) -> tuple[str, str]:
        try:
            return path.name, _digest(path)
        except OSError as error:
            raise unreadable(path, error, "HDF5 file") from error

    with ThreadPoolExecutor() as threads:
        content = [READER, torch.__version__, settings, *threads.map(named_digest, paths)]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def find(key: str) -> Kept | None:
    """Return the states of a data set, mapped, and what else is known of its cases.

    Parameters
    ----------
    key : str

    Returns
    -------
    (Tensor of shape (N, 12, H, W), list) or None
        None if the data set is not in the cache, or damaged. What is written to the tensor goes to
        the file; it is then damaged.
    """
    path, about = FOLDER / key / "states.f32", FOLDER / key / "cases.json"
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
        shape, cases = tuple(found["shape"]), found["cases"]
        if path.stat().st_size != 4 * math.prod(shape):
            raise ValueError("it has another size")
        if found["sha256"] != _digest(path, [*shape, cases]):
            raise ValueError("its SHA-256 is another")
        os.utime(about)  # as the newest
        numbers = torch.from_file(str(path), shared=True, size=math.prod(shape))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        warnings.warn(
            f"{path}: damaged ({first_line(error)}); the city files are read again",
            InputWarning, stacklevel=3)  # fmt: skip
        with suppress(OSError):
            about.unlink()
        return None
    return numbers.reshape(shape), cases


def keep(key: str, size: int, cases: Iterable[tuple[np.ndarray, list]]) -> Kept | None:
    """Write a data set to the cache, and return it as ``find`` does.

    If another process is writing it, wait for that.

    Parameters
    ----------
    key : str
    size : int
        Bytes of all states.
    cases : iterable of (ndarray of shape (12, H, W), list)
        The state of each case, float32, and what else is known of it, for JSON.

    Returns
    -------
    (Tensor of shape (N, 12, H, W), list) or None
        None, after a warning, if the cache cannot be written or has no space for it. Then nothing
        was taken from ``cases``.

    Raises
    ------
    InputError
        If the disk fails or is full although there was space.
    """
    folder = FOLDER / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        _warn(f"cannot be written ({error.strerror})")
        return None
    with lock:
        if (found := find(key)) is not None:
            return found
        _delete_oldest(folder)
        if (free := shutil.disk_usage(folder).free) < size * SPARE:
            _warn(f"has {free / 1e9:.1f} GB free, but needs {size * SPARE / 1e9:.1f} GB")
            return None
        try:
            _write(folder, cases)
        except OSError as error:
            raise InputError(
                f"{folder}: the data set cannot be written ({error.strerror}); make space there, "
                "or delete older folders beside it"
            ) from error
        return find(key)


def _warn(reason: str) -> None:
    text = f"{FOLDER}: {reason}, so the data set is read into memory, every time"
    warnings.warn(text, InputWarning, stacklevel=4)


def _write(folder: Path, cases: Iterable[tuple[np.ndarray, list]]) -> None:
    """Write states and the rest; the latter comes last, and makes the data set complete."""
    known = []
    with written_whole(folder / "states.f32") as partial, partial.open("wb") as file:
        for state, about in cases:
            file.write(state.tobytes())
            known.append(about)
            shape = state.shape
    found = {
        "shape": [len(known), *shape],
        "cases": known,
        "sha256": _digest(folder / "states.f32", [len(known), *shape, known]),
    }
    with written_whole(folder / "cases.json") as partial:
        partial.write_text(json.dumps(found), encoding="utf-8")


def _delete_oldest(new: Path) -> None:
    """Delete the data sets that were used longest ago, so that ``KEPT`` are left with a new one."""
    others = [path for path in FOLDER.iterdir() if path != new]
    used = {path: path.stat().st_mtime for path in others}
    for path in others:
        with suppress(OSError):
            used[path] = (path / "cases.json").stat().st_mtime
    for path in sorted(others, key=used.__getitem__)[: max(0, len(others) + 1 - KEPT)]:
        shutil.rmtree(path, ignore_errors=True)  # on Windows a file that is in use stays


def _digest(path: Path, more: Any = None) -> str:
    """Return the SHA-256 of a file, and of more that JSON can hold."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(b"" if more is None else json.dumps(more).encode())
    return digest.hexdigest()
