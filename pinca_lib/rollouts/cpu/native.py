"""How Numba compiles the loops, and where it caches their machine code.

Numba keeps machine code in ``__pycache__``, in ``NUMBA_CACHE_DIR`` if that is set, or in the user's
own cache if the package cannot be written. Two things are added. Numba notices a change only in the
file of the compiled function, not in functions that this one calls nor in constants that it uses:
here the code is valid for the content of all these files. And Numba does not check what it reads,
so files that a power cut left empty would stop every later start: here machine code that is damaged
is compiled again.
"""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

PACKAGE = Path(__file__).parents[2]
CONSTANTS = ("channels.py", "physics.py", "automaton/rule.py")  # files that compiled code uses


def native(function: Callable) -> Callable:
    """Compile a function. It then runs without Python's global lock (GIL)."""
    compiled: Any = njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    try:
        compiled._cache = CheckedCache(function)  # as ``enable_caching`` sets Numba's own
    except RuntimeError:  # Numba finds no folder
        _warn_once(
            f"{PACKAGE}: cannot be written, so compiled code is not kept; the first rollout of "
            "every start takes longer; set NUMBA_CACHE_DIR to a folder that you can write to"
        )
    return compiled


def stamp(package: Path = PACKAGE) -> str:
    """Return a digest of all files with compiled code, or with constants that it uses."""
    files = [*sorted(package.glob("rollouts/cpu/*.py")), *(package / name for name in CONSTANTS)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class DigestedCode(CompileResultCacheImpl):
    """Machine code as it is kept: with its digest."""

    def reduce(self, data: Any) -> tuple[bytes, bytes]:
        """Return digest and code of a compiled function."""
        code = pickle.dumps(super().reduce(data))
        return hashlib.sha256(code).digest(), code

    def rebuild(self, target_context: Any, payload: tuple[bytes, bytes]) -> Any:
        """Return the compiled function, or raise a ``ValueError`` if its code is damaged."""
        digest, code = payload
        if hashlib.sha256(code).digest() != digest:
            raise ValueError("damaged")
        return super().rebuild(target_context, pickle.loads(code))


class CheckedCache(FunctionCache):
    """Numba's cache of one function, which replaces what is damaged or outdated."""

    _impl_class = DigestedCode

    def __init__(self, function: Callable):
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code of a signature, or None if there is none that is sound."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # pickle raises many types
            _warn_once(f"compiled code in {self._cache_path} was damaged: compiling again")
            with suppress(OSError):  # another process may be at it
                Path(self._cache_file._index_path).unlink()  # on a full disk ``flush`` would fail

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save machine code. A full disk only means that it is compiled again next time."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(f"{self._cache_path}: compiled code cannot be saved ({error.strerror})")


@cache
def _warn_once(text: str) -> None:
    """Warn once per process. Numba repeats the warnings that it meets while it compiles."""
    warnings.warn(text, stacklevel=2)
