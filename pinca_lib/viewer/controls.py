"""The viewer's controls: what they are called, where they stand, and the canvas among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import anywidget
import ipywidgets as widgets
import traitlets
from IPython import get_ipython

from pinca_lib.channels import CHANNELS, PREDICTED_CHANNELS, SPEED
from pinca_lib.viewer.panels import REFERENCES

TOOLS = ("look", "build", "clear")
DOUBLING = 0  # steps a frame: those of the film


class Canvas(anywidget.AnyWidget):
    """The pictures: draws frames that the kernel sends, reports brush, pointer and dial.

    Attributes
    ----------
    tool : int
        Index into ``TOOLS``.
    radius : float
        Of the brush, cells.
    still : str
        Mark of what the page hides while there is a kernel.
    """

    _esm = Path(__file__).with_name("canvas.js")
    _css = Path(__file__).with_name("canvas.css")
    tool = traitlets.Int(0).tag(sync=True)
    radius = traitlets.Float(2.0).tag(sync=True)
    still = traitlets.Unicode().tag(sync=True)


class Controls:
    """One of each control, and the box that holds them all.

    Parameters
    ----------
    cases, checkpoints : sequence of str
        What there is to choose from.
    """

    def __init__(self, cases: Sequence[str], checkpoints: Sequence[str]):
        fields = [(CHANNELS[k].title, k) for k in PREDICTED_CHANNELS]
        speeds = [("1, 2, 4, then 8", DOUBLING), *((str(n), n) for n in (1, 2, 4, 8, 16, 32))]

        self.case = _choice("case", cases)
        self.checkpoint = _choice("rules", checkpoints)
        self.channel = _choice("field", fields, value=SPEED)
        self.reference = _choice("beside", REFERENCES)

        self.play = _button("play", "play", "let the wind roll out", widgets.ToggleButton)
        self.step = _button("step", "step-forward", "advance by one frame")
        self.restart = _button("restart", "fast-backward", "set the field to zero; keep the city")
        self.speed = _choice("steps a frame", speeds)
        self.moment = _slider("look back", widgets.IntSlider, max=0, readout=False)
        self.arrows = _tick("arrows")
        self.automatic = _tick("automatic colours")

        self.tool = widgets.ToggleButtons(
            options=TOOLS,
            tooltips=["point to read values", "paint buildings", "erase buildings"],
            style={"button_width": "4.5em"},
        )
        self.radius = _slider("brush (m)", widgets.FloatSlider, value=4, max=30, step=1)
        self.height = _slider("height (m)", widgets.FloatSlider, value=15, min=3, max=100, step=1)
        self.undo = _button("undo", "undo", "take the last edit back")
        self.revert = _button("original city", "home", "take all edits back and restart")

        self.canvas = Canvas()
        self.link = widgets.jslink((self.tool, "index"), (self.canvas, "tool"))  # without delay
        self.film = _button("film", "film", "save the rollout so far as an h264 film")
        self.picture = _button("picture", "picture-o", "save all fields as a PNG")
        self.fields = _button("fields", "download", "save all fields as NetCDF")

        rows = [
            [self.case, self.checkpoint, self.channel, self.reference],
            [self.play, self.step, self.restart, self.speed, self.moment],
            [self.tool, self.radius, self.height, self.undo, self.revert],
            [self.arrows, self.automatic, widgets.Label("save:"), self.film, self.picture,
             self.fields],
        ]  # fmt: skip
        wrap = widgets.Layout(flex_flow="row wrap")
        boxes = [widgets.HBox(row, layout=wrap) for row in rows]
        self.box = widgets.VBox([*boxes[:3], self.canvas, boxes[3]])

    def bundle(self) -> dict:
        """Return the box for display, with words in its place where there is no kernel."""
        return self.box._repr_mimebundle_() | {"text/plain": "The viewer needs a running kernel."}

    def close(self) -> None:
        """Take every control off the page and out of the kernel's memory."""
        rows = self.box.children
        controls = [control for row in rows for control in getattr(row, "children", ())]
        for widget in (*controls, *rows, self.box, self.link):
            for part in ("style", "layout"):
                if isinstance(getattr(widget, part, None), widgets.Widget):
                    getattr(widget, part).close()
            widget.close()


def _choice(text: str, options: Sequence, **settings) -> widgets.Dropdown:
    layout = widgets.Layout(width="auto", margin="2px 10px 2px 2px")
    return widgets.Dropdown(options=options, description=text, layout=layout,
                            style={"description_width": "initial"}, **settings)  # fmt: skip


def _button(text: str, icon: str, tip: str, kind=widgets.Button) -> widgets.Widget:
    return kind(description=text, icon=icon, tooltip=tip, layout=widgets.Layout(width="auto"))


def _slider(text: str, kind: type, **settings) -> widgets.Widget:
    return kind(description=text, layout=widgets.Layout(width="18em"),
                style={"description_width": "initial"}, **{"min": 0} | settings)  # fmt: skip


def _tick(text: str) -> widgets.Checkbox:
    layout = widgets.Layout(width="auto", margin="2px 14px 2px 2px")
    return widgets.Checkbox(description=text, indent=False, layout=layout)


class Closable(Protocol):
    """What can be shown in a cell and closed."""

    def close(self) -> None:
        """End it."""


_shown: dict[str, tuple[str, list[Closable]]] = {}  # by cell: a run of it, what it has shown


def enter_cell(viewer: Closable) -> None:
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
