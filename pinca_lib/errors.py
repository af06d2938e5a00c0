"""Errors and warnings whose message tells the user what to correct."""

import errno
import importlib
import os
from pathlib import Path

SHARING_VIOLATION = (32, 33)  # error codes of Windows
LOCKED = ("unable to lock file", "already open for write", "GetLastError() = 33")  # by HDF5
MISSING_FILTER = (
    "required filter", "can't open directory", "undefined filter",  # HDF5 and NetCDF
    "missing codec", "unsupported compression",  # TIFF and zip
)  # fmt: skip


class InputError(ValueError):
    """User input that cannot be used. The message says what is wrong, where, and what to do.

    A notebook shows the message without a traceback, because the fault is not in the code.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class InputWarning(UserWarning):
    """User input that is used, but looks wrong. The message says what, where, and what to do."""


def needed(library: str, what: str, extra: str = "places") -> None:
    """Check that a library of one of the project's extras is there.

    Parameters
    ----------
    library : str
    what : str
        What needs it: "reading town.geojson".
    extra : str
        The extra that brings it along.

    Raises
    ------
    InputError
        If it is missing; the message says how to get it.
    """
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise InputError(f"{what} needs {library}: pip install 'pinca[{extra}]'") from error


def unreadable(path: Path, error: Exception, kind: str, advice: str = "") -> InputError:
    """Return the error for a file that is there but cannot be read, by the cause of it.

    Parameters
    ----------
    path : Path
    error : Exception
        What the file's reader raised.
    kind : str
        What the file should be, such as "HDF5 file".
    advice : str
        What to do if it is damaged; a general one by default.

    Returns
    -------
    InputError
        Open in another program, without permission, compressed by a filter that is not installed,
        or damaged.
    """
    text = str(error).replace(str(path), path.name)
    reason = first_line(Exception(text)) if text else first_line(error)
    if _is_open_elsewhere(path, error):
        return InputError(f"{path.name}: is open in another program; close it there ({reason})")
    if isinstance(error, PermissionError):
        return InputError(
            f"{path.name}: permission denied; give yourself the right to read it, or ask its owner "
            "for it"
        )
    if any(sign in text for sign in MISSING_FILTER):
        return InputError(
            f"{path.name}: compressed by a filter that is not installed here ({reason}); write it "
            "again with deflate (gzip)"
        )
    advice = advice or "it is truncated, damaged or in another format: copy or download it again"
    return InputError(f"{path.name}: not a readable {kind} ({reason}); {advice}")


def _is_open_elsewhere(path: Path, error: Exception) -> bool:
    """Return whether another program keeps a file from being read."""
    if isinstance(error, BlockingIOError) or any(sign in str(error) for sign in LOCKED):
        return True
    if os.name != "nt" or getattr(error, "errno", None) != errno.EACCES:
        return False
    try:  # Windows denies access for both reasons; only a rename, here to itself, says which
        os.replace(path, path)
    except OSError as denied:
        return getattr(denied, "winerror", None) in SHARING_VIOLATION
    return False


def shown(text: object, limit: int = 80) -> str:
    """Return text from a file made safe to print: one line, no control characters, limited length.

    Parameters
    ----------
    text : object
        Any object; its ``str`` is shown.
    limit : int
        Maximum length of the result, in characters.

    Returns
    -------
    str
        Unprintable characters become "?". A text that is cut off ends with "…".
    """
    try:
        text = str(text)
    except (ValueError, RecursionError):  # an int of thousands of digits, or endless nesting
        text = f"a {type(text).__name__} too long to show"
    line = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, safe to print, or its type if it has none."""
    return shown(next(iter(str(error).splitlines()), type(error).__name__))


def error_line(error: Exception) -> str:
    """Return one line that describes an error to the user.

    The line starts with the type of the error, except for ``InputError`` and
    ``FloatingPointError``: the library raises these itself, and their message is enough.
    """
    kind = "" if isinstance(error, InputError | FloatingPointError) else type(error).__name__
    return ": ".join(filter(None, [kind, shown(error, 300)]))
