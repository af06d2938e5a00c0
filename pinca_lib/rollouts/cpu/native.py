"""How loops are compiled: by Numba, once for each version of what they are made of.

Numba keeps the machine code of a function until the file of that function changes, whatever else
it calls. So the folder that it is kept in is named after all files that are compiled.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from numba import config, njit

SOURCES = ("lanes", "turns", "grids", "kernels", "marching")


def native(function: Callable) -> Callable:
    """Compile a function of one of the ``SOURCES``, to run without Python's lock."""
    own = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(folder(Path(__file__).parent, own))
        return njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)
    finally:
        config.CACHE_DIR = own


def folder(package: Path, own: str = "") -> Path:
    """Return where machine code is kept, in a folder of the user's ``own`` or the package's."""
    text = b"".join((package / f"{name}.py").read_bytes() for name in SOURCES)
    return Path(own or package / "__pycache__") / f"native-{hashlib.sha256(text).hexdigest()[:12]}"
