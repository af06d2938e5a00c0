"""Which viewers a notebook cell has shown, so that they end when it is run again or deleted."""

from typing import Protocol

from IPython import get_ipython


class Closable(Protocol):
    """What can be shown in a cell and closed."""

    def close(self) -> None:
        """End it."""


_shown: dict[str, tuple[str, list[Closable]]] = {}  # by cell: a run of it, what it has shown


def enter(viewer: Closable) -> None:
    """Note that the running cell shows a viewer; close those of earlier runs and deleted cells.

    Where cells are not known (a terminal, an older JupyterLab) nothing is noted or closed.
    """
    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    about, run = parent.get("metadata", {}), parent.get("header", {}).get("msg_id")
    cell = about.get("cellId")
    former = _shown.get(cell, (run, []))[0]
    gone = [*about.get("deletedCells", ()), *([cell] if former != run else [])]
    for other in [other for key in gone for other in _shown.pop(key, ("", []))[1]]:
        other.close()
    if cell:
        _shown.setdefault(cell, (run, []))[1].append(viewer)
