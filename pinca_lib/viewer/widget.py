"""The viewer: a rollout in a notebook that one can watch, scrub, edit and save.

Python holds the rollout, the browser draws. A thread carries out what the user asked for, advances
the rollout, sends a picture and waits until the browser has drawn it: so nothing queues up, the
kernel stays free, and nothing goes on when nobody looks.
"""

import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread

import numpy as np
from IPython.display import HTML, display

from pinca_lib.automaton import CA
from pinca_lib.cities import brush
from pinca_lib.datasets import find_case, list_cases, load_case, write_netcdf
from pinca_lib.errors import error_line
from pinca_lib.evaluation import doubts
from pinca_lib.plotting import steps_before
from pinca_lib.runs import Pace
from pinca_lib.viewer import saving
from pinca_lib.viewer.controls import DOUBLING, Controls, enter_cell
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.panels import COLD_START, View, compose

FRAMES_PER_SECOND = 30  # at most
PATIENCE = 5.0  # s, how long the browser may take to draw


class RolloutViewer:
    """Watch a city's wind roll out, and change the city while it does.

    Parameters
    ----------
    data_dir : Path or str
        Folder of city files.
    checkpoints : mapping of str to sequence of CA
        Rules to choose from, by name; those of a sequence are applied in turn within every step.
    case : str
        The case to begin with: its ``city/case``, or a part of it; the first if empty.
    image_size : int
        Cells a side; 0 keeps each case's own grid.
    output_dir : Path or str
        Where the folder of what is saved is made.

    Raises
    ------
    InputError
        If folder or case cannot be used.
    """

    def __init__(
        self,
        data_dir: Path | str,
        checkpoints: Mapping[str, Sequence[CA]],
        case: str = "",
        image_size: int = 0,
        output_dir: Path | str = "outputs",
    ):
        self.checkpoints, self.image_size = checkpoints, image_size
        self.cases = list_cases(data_dir, lenient=True)
        self.album = saving.Album(Path(output_dir), self._tell)
        self.view, self.message = View(), ""
        self.controls = Controls(list(self.cases), list(checkpoints))
        self.controls.canvas.still = uuid.uuid4().hex
        self.controls.case.value = find_case(self.cases, case)
        self._load(self.controls.case.value)
        self._wanted: deque[Callable[[], None]] = deque()  # what the user asked for
        self._awake, self._drawn = Event(), Event()
        self._thread = Thread(target=self._work, daemon=True, name="rollout viewer")
        self._closed = False
        self._frame = 0
        self._pace = Pace()
        self._placing = False  # the slider is being moved by the viewer, not by the user
        self._listen()

    def close(self) -> None:
        """End the viewer's work and take it off the page."""
        self._closed = True
        self._awake.set()
        self._drawn.set()
        self.controls.close()

    def _ipython_display_(self) -> None:
        enter_cell(self)
        display(self.controls.bundle(), raw=True)
        c = self.controls
        mark = c.canvas.still
        display(HTML(saving.still_page(self.live.rules, self.case, c.checkpoint.value, mark)))

    # What the user can ask for

    def _listen(self) -> None:
        c = self.controls

        def on_change(control, act: Callable[[], None]) -> None:
            control.observe(lambda _: self._ask(act), names="value")

        def on_click(control, act: Callable[[], None], now: bool = False) -> None:
            control.on_click(lambda _: self._ask(act, now))

        c.case.observe(lambda change: self._ask(partial(self._open, change.new)), names="value")
        on_change(c.checkpoint, self._change_rules)
        for control in (c.channel, c.reference, c.arrows, c.automatic, c.radius):
            on_change(control, self._look)
        c.play.observe(lambda change: self._ask(self._pace.clear, now=change.new), names="value")
        c.moment.observe(self._scrubbed, names="value")
        on_click(c.step, self._advance, now=True)
        on_click(c.restart, lambda: self.live.restart(), now=True)
        on_click(c.revert, lambda: self.live.revert(), now=True)
        on_click(c.undo, self._undo, now=True)
        on_click(c.film, self._save_film)
        on_click(c.picture, self._save_picture)
        on_click(c.fields, self._save_fields)
        c.canvas.on_msg(self._receive)

    def _receive(self, _, content: dict, buffers) -> None:
        """Take a message of the canvas."""
        kind = content.get("kind")
        if kind == "ready":
            if self._thread.ident is None:
                self._thread.start()
            self._drawn.set()  # another page: it cannot have drawn what was sent before
            self._ask(self._look)
        elif kind == "drawn" and content["id"] == self._frame:
            self._drawn.set()
        elif kind == "hover":
            self._wanted.append(lambda: self._point(content["cell"]))
            self._awake.set()
        elif kind == "brush":
            stroke = content["tool"], content["points"], content["stroke"]
            self._ask(lambda: self._paint(*stroke), now=True)
        elif kind == "wind":
            turn = content["degrees"], content["stroke"]
            self._ask(lambda: self.live.turn_wind(*turn), now=True)

    def _ask(self, act: Callable[[], None], now: bool = False) -> None:
        """Have something done before the next picture; ``now`` ends looking back."""
        if not self.album.writing:
            self.message = ""  # it was about something earlier
        if now:
            self._wanted.append(lambda: setattr(self.view, "moment", None))
        self._wanted.append(act)
        self._awake.set()

    def _load(self, case: str) -> None:
        rules = self.checkpoints[self.controls.checkpoint.value]
        loaded = load_case(*self.cases[case], self.image_size)
        self.case, self.live = loaded, LiveRollout(rules, loaded, rules[0].w1.weight.device)
        self.view.moment = self.view.pointer = None
        self._look()

    def _open(self, case: str) -> None:
        if case == self.live.name:
            return
        try:
            self._load(case)
        except Exception:
            self.controls.case.value = self.live.name
            raise

    def _change_rules(self) -> None:
        self.live.rules = self.checkpoints[self.controls.checkpoint.value]
        self.live.restart()

    def _look(self) -> None:
        c, view = self.controls, self.view
        view.channel, view.reference = c.channel.value, c.reference.value
        view.automatic, view.arrows = c.automatic.value, c.arrows.value
        self.live.compare_with_cold_start(view.reference == COLD_START)
        cell_size = math.sqrt(math.prod(self.live.extent) / math.prod(self.live.shape))
        c.canvas.radius = c.radius.value / cell_size

    def _scrubbed(self, change) -> None:
        if not self._placing:
            self.controls.play.value = False
            self._ask(partial(self._look_back, change.new))

    def _look_back(self, moment: int) -> None:
        self.view.moment = None if moment >= len(self.live.history) else moment

    def _undo(self) -> None:
        if not self.live.undo():
            self.message = "nothing to undo"

    def _paint(self, tool: str, points: Sequence, stroke: str) -> None:
        cells = brush(self.live.shape, points, self.controls.canvas.radius)
        if tool == "build":
            self.live.build(cells, self.controls.height.value, stroke)
        elif tool == "clear":
            self.live.clear(cells, stroke)

    def _point(self, cell: Sequence[int] | None) -> None:
        inside = cell and 0 <= cell[0] < self.live.shape[0] and 0 <= cell[1] < self.live.shape[1]
        self.view.pointer = tuple(cell) if inside else None

    def _save_fields(self) -> None:
        steps, state = self.live.moment(self.view.moment)
        city = "as simulated" if self.live.target_of(state) is not None else "edited"
        about = {"case": self.live.name, "city_and_wind": city, "automaton_steps": steps,
                 "rules": self.controls.checkpoint.value}  # fmt: skip
        write = partial(write_netcdf, state=state, extent=self.live.extent, attributes=about)
        self.album.keep(f"step_{steps}.nc", write)

    def _save_picture(self) -> None:
        steps, state = self.live.moment(self.view.moment)
        figure = saving.plot_fields(self.live, state)
        self.album.keep(f"step_{steps}.png", partial(figure.savefig, dpi=150))

    def _save_film(self) -> None:
        write = partial(
            saving.write_history, live=self.live, snapshots=self.live.record(),
            channel=self.view.channel, name=self.controls.checkpoint.value, tell=self._tell,
        )  # fmt: skip
        self.album.keep(f"step_{self.live.steps}.mp4", write)

    def _tell(self, message: str) -> None:
        self.message = message
        self._awake.set()

    # The work

    def _work(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            if self._closed:
                return
            began = time.monotonic()
            while self._wanted:
                self._try(self._wanted.popleft())
            if self.controls.play.value and not self._try(self._advance):
                self._pause(self.message)
            self._try(self._show)
            time.sleep(max(0, began + 1 / FRAMES_PER_SECOND - time.monotonic()))
            if self.controls.play.value:
                self._awake.set()

    def _try(self, act: Callable[[], None]) -> bool:
        """Do something; whatever goes wrong, the user is to know, and to go on."""
        try:
            act()
            return True
        except Exception as error:
            self.message = error_line(error)
            return False

    def _pause(self, message: str) -> None:
        self.controls.play.value = False  # which clears the message
        self.message = message

    def _advance(self) -> None:
        steps = self.controls.speed.value
        steps = steps_before(self.live.frames) if steps == DOUBLING else steps
        self.live.advance(steps)
        self._pace.tick(steps)

    def _show(self) -> None:
        """Send a picture and wait until it is drawn; pause if nobody draws it."""
        content, buffers = compose(self.live, self.view)
        self._frame += 1
        self._drawn.clear()
        message = self.message or doubts(self.case, self.live.rules)
        texts = {"counters": self._counters(content["steps"]), "message": message}
        content |= {"kind": "frame", "id": self._frame, **texts}
        self.controls.canvas.send(content, [np.ascontiguousarray(b).data for b in buffers])
        self._place_slider()
        if not self._drawn.wait(PATIENCE) and self.controls.play.value:
            self._pause("paused while nobody looked")

    def _counters(self, steps: int) -> str:
        if self.view.moment is not None:
            return f"step {steps} of {self.live.steps}"
        pace = self._pace if self.controls.play.value else ""
        return f"step {steps} · frame {self.live.frames}{pace}"

    def _place_slider(self) -> None:
        if self._wanted or (self.controls.play.value and self._frame % 10):
            return
        count = len(self.live.history)
        self._placing = True
        self.controls.moment.max = count
        self.controls.moment.value = count if self.view.moment is None else self.view.moment
        self._placing = False
