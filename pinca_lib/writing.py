"""Files that appear whole or not at all, whatever happens while they are written."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 5.0  # s, for another program to let go of a file


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces ``path`` once it is complete.

    The file is on the disk before it gets its name, and the name before the call ends, so that a
    power cut leaves the old file or the new one. If writing fails, the old file stays as it was and
    the temporary one is removed. On Windows a file cannot be replaced while another program (a
    spreadsheet, a virus scanner) holds it open: that is tried again for ``PATIENCE`` seconds.

    Parameters
    ----------
    path : Path or str
        File to write.

    Yields
    ------
    Path
        Beside ``path``, with ``.part`` added to its name.

    Raises
    ------
    OSError
        If the file cannot be written, or another program keeps holding it.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        flush_to_disk(partial)
        _replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    _flush_folder(path.parent)


def flush_to_disk(path: Path) -> None:
    """Return when the content of a file is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _replace(partial: Path, path: Path) -> None:
    last_try = time.monotonic() + PATIENCE
    warned = False
    while True:
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            if time.monotonic() > last_try:
                raise
            if not warned:
                warnings.warn(f"{path} is open in another program; waiting for it", stacklevel=4)
                warned = True
            time.sleep(0.1)


def _flush_folder(folder: Path) -> None:
    """Put a rename on the disk; Windows has no way to do so, nor have some network drives."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
