"""The controls of the viewer: their labels and layout, and the canvas widget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import anywidget
import ipywidgets as widgets
import traitlets
from IPython import get_ipython

from pinca_lib.channels import CHANNELS, SPEED
from pinca_lib.cities import ROUGHNESSES
from pinca_lib.viewer.panels import FRESH_ROLLOUT, NOTHING, REFERENCES
from pinca_lib.viewer.reading import ReadingFields
from pinca_lib.viewer.readout import LABELS
from pinca_lib.viewer.scenes import ReferenceWind

TOOLS = ("inspect", "build", "clear")  # canvas.js has the same list
PARTS = ("maps", "charts", "dial", "files", "canvas")  # scripts that make one module, in order
DOUBLING = 0  # stands for the film's number of steps per frame, which doubles over time


class Canvas(anywidget.AnyWidget):
    """Draw the frames that the kernel sends, and report brush, pointer and wind dial.

    Attributes
    ----------
    tool : int
        Index into ``TOOLS``.
    radius : float
        Radius of the brush in cells.
    still : str
        Identifies the static page that is shown without a kernel. The canvas hides it.
    """

    _esm = "\n".join(Path(__file__).with_name(f"{part}.js").read_text("utf-8") for part in PARTS)
    _css = Path(__file__).with_name("canvas.css")
    tool = traitlets.Int(0).tag(sync=True)
    radius = traitlets.Float(2.0).tag(sync=True)
    still = traitlets.Unicode().tag(sync=True)


class Controls:
    """All controls, and the box that contains them.

    Parameters
    ----------
    scenes, checkpoints : sequence of str
        Choices of the two menus.
    wind : ReferenceWind
        Of a place, at first.
    reading : mapping
        How a file of buildings is to be read, as for ``ReadingFields``.
    """

    def __init__(
        self,
        scenes: Sequence[str],
        checkpoints: Sequence[str],
        wind: ReferenceWind,
        reading: Mapping[str, Any],
    ):
        fields = [(replace(CHANNELS[channel], label=text).title, channel)
                  for channel, text in LABELS.items()]  # fmt: skip
        speeds = [("1, then 2, 4 and 8", DOUBLING), *((str(n), n) for n in (1, 2, 4, 8, 16, 32))]

        self.scene = _choice("city", scenes)
        self.checkpoint = _choice("model", checkpoints)
        self.channel = _choice("field", fields, value=SPEED)
        self.reference = _choice("compare with", REFERENCES)

        grounds = list(dict.fromkeys([*ROUGHNESSES, wind.roughness]))
        self.wind_speed = _number("wind speed (m/s)", wind.speed, 0.1, 80)
        self.wind_height = _number("at height (m)", wind.height, 1, 400)
        self.roughness = _choice("over", grounds, value=wind.roughness)
        self.reading = ReadingFields(reading)

        self.play = _button("play", "play", "run the rollout", widgets.ToggleButton)
        self.step = _button("step", "step-forward", "advance by one frame")
        self.restart = _button("restart", "fast-backward", "set the field to zero; keep the city")
        self.speed = _choice("steps per frame", speeds)
        self.history = _slider("history", widgets.IntSlider, max=0, readout=False)
        self.arrows = _tick("wind arrows")
        self.automatic = _tick("automatic colour range")

        self.tool = widgets.ToggleButtons(
            options=TOOLS,
            tooltips=["point at a cell to read its values", "draw buildings", "erase buildings"],
            style={"button_width": "5.5em"},
        )
        self.radius = _slider("brush radius (m)", widgets.FloatSlider, value=4, max=30, step=1)
        self.height = _slider("height (m)", widgets.FloatSlider, value=15, min=3, max=100, step=1)
        self.undo = _button("undo", "undo", "undo the last edit")
        self.revert = _button("reset city", "home", "undo all edits and restart the rollout")

        self.canvas = Canvas()
        self.link = widgets.jslink(
            (self.tool, "index"), (self.canvas, "tool")
        )  # in the browser, so without delay
        self.film = _button("film", "film", "save the rollout so far as an H.264 video")
        self.picture = _button("picture", "picture-o", "save all fields as a PNG image")
        self.fields = _button("fields", "download", "save all fields as a NetCDF file")
        self.buildings = _button("buildings", "building", "save the buildings as GeoJSON")

        rows = [
            [self.scene, self.checkpoint, self.channel, self.reference],
            [self.wind_speed, self.wind_height, self.roughness],
            [self.play, self.step, self.restart, self.speed, self.history],
            [self.tool, self.radius, self.height, self.undo, self.revert],
            [self.arrows, self.automatic, widgets.Label("save:"), self.film, self.picture,
             self.fields, self.buildings],
        ]  # fmt: skip
        boxes = [widgets.HBox(row, layout=widgets.Layout(flex_flow="row wrap")) for row in rows]
        self.wind = boxes[1]
        self.box = widgets.VBox([*boxes[:4], self.reading.box, self.canvas, boxes[4]])

    @property
    def reference_wind(self) -> ReferenceWind:
        """The wind that is chosen for places."""
        return ReferenceWind(self.wind_speed.value, self.wind_height.value, self.roughness.value)

    def fit(self, is_place: bool, has_simulation: bool) -> None:
        """Show what goes with a place or with a case, and offer what it can be compared with."""
        for box in (self.wind, self.buildings):
            box.layout.display = None if is_place else "none"
        offered = REFERENCES if has_simulation else (FRESH_ROLLOUT, NOTHING)
        if self.reference.options != offered:
            chosen = self.reference.value if self.reference.value in offered else offered[-1]
            self.reference.options = offered
            self.reference.value = REFERENCES[0] if has_simulation else chosen

    def bundle(self) -> dict:
        """Return the MIME bundle of the box, with a plain text for pages without a kernel."""
        return self.box._repr_mimebundle_() | {"text/plain": "The viewer needs a running kernel."}

    def close(self) -> None:
        """Remove every control from the page and from the kernel."""
        for widget in (*_inside(self.box), self.link):
            for part in ("style", "layout"):
                if isinstance(getattr(widget, part, None), widgets.Widget):
                    getattr(widget, part).close()
            widget.close()


def _inside(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """Return a widget after all that it contains."""
    for child in getattr(widget, "children", ()):
        yield from _inside(child)
    yield widget


def _number(text: str, value: float, least: float, most: float) -> widgets.BoundedFloatText:
    return widgets.BoundedFloatText(
        value, description=text, min=least, max=most, continuous_update=False,
        layout=widgets.Layout(width="15em"), style={"description_width": "initial"},
    )  # fmt: skip


def _choice(text: str, options: Sequence, **settings) -> widgets.Dropdown:
    layout = widgets.Layout(width="auto", margin="2px 10px 2px 2px")
    return widgets.Dropdown(options=options, description=text, layout=layout,
                            style={"description_width": "initial"}, **settings)  # fmt: skip


def _button(text: str, icon: str, tip: str, kind=widgets.Button) -> widgets.Widget:
    return kind(description=text, icon=icon, tooltip=tip, layout=widgets.Layout(width="auto"))


def _slider(text: str, kind: type, **settings) -> widgets.Widget:
    return kind(description=text, layout=widgets.Layout(width="22em"),
                style={"description_width": "initial"}, **{"min": 0} | settings)  # fmt: skip


def _tick(text: str) -> widgets.Checkbox:
    layout = widgets.Layout(width="auto", margin="2px 14px 2px 2px")
    return widgets.Checkbox(description=text, indent=False, layout=layout)


class Closable(Protocol):
    """Something that a notebook cell shows and that can be closed."""

    def close(self) -> None:
        """Stop it and remove it from the page."""


# For each cell ID: the message ID of its last execution, and the viewers that it showed.
_shown: dict[str, tuple[str, list[Closable]]] = {}


def enter_cell(viewer: Closable) -> None:
    """Register a viewer of the running cell, and close viewers that are no longer needed.

    These are the viewers of earlier executions of the same cell and of deleted cells. Without cell
    IDs (in a terminal, or an older JupyterLab) nothing is registered or closed.

    Parameters
    ----------
    viewer : Closable
        The viewer that the running cell shows.
    """
    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    metadata, execution = parent.get("metadata", {}), parent.get("header", {}).get("msg_id")
    cell = metadata.get("cellId")
    last_execution = _shown.get(cell, (execution, []))[0]
    outdated = [cell] if last_execution != execution else []
    for key in [*metadata.get("deletedCells", ()), *outdated]:
        for other in _shown.pop(key, ("", []))[1]:
            other.close()
    if cell:
        _shown.setdefault(cell, (execution, []))[1].append(viewer)
