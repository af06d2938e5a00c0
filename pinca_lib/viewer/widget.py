"""The viewer: a widget that plays, edits and saves a rollout in a notebook.

The rollout runs in Python; the browser draws it.
"""

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython.display import HTML, display
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import TOPO
from pinca_lib.cities import wind_directions
from pinca_lib.cities.prediction import STEPS
from pinca_lib.errors import InputError, error_line, shown
from pinca_lib.plotting import steps_before
from pinca_lib.runs import Pace
from pinca_lib.viewer import saving
from pinca_lib.viewer.album import Album
from pinca_lib.viewer.catalogue import Catalogue
from pinca_lib.viewer.controls import DOUBLING, Controls, enter_cell
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.loop import Loop
from pinca_lib.viewer.panels import FRESH_ROLLOUT, View, compose
from pinca_lib.viewer.scenes import PlaceScene, ReferenceWind, Scene, wind_from
from pinca_lib.viewer.uploads import Inbox


class RolloutViewer:
    """Show the rollout of a city in a notebook, and edit the city while it runs.

    Parameters
    ----------
    data_dir : Path or str
        Folder of city files.
    checkpoints : mapping of str to sequence of CA
        Models to choose from, by name. The rules of a model are applied in turn within every step.
    case : str
        The case to start with: its name ``city/case`` or a part of it. If empty, the first case.
    image_size : int
        Number of cells on a side of a case; 0 keeps the grid of each.
    output_dir : Path or str
        Folder in which a folder for saved files is made.
    buildings : Path or str
        A file of buildings to start with in place of a case, as for ``load_city``.
    reading : mapping of str to object, optional
        How to read it: ``site``, ``height_field`` and other keyword arguments of ``load_city``.
    wind_from : float or str
        Where the wind of a place comes from at first, degrees clockwise from north.
    wind : ReferenceWind or (float, float, str)
        Speed in m/s, height in m, and roughness of the ground over which it blows.

    Raises
    ------
    InputError
        If the folder has no readable city files, no case matches, or the buildings or the wind
        cannot be used.
    """

    def __init__(
        self,
        data_dir: Path | str,
        checkpoints: Mapping[str, Sequence[CA]],
        case: str = "",
        image_size: int = 0,
        output_dir: Path | str = "outputs",
        *,
        buildings: Path | str = "",
        reading: Mapping[str, Any] | None = None,
        wind_from: float | str = 240.0,
        wind: tuple[float, float, str] = ReferenceWind(),
    ):
        (direction, *more) = wind_directions(wind_from)
        if more:
            raise InputError(
                f"wind_from={shown(wind_from)}: the viewer shows one wind; expected one direction"
            )
        self.checkpoints = checkpoints
        self.catalogue = Catalogue(data_dir, image_size, direction)
        self.loop = Loop(lambda: self.controls.play.value, self._pause, self._advance, self._send)
        self.album = Album(Path(output_dir), self.loop.tell)
        self.view = View(wind=ReferenceWind(*wind))
        names = self.catalogue.names
        self.controls = Controls(names, list(checkpoints), self.view.wind, reading or {})
        self.controls.canvas.still = uuid.uuid4().hex
        self._inbox, self._file = Inbox(), Path(buildings) if buildings else None
        self._is_setting = False  # True while the viewer, not the user, sets a control
        self._saved: Tensor | None = None  # heights of the buildings that were saved last
        if self._file:
            self._read_file()
        else:
            self._show_scene(self.catalogue.scene(self.catalogue.find(case)))
        self._pace = Pace()
        self._listen()

    def close(self) -> None:
        """Stop the viewer's thread and remove the widget from the page."""
        self._keep_edited()
        self.loop.close()
        self.controls.close()
        self._inbox.close()

    def _ipython_display_(self) -> None:
        enter_cell(self)
        display(self.controls.bundle(), raw=True)
        c = self.controls
        mark = c.canvas.still
        page = saving.still_page(
            self.live.rules, self.live.scene, self.view, c.checkpoint.value, mark
        )
        display(HTML(page))

    # Requests of the user

    def _listen(self) -> None:
        c = self.controls

        def on_change(control, act: Callable[[], None]) -> None:
            control.observe(lambda _: self._ask(act), names="value")

        def on_click(control, act: Callable[[], None], leave_history: bool = False) -> None:
            control.on_click(lambda _: self._ask(act, leave_history))

        c.scene.observe(self._scene_chosen, names="value")
        c.reading.on_change(self._reading_changed)
        for control in (c.wind_speed, c.wind_height, c.roughness):
            on_change(control, self._apply_wind)
        on_change(c.checkpoint, self._change_rules)
        for control in (c.channel, c.reference, c.arrows, c.automatic, c.radius):
            on_change(control, self._apply_view)
        c.play.observe(lambda change: self._ask(self._pace.clear, change.new), names="value")
        c.history.observe(self._slider_moved, names="value")
        on_click(c.step, self._advance, leave_history=True)
        on_click(c.restart, lambda: self.live.restart(), leave_history=True)
        on_click(c.revert, lambda: self.live.revert(), leave_history=True)
        on_click(c.undo, self._undo, leave_history=True)
        on_click(c.film, lambda: self._save(saving.keep_film))
        on_click(c.picture, lambda: self._save(saving.keep_picture))
        on_click(c.fields, lambda: self._save(saving.keep_fields))
        on_click(c.buildings, self._save_buildings)
        c.canvas.on_msg(self._receive)

    def _receive(self, _, content: dict, buffers: Sequence[Any]) -> None:
        """Handle a message from the canvas."""
        kind = content.get("kind")
        if kind == "ready":
            self.loop.start()
            self._ask(self._apply_view)
        elif kind == "drawn":
            self.loop.frame_is_drawn(content["id"])
        elif kind == "hover":
            self.loop.ask(lambda: self._point(content["cell"]))
        elif kind == "brush":
            stroke = content["tool"], content["points"], content["stroke"]
            self._ask(lambda: self._paint(*stroke), leave_history=True)
        elif kind == "wind":
            turn = content["degrees"], content["stroke"]
            self._ask(lambda: self.live.turn_wind(*turn), leave_history=True)
        elif kind == "file":
            self._take_file(content, bytes(buffers[0]) if buffers else b"")
        elif kind == "unreadable":
            self.loop.tell(f"{shown(content['name'])}: the browser cannot read it; is it a folder?")

    def _take_file(self, content: dict, part: bytes) -> None:
        """Handle a part of a file that was dropped or chosen."""
        try:
            path = self._inbox.take(content, part)
        except Exception as error:
            self.loop.tell(error_line(error))
            self.controls.canvas.send({"kind": "taken", "refused": True})
            return
        self.controls.canvas.send({"kind": "taken", "refused": False})
        if path:
            self.loop.tell(f"reading {shown(path.name)}")
            self.loop.ask(partial(self._open_file, path))
        else:
            done = (content["start"] + len(part)) / max(content["size"], 1)
            self.loop.tell(f"{shown(content['name'])}: {done:.0%} received")

    def _ask(self, act: Callable[[], None], leave_history: bool = False) -> None:
        """Have something done before the next frame, and show the current state if wanted."""
        if not self.album.writing:
            self.loop.message = ""  # it was about an earlier request
        if leave_history:
            self.loop.ask(lambda: setattr(self.view, "history_index", None))
        self.loop.ask(act)

    def _show_scene(self, scene: Scene) -> None:
        """Start a rollout over another scene."""
        c, view = self.controls, self.view
        if hasattr(self, "live"):
            self._keep_edited()
        if isinstance(scene, PlaceScene):  # refuses a wind that it cannot be under
            scene.friction(view.wind, self.catalogue.direction)
        rules = self.checkpoints[c.checkpoint.value]
        self.live = LiveRollout(rules, scene, rules[0].w1.weight.device)
        view.history_index = view.pointer = None
        view.widest.clear()
        self._until = STEPS if isinstance(scene, PlaceScene) else 0
        with self._setting():
            c.scene.options = self.catalogue.names
            c.scene.value = scene.name
            c.fit(isinstance(scene, PlaceScene), scene.simulation is not None)
        self._apply_view()

    @contextmanager
    def _setting(self) -> Iterator[None]:
        """Set controls without taking it for the user's doing."""
        self._is_setting = True
        try:
            yield
        finally:
            self._is_setting = False

    def _scene_chosen(self, change) -> None:
        if not self._is_setting:
            self._ask(partial(self._open, change.new))

    def _open(self, name: str) -> None:
        """Show the scene of a name; if it cannot be read, the last one stays."""
        try:
            self._show_scene(self.catalogue.scene(name))
        except Exception:
            with self._setting():
                self.controls.scene.value = self.live.scene.name
            raise

    def _open_file(self, path: Path) -> None:
        """Show the place in a file that was dropped or chosen."""
        if self._file and self._file.name != path.name:  # what was said about another file
            with self._setting():
                self.controls.reading.clear()
        self._file = path
        self._read_file()

    def _reading_changed(self) -> None:
        if self._file and not self._is_setting:
            self._ask(self._read_file)

    def _read_file(self) -> None:
        """Read the last file anew, and show its place."""
        assert self._file is not None
        try:
            self._show_scene(self.catalogue.open(self._file, self.controls.reading.values()))
        except Exception:
            self.controls.reading.unfold()
            raise
        self.controls.play.value = True
        self.loop.message = ""  # that it is being read

    def _apply_wind(self) -> None:
        """Take over the wind that is named for places."""
        wind = self.controls.reference_wind
        if isinstance(self.live.scene, PlaceScene):
            self.live.scene.friction(wind, wind_from(self.live.state))  # may refuse it
        self.view.wind = wind

    def _change_rules(self) -> None:
        self.live.rules = self.checkpoints[self.controls.checkpoint.value]
        self.live.restart()

    def _apply_view(self) -> None:
        """Take over the settings of the controls that say what to show."""
        c, view = self.controls, self.view
        view.channel, view.reference = c.channel.value, c.reference.value
        view.automatic, view.arrows = c.automatic.value, c.arrows.value
        self.live.compare_with_fresh_rollout(view.reference == FRESH_ROLLOUT)
        scene = self.live.scene
        cell_size = math.sqrt(math.prod(scene.extent) / math.prod(scene.start.shape[-2:]))
        c.canvas.radius = c.radius.value / cell_size

    def _slider_moved(self, change) -> None:
        if not self._is_setting:
            self.controls.play.value = False
            self._ask(partial(self._show_history, change.new))

    def _show_history(self, index: int) -> None:
        self.view.history_index = None if index >= len(self.live.history) else index

    def _undo(self) -> None:
        if not self.live.undo():
            self.loop.message = "nothing to undo"

    def _paint(self, tool: str, points: Sequence, stroke: str) -> None:
        cells = self.live.scene.brushed(points, self.controls.canvas.radius)
        if tool == "build":
            self.live.build(cells, self.controls.height.value, stroke)
        elif tool == "clear":
            self.live.clear(cells, stroke)

    def _point(self, cell: Sequence[int] | None) -> None:
        height, width = self.live.scene.shown_shape
        if cell and 0 <= cell[0] < height and 0 <= cell[1] < width:
            self.view.pointer = cell[0], cell[1]
        else:
            self.view.pointer = None

    def _save(self, keep: Callable[..., None]) -> None:
        """Save something, by one of the functions of ``saving``."""
        keep(self.album, self.live, self.view, self.controls.checkpoint.value)

    def _save_buildings(self) -> None:
        self._save(saving.keep_buildings)
        self._saved = self.live.state[TOPO].clone()

    def _keep_edited(self) -> None:
        """Save the buildings of a place that were edited since they were saved."""
        is_saved = self._saved is not None and torch.equal(self._saved, self.live.state[TOPO])
        if self.live.has_new_buildings and not is_saved:
            self._save_buildings()

    # What the loop does

    def _pause(self) -> None:
        self.controls.play.value = False

    def _advance(self) -> None:
        steps = self.controls.speed.value
        steps = steps_before(self.live.frames) if steps == DOUBLING else steps
        if self._until:
            steps = min(steps, self._until - self.live.steps)
        self.live.advance(steps)
        self._pace.tick(steps)
        if self.live.steps == self._until:  # the map of a place is complete
            self._until = 0
            self._pause()

    def _send(self, frame: int) -> None:
        """Send a frame to the canvas, and move the history slider to it."""
        content, buffers = compose(self.live, self.view)
        texts = {"counters": self._counters(content["steps"]), "message": self.loop.message}
        content["remarks"] += self.catalogue.skipped
        content |= {"kind": "frame", "id": frame, **texts}
        self.controls.canvas.send(content, [np.ascontiguousarray(b).data for b in buffers])
        self._move_slider()

    def _counters(self, steps: int) -> str:
        if self.view.history_index is not None:
            return f"step {steps} of {self.live.steps}"
        pace = self._pace if self.controls.play.value else ""
        return f"step {steps} · frame {self.live.frames}{pace}"

    def _move_slider(self) -> None:
        """Move the history slider to the state that is shown."""
        # While the rollout plays, every tenth frame is enough.
        if self.loop.requests or (self.controls.play.value and self.loop.frame % 10):
            return
        count, index = len(self.live.history), self.view.history_index
        with self._setting():
            self.controls.history.max = count
            self.controls.history.value = count if index is None else index
