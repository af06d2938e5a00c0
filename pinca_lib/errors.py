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
    line = "".join(c if c.isprintable() else "?" for c in str(text)[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"
