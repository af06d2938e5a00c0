"""Errors whose message tells the user what to correct."""


class InputError(ValueError):
    """User input that cannot be used. The message says what is wrong, where, and what to do.

    A notebook shows the message without a traceback, because the fault is not in the code.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


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
