"""How Numba compiles the loops, and where it caches their machine code.

Numba's cache only notices a change in the file of the compiled function itself. It misses changes
in functions that this one calls and in constants that it uses. So the name of the cache folder
contains a hash of all these files.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from numba import config, njit

SOURCES = (  # relative to ``pinca_lib``
    "channels.py",
    "physics.py",
    "automaton/rule.py",
    "rollouts/cpu/lanes.py",
    "rollouts/cpu/work_stealing.py",
    "rollouts/cpu/grids.py",
    "rollouts/cpu/kernels.py",
    "rollouts/cpu/marching.py",
)


def native(function: Callable) -> Callable:
    """Compile a function. It then runs without Python's global lock (GIL)."""
    settings = vars(config)  # Numba fills this module when it is imported
    chosen = settings["CACHE_DIR"]
    try:
        settings["CACHE_DIR"] = str(folder(Path(__file__).parents[2], chosen))
        return njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)
    finally:
        settings["CACHE_DIR"] = chosen


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
