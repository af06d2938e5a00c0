"""The log of a run: a row of numbers per iteration, in a CSV file."""

import errno
import hashlib
import os
import warnings
from pathlib import Path

import pandas as pd

from pinca_lib.errors import InputError, first_line
from pinca_lib.writing import flush_to_disk, written_whole


class Log:
    """The rows of a log, which are appended to a file.

    Parameters
    ----------
    path : Path
        A CSV file with a column ``iteration``. It need not exist.

    Attributes
    ----------
    rows : list of dict
        All rows.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._unwritten: list[dict[str, float]] = []
        self._hash = hashlib.sha256()

    @classmethod
    def resumed(cls, path: Path, before: int) -> "Log":
        """Return the log in a file, without rows of later iterations, which are removed from it.

        Parameters
        ----------
        path : Path
            If no row is left, the file is deleted.
        before : int
            Rows of this and later iterations are removed.

        Raises
        ------
        InputError
            If the file is not as a run writes it, or cannot be written.
        """
        log = cls(path)
        if not path.exists() or not path.stat().st_size:  # a full disk leaves an empty file
            return log
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            if len(table) and (table.iloc[-1] == "").any():  # half a row, after a power cut
                table = table.iloc[:-1]
            table = table[table["iteration"].astype(float) < before]
            rows = table.map(float).to_dict("records")
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: not as this run has written it ({first_line(error)}); a spreadsheet may "
                "have saved it; restore it, or move it away to go on without its rows"
            ) from error
        try:
            _rewrite(path, table)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); close it in other programs"
            ) from error
        for row in rows:
            log._add(row)
        return log

    def append(self, row: dict[str, float]) -> None:
        """Append a row, and write it to the file, if that is possible now."""
        self._add(row)
        self._unwritten.append(row)
        try:
            self.write()
        except OSError as error:
            warnings.warn(
                f"{self.path}: cannot be written now ({error.strerror}); the training goes on, and "
                "its rows are written later: close the file in other programs, or make space",
                stacklevel=3,
            )

    def write(self) -> None:
        """Write the rows that are not in the file yet. If that fails, the file is as before."""
        if not self._unwritten:
            return
        with self.path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            text = pd.DataFrame(self._unwritten).to_csv(header=not size, index=False, na_rep="nan")
            content = text.encode()
            if file.write(content) < len(content):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._unwritten = []

    def flush(self) -> None:
        """Write what is not written yet, and wait until it is on the disk."""
        self.write()
        if self.path.exists():
            flush_to_disk(self.path)

    def digest(self) -> str:
        """Return the SHA-256 of all rows; it does not depend on how numbers are written."""
        return self._hash.hexdigest()

    def _add(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        self._hash.update(repr({name: float(value) for name, value in row.items()}).encode())


def _rewrite(path: Path, table: pd.DataFrame) -> None:
    """Replace the content of a log, if it differs."""
    if table.empty:
        path.unlink()
        return
    text = table.to_csv(index=False).encode()
    if text != path.read_bytes():
        with written_whole(path) as partial:
            partial.write_bytes(text)
