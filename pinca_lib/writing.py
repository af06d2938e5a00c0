"""Files that appear whole or not at all, even if writing fails or the power goes out."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 5.0  # s, how long to wait while another program holds a file open


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces ``path`` when the block ends.

    The content is flushed to the disk before the file is renamed, and the renaming before the
    block is left. So a power cut leaves either the old file or the new one. If writing fails, the
    old file stays unchanged and the temporary file is removed. Windows cannot replace a file while
    another program (a spreadsheet, a virus scanner) holds it open. In that case the replacement is
    tried again for ``PATIENCE`` seconds.

    Parameters
    ----------
    path : Path or str
        File to write.

    Yields
    ------
    Path
        The temporary file, next to ``path``. Its name starts with ``.part_``, so that nothing
        takes it for a finished file.

    Raises
    ------
    OSError
        If the file cannot be written, or another program keeps it open.
    """
    path = Path(path)
    partial = path.with_name(f".part_{path.name}")
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
    """Wait until the content of a file is on the disk."""
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
                warnings.warn(
                    f"{path} is open in another program: please close it there", stacklevel=4
                )
                warned = True
            time.sleep(0.1)


def _flush_folder(folder: Path) -> None:
    """Flush a rename to the disk. Windows and some network drives offer no way to do this."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
