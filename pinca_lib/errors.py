"""Errors that speak to the person who can mend their cause."""


class InputError(ValueError):
    """Something that the user gave cannot be used; the message says what, where and what to do.

    A notebook shows the message alone, without a traceback: the fault is not in the code.
    """

    def _render_traceback_(self) -> list[str]:
        """Called by IPython in place of printing the stack."""
        return [f"{type(self).__name__}: {self}"]


def shown(text: object, limit: int = 80) -> str:
    """Make text from a file safe to print: one line, no control characters, bounded length.

    Parameters
    ----------
    text : object
        Anything; its ``str`` is shown.
    limit : int
        Longest result, in characters.
    """
    try:
        text = str(text)
    except (ValueError, RecursionError):  # numbers of thousands of digits, endless nesting
        text = f"a {type(text).__name__} too long to show"
    line = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, fit to print, or its type if it has none."""
    return shown(next(iter(str(error).splitlines()), type(error).__name__))


def error_line(error: Exception) -> str:
    """Return one line for the user about any error: of our own ones, their message alone."""
    kind = "" if isinstance(error, InputError | FloatingPointError) else type(error).__name__
    return ": ".join(filter(None, [kind, shown(error, 300)]))
