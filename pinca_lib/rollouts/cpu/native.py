"""How Numba compiles the loops, and where it caches their machine code.

Numba's cache only notices a change in the file of the compiled function itself. It misses changes
in functions that this one calls and in constants that it uses. So the name of the cache folder
contains a hash of all these files.

Numba does not flush its files to the disk, and does not check what it reads. A power cut can leave
empty files, which would stop every later start. Here each file is flushed, and ends with the
SHA-256 of its content. A file that does not match is compiled again.
"""

import hashlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.misc.appdirs import user_cache_dir

SOURCES = (  # relative to ``pinca_lib``
    "channels.py",
    "physics.py",
    "automaton/rule.py",
    "rollouts/cpu/native.py",
    "rollouts/cpu/lanes.py",
    "rollouts/cpu/work_stealing.py",
    "rollouts/cpu/grids.py",
    "rollouts/cpu/kernels.py",
    "rollouts/cpu/marching.py",
)


def native(function: Callable) -> Callable:
    """Compile a function. It then runs without Python's global lock (GIL)."""
    compiled: Any = njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    settings = vars(config)  # Numba fills this module when it is imported
    chosen = settings["CACHE_DIR"]
    if place := _writable_folder(Path(__file__).parents[2], chosen):
        try:
            settings["CACHE_DIR"] = str(place)
            compiled._cache = CheckedCache(function)  # as ``enable_caching`` sets Numba's own
        finally:
            settings["CACHE_DIR"] = chosen
    return compiled


def folder(package: Path, chosen: str = "") -> Path:
    """Return the cache folder: in ``NUMBA_CACHE_DIR`` if the user chose one, or in the package.

    Parameters
    ----------
    package : Path
        Folder of ``pinca_lib``.
    chosen : str
        Value of ``NUMBA_CACHE_DIR``; empty if it is not set.
    """
    text = b"".join((package / name).read_bytes() for name in SOURCES)
    version = hashlib.sha256(text).hexdigest()[:12]
    return Path(chosen or package / "__pycache__") / f"native-{version}"


@cache
def _writable_folder(package: Path, chosen: str) -> Path | None:
    """Return the cache folder, or one in the user's own cache, or None if neither can be written.

    A temporary folder that all users share would not do: the files hold code, which is executed.
    """
    wanted = folder(package, chosen)
    for place in (wanted, Path(user_cache_dir("pinca")) / wanted.name):
        try:
            place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
        except OSError:
            continue
        return place
    warnings.warn(
        f"{wanted.parent}: cannot be written, so compiled code is not kept; the first rollout of "
        "every start takes longer; set NUMBA_CACHE_DIR to a folder that you can write to",
        stacklevel=3,
    )
    return None


class CheckedCache(FunctionCache):
    """Numba's cache of one function, in files that are checked."""

    def __init__(self, function: Callable):
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = CheckedFiles(
            locator.get_cache_path(), self._impl.filename_base, locator.get_source_stamp()
        )


class CheckedFiles(IndexDataCacheFile):
    """Files that end with a digest. Their content is a pickle, which ignores what follows it."""

    def save(self, key: Any, data: Any) -> None:
        """Save compiled code. A full disk only means that it is compiled again next time."""
        try:
            super().save(key, data)
        except OSError as error:
            _warn_once(f"{self._cache_path}: compiled code cannot be saved ({error.strerror})")

    def _load_index(self) -> dict:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        return super()._load_data(name) if _is_whole(self._data_path(name)) else None

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
            file.flush()
            os.fsync(file.fileno())


def _is_whole(path: str) -> bool:
    """Return whether a file ends with the digest of its content; warn if it does not."""
    try:
        saved = Path(path).read_bytes()
    except OSError:
        return False
    size = hashlib.sha256().digest_size
    if saved[-size:] == hashlib.sha256(saved[:-size]).digest():
        return True
    _warn_once(f"compiled code in {Path(path).parents[1]} was damaged: compiling again")
    return False


@cache
def _warn_once(text: str) -> None:
    """Warn once per process. Numba repeats the warnings that it meets while it compiles."""
    warnings.warn(text, stacklevel=2)
