"""The viewer: a widget that plays, edits and saves a rollout in a notebook.

The rollout runs in Python; the browser draws it.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML, display

from pinca_lib.automaton import CA
from pinca_lib.cities import wind_directions
from pinca_lib.errors import InputError, error_line, shown
from pinca_lib.runs import Pace
from pinca_lib.viewer import saving
from pinca_lib.viewer.album import Album
from pinca_lib.viewer.catalogue import Catalogue
from pinca_lib.viewer.controls import Controls, enter_cell
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.loop import Loop
from pinca_lib.viewer.panels import compose
from pinca_lib.viewer.scenes import ReferenceWind
from pinca_lib.viewer.stage import Stage
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
        catalogue = Catalogue(data_dir, image_size, direction)
        self.controls = Controls(
            catalogue.names, list(checkpoints), ReferenceWind(*wind), reading or {}
        )
        self.controls.canvas.still = uuid.uuid4().hex
        self.loop = Loop(lambda: self.controls.play.value, self._pause, self._advance, self._send)
        self.album = Album(Path(output_dir), self.loop.tell)
        scene = Path(buildings) if buildings else catalogue.find(case)
        self.stage = Stage(scene, catalogue, checkpoints, self.controls, self.album)
        self._inbox, self._pace = Inbox(), Pace()
        self._listen()

    @property
    def live(self) -> LiveRollout:
        """The rollout that is shown."""
        return self.stage.live

    def close(self) -> None:
        """Stop the viewer's thread and remove the widget from the page."""
        self.stage.keep_edited()
        self.loop.close()
        self.controls.close()
        self._inbox.close()

    def _ipython_display_(self) -> None:
        enter_cell(self)
        display(self.controls.bundle(), raw=True)
        model, mark = self.controls.checkpoint.value, self.controls.canvas.still
        page = saving.still_page(self.live.rules, self.live.scene, self.stage.view, model, mark)
        display(HTML(page))

    # Requests of the user

    def _listen(self) -> None:
        c, stage = self.controls, self.stage

        def on_change(control, act: Callable[[], None]) -> None:
            control.observe(lambda _: self._ask(act), names="value")

        def on_click(control, act: Callable[[], None], leave_history: bool = False) -> None:
            control.on_click(lambda _: self._ask(act, leave_history))

        c.scene.observe(self._scene_chosen, names="value")
        c.reading.on_change(self._reading_changed)
        for control in (c.wind_speed, c.wind_height, c.roughness):
            on_change(control, stage.apply_wind)
        on_change(c.checkpoint, stage.change_rules)
        for control in (c.channel, c.reference, c.arrows, c.automatic, c.radius):
            control.observe(self._view_changed, names="value")
        c.play.observe(lambda change: self._ask(self._pace.clear, change.new), names="value")
        c.history.observe(self._slider_moved, names="value")
        on_click(c.step, self._advance, leave_history=True)
        on_click(c.restart, lambda: self.live.restart(), leave_history=True)
        on_click(c.revert, lambda: self.live.revert(), leave_history=True)
        on_click(c.undo, stage.undo, leave_history=True)
        on_click(c.film, lambda: stage.save(saving.keep_film))
        on_click(c.picture, lambda: stage.save(saving.keep_picture))
        on_click(c.fields, lambda: stage.save(saving.keep_fields))
        on_click(c.buildings, stage.save_buildings)
        c.canvas.on_msg(self._receive)

    def _receive(self, _, content: dict, buffers: Sequence[Any]) -> None:
        """Handle a message from the canvas."""
        kind = content.get("kind")
        if kind == "ready":
            self.loop.start()
            self._ask(self.stage.apply_view)
        elif kind == "drawn":
            self.loop.frame_is_drawn(content["id"])
        elif kind == "hover":
            self.loop.ask(lambda: self.stage.point(content["cell"]))
        elif kind == "brush":
            stroke = content["tool"], content["points"], content["stroke"]
            self._ask(lambda: self.stage.paint(*stroke), leave_history=True)
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
            self.loop.error = ""
            self.loop.tell(f"reading {shown(path.name)}")
            self.loop.ask(lambda: self._read(partial(self.stage.open_file, path)))
        else:
            done = (content["start"] + len(part)) / max(content["size"], 1)
            self.loop.tell(f"{shown(content['name'])}: {done:.0%} received")

    def _ask(self, act: Callable[[], None], leave_history: bool = False) -> None:
        """Have something done before the next frame, and show the current state if wanted."""
        self.loop.error = ""  # of an earlier request
        if not self.album.writing:
            self.loop.message = ""
        if leave_history:
            self.loop.ask(lambda: setattr(self.stage.view, "history_index", None))
        self.loop.ask(act)

    def _read(self, act: Callable[[], None]) -> None:
        """Have a file read, and take back the message that it is being read."""
        try:
            act()
        finally:
            self.loop.message = ""

    def _scene_chosen(self, change) -> None:
        if not self.stage.is_setting:
            self._ask(partial(self.stage.open, change.new))

    def _view_changed(self, _) -> None:
        if not self.stage.is_setting:  # a scene that is shown applies the view by itself
            self._ask(self.stage.apply_view)

    def _reading_changed(self) -> None:
        if self.stage.file and not self.stage.is_setting:
            self._ask(self.stage.read_file)

    def _slider_moved(self, change) -> None:
        if not self.stage.is_setting:
            self.controls.play.value = False
            self._ask(partial(self.stage.show_history, change.new))

    # What the loop does

    def _pause(self) -> None:
        self.controls.play.value = False

    def _advance(self) -> None:
        self._pace.tick(self.stage.advance())

    def _send(self, frame: int) -> None:
        """Send a frame to the canvas, and move the history slider to it."""
        content, buffers = compose(self.live, self.stage.view)
        texts = {"counters": self._counters(content["steps"]), "message": self.loop.line}
        content["remarks"] += self.stage.catalogue.skipped
        content |= {"kind": "frame", "id": frame, **texts}
        self.controls.canvas.send(content, [np.ascontiguousarray(b).data for b in buffers])
        self._move_slider()

    def _counters(self, steps: int) -> str:
        if self.stage.view.history_index is not None:
            return f"step {steps} of {self.live.steps}"
        pace = self._pace if self.controls.play.value else ""
        return f"step {steps} · frame {self.live.frames}{pace}"

    def _move_slider(self) -> None:
        """Move the history slider to the state that is shown."""
        # While the rollout plays, every tenth frame is enough.
        if self.loop.requests or (self.controls.play.value and self.loop.frame % 10):
            return
        count, index = len(self.live.history), self.stage.view.history_index
        with self.stage.setting():
            self.controls.history.max = count
            self.controls.history.value = count if index is None else index
