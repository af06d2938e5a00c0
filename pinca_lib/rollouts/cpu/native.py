"""How loops are compiled: by Numba, once for each version of what they are made of.

Numba keeps the machine code of a function until the file of that function changes, whatever else
it calls. So the folder that it is kept in is named after all files that the machine code is made
of, those whose constants it holds among them.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from numba import config, njit

SOURCES = tuple(
    f"{name}.py"
    for name in (
        "channels",
        "physics",
        "automaton/rule",
        *(f"rollouts/cpu/{own}" for own in ("lanes", "turns", "grids", "kernels", "marching")),
    )
)  # in ``pinca_lib``


def native(function: Callable) -> Callable:
    """Compile a function to run without Python's lock."""
    own = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(folder(Path(__file__).parents[2], own))
        return njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)
    finally:
        config.CACHE_DIR = own


def folder(package: Path, own: str = "") -> Path:
    """Return where machine code is kept, in a folder of the user's ``own`` or the package's."""
    text = b"".join((package / name).read_bytes() for name in SOURCES)
    return Path(own or package / "__pycache__") / f"native-{hashlib.sha256(text).hexdigest()[:12]}"
