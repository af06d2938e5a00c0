"""The viewer: a widget that plays, edits and saves a rollout in a notebook.

The rollout runs in Python; the browser draws it. A thread repeats these steps: handle the requests
of the user, advance the rollout, send a frame, and wait until the browser has drawn it. So frames
never queue up, the kernel stays free for other cells, and the rollout pauses if the page is not
visible.
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
from pinca_lib.viewer.panels import FRESH_ROLLOUT, View, compose

FRAMES_PER_SECOND = 30  # upper limit
PATIENCE = 5.0  # s, after which a frame that the browser has not drawn pauses the rollout


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
        Number of cells on a side; 0 keeps the grid of each case.
    output_dir : Path or str
        Folder in which a folder for saved files is made.

    Raises
    ------
    InputError
        If the folder has no readable city files, or no case matches.
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
        self._requests: deque[Callable[[], None]] = deque()  # from the user, to be handled in order
        self._awake, self._drawn = Event(), Event()
        self._thread = Thread(target=self._work, daemon=True, name="rollout viewer")
        self._closed = False
        self._frame = 0
        self._pace = Pace()
        self._is_moving_slider = False  # True while the viewer, not the user, moves it
        self._listen()

    def close(self) -> None:
        """Stop the viewer's thread and remove the widget from the page."""
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

    # Requests of the user

    def _listen(self) -> None:
        c = self.controls

        def on_change(control, act: Callable[[], None]) -> None:
            control.observe(lambda _: self._ask(act), names="value")

        def on_click(control, act: Callable[[], None], leave_history: bool = False) -> None:
            control.on_click(lambda _: self._ask(act, leave_history))

        c.case.observe(lambda change: self._ask(partial(self._open, change.new)), names="value")
        on_change(c.checkpoint, self._change_rules)
        for control in (c.channel, c.reference, c.arrows, c.automatic, c.radius):
            on_change(control, self._apply_view)
        c.play.observe(lambda change: self._ask(self._pace.clear, change.new), names="value")
        c.history.observe(self._slider_moved, names="value")
        on_click(c.step, self._advance, leave_history=True)
        on_click(c.restart, lambda: self.live.restart(), leave_history=True)
        on_click(c.revert, lambda: self.live.revert(), leave_history=True)
        on_click(c.undo, self._undo, leave_history=True)
        on_click(c.film, self._save_film)
        on_click(c.picture, self._save_picture)
        on_click(c.fields, self._save_fields)
        c.canvas.on_msg(self._receive)

    def _receive(self, _, content: dict, buffers) -> None:
        """Handle a message from the canvas."""
        kind = content.get("kind")
        if kind == "ready":
            if self._thread.ident is None:
                self._thread.start()
            self._drawn.set()  # the page is new and never saw the frame that was sent before
            self._ask(self._apply_view)
        elif kind == "drawn" and content["id"] == self._frame:
            self._drawn.set()
        elif kind == "hover":
            self._requests.append(lambda: self._point(content["cell"]))
            self._awake.set()
        elif kind == "brush":
            stroke = content["tool"], content["points"], content["stroke"]
            self._ask(lambda: self._paint(*stroke), leave_history=True)
        elif kind == "wind":
            turn = content["degrees"], content["stroke"]
            self._ask(lambda: self.live.turn_wind(*turn), leave_history=True)

    def _ask(self, act: Callable[[], None], leave_history: bool = False) -> None:
        """Have something done before the next frame, and show the current state if wanted."""
        if not self.album.writing:
            self.message = ""  # it was about an earlier request
        if leave_history:
            self._requests.append(lambda: setattr(self.view, "history_index", None))
        self._requests.append(act)
        self._awake.set()

    def _load(self, case: str) -> None:
        rules = self.checkpoints[self.controls.checkpoint.value]
        loaded = load_case(*self.cases[case], self.image_size)
        self.case, self.live = loaded, LiveRollout(rules, loaded, rules[0].w1.weight.device)
        self.view.history_index = self.view.pointer = None
        self._apply_view()

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

    def _apply_view(self) -> None:
        """Take over the settings of the controls that say what to show."""
        c, view = self.controls, self.view
        view.channel, view.reference = c.channel.value, c.reference.value
        view.automatic, view.arrows = c.automatic.value, c.arrows.value
        self.live.compare_with_fresh_rollout(view.reference == FRESH_ROLLOUT)
        cell_size = math.sqrt(math.prod(self.live.extent) / math.prod(self.live.shape))
        c.canvas.radius = c.radius.value / cell_size

    def _slider_moved(self, change) -> None:
        if not self._is_moving_slider:
            self.controls.play.value = False
            self._ask(partial(self._show_history, change.new))

    def _show_history(self, index: int) -> None:
        self.view.history_index = None if index >= len(self.live.history) else index

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
        height, width = self.live.shape
        if cell and 0 <= cell[0] < height and 0 <= cell[1] < width:
            self.view.pointer = cell[0], cell[1]
        else:
            self.view.pointer = None

    def _save_fields(self) -> None:
        steps, state = self.live.state_at(self.view.history_index)
        city = "as simulated" if self.live.target_of(state) is not None else "edited"
        about = {"case": self.live.name, "city_and_wind": city, "automaton_steps": steps,
                 "rules": self.controls.checkpoint.value}  # fmt: skip
        write = partial(write_netcdf, state=state, extent=self.live.extent, attributes=about)
        self.album.keep(f"step_{steps}.nc", write)

    def _save_picture(self) -> None:
        steps, state = self.live.state_at(self.view.history_index)
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

    # The viewer's thread

    def _work(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            if self._closed:
                return
            began = time.monotonic()
            while self._requests:
                self._try(self._requests.popleft())
            if self.controls.play.value and not self._try(self._advance):
                self._pause(self.message)
            self._try(self._show)
            time.sleep(max(0, began + 1 / FRAMES_PER_SECOND - time.monotonic()))
            if self.controls.play.value:
                self._awake.set()

    def _try(self, act: Callable[[], None]) -> bool:
        """Call a function and show any error as a message; return whether it succeeded."""
        try:
            act()
            return True
        except Exception as error:
            self.message = error_line(error)
            return False

    def _pause(self, message: str) -> None:
        self.controls.play.value = False  # this clears the message, so it is set afterwards
        self.message = message

    def _advance(self) -> None:
        steps = self.controls.speed.value
        steps = steps_before(self.live.frames) if steps == DOUBLING else steps
        self.live.advance(steps)
        self._pace.tick(steps)

    def _show(self) -> None:
        """Send a frame and wait until it is drawn; pause if it is not drawn in time."""
        content, buffers = compose(self.live, self.view)
        self._frame += 1
        self._drawn.clear()
        message = self.message or doubts(self.case, self.live.rules)
        texts = {"counters": self._counters(content["steps"]), "message": message}
        content |= {"kind": "frame", "id": self._frame, **texts}
        self.controls.canvas.send(content, [np.ascontiguousarray(b).data for b in buffers])
        self._move_slider()
        if not self._drawn.wait(PATIENCE) and self.controls.play.value:
            self._pause("paused: the page is not visible")

    def _counters(self, steps: int) -> str:
        if self.view.history_index is not None:
            return f"step {steps} of {self.live.steps}"
        pace = self._pace if self.controls.play.value else ""
        return f"step {steps} · frame {self.live.frames}{pace}"

    def _move_slider(self) -> None:
        """Move the history slider to the state that is shown."""
        # While the rollout plays, every tenth frame is enough.
        if self._requests or (self.controls.play.value and self._frame % 10):
            return
        count, index = len(self.live.history), self.view.history_index
        self._is_moving_slider = True
        self.controls.history.max = count
        self.controls.history.value = count if index is None else index
        self._is_moving_slider = False
