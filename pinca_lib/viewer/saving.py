"""Save films, pictures and fields of the viewer, and make its static page."""

import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, Thread

from matplotlib.figure import Figure
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import DWDZ, PREDICTED_CHANNELS, SPEED
from pinca_lib.datasets import WindDataset
from pinca_lib.errors import error_line
from pinca_lib.plotting import draw_film, plot_channels, plot_comparison, steps_before, write_film
from pinca_lib.runs import new_folder
from pinca_lib.viewer.live import LiveRollout, Snapshot

STILL_FRAMES = 75  # largest number of frames of the static page's film
STILL_COST = 2**21  # its largest number of steps times cells, about: a second or two


class Album:
    """A folder ``viewer_<YYYYmmdd-HHMMSS>`` for saved files; it is made with the first file.

    Files are numbered, and never overwritten. They are written in a thread, so that the viewer
    keeps running.

    Parameters
    ----------
    output_dir : Path
        Folder in which this folder is made.
    tell : callable
        Called with one line of text, which says where a file was saved or why it was not.
    """

    def __init__(self, output_dir: Path, tell: Callable[[str], None]):
        self.output_dir, self.tell = output_dir, tell
        self.count, self.writing = 0, 0
        self._folder: Path | None = None
        self._lock = Lock()

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Save a file in a thread.

        Parameters
        ----------
        name : str
            Name of the file, without its number.
        write : callable
            Writes the file to the path that it is called with.
        """
        self.writing += 1
        Thread(target=self._keep, args=(name, write), daemon=True).start()

    def _keep(self, name: str, write: Callable[[Path], None]) -> None:
        with self._lock:  # one file at a time
            try:
                self._folder = self._folder or new_folder(self.output_dir, "viewer")
                self.count += 1
                path = self._folder / f"{self.count:02d}_{name}"
                write(path)
                outcome = f"saved {path}"
            except Exception as error:  # show any error to the user, and keep running
                outcome = f"not saved: {error_line(error)}"
            self.writing -= 1
            self.tell(outcome)


def plot_fields(live: LiveRollout, state: Tensor) -> Figure:
    """Plot all fields of a state, compared with the simulation unless the city is edited."""
    target = live.target_of(state)
    if target is None:
        return plot_channels(state, PREDICTED_CHANNELS, live.extent)
    channels = PREDICTED_CHANNELS[: None if live.has_dwdz else -1]
    return plot_comparison(state, target, live.extent, channels)


def write_history(
    path: Path,
    live: LiveRollout,
    snapshots: Sequence[Snapshot],
    channel: int,
    name: str,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a film of one channel from snapshots of a rollout.

    Parameters
    ----------
    path : Path
        The mp4 file to write.
    live : LiveRollout
    snapshots : sequence of Snapshot
    channel : int
    name : str
        Name of the model, for the title.
    tell : callable
        Called with a line of text on the progress, once per frame.
    """
    target = live.target_of(snapshots[-1][1])
    if channel == DWDZ and not live.has_dwdz:
        target = None
    states = [(steps, state) for steps, state, _ in snapshots]

    def counted():
        pictures = draw_film(states, target, live.extent, channel, name)
        for number, picture in enumerate(pictures, 1):
            tell(f"drawing the film: {number} of {len(snapshots)} frames")
            yield picture

    write_film(path, counted())


def still_page(rules: Sequence[CA], case: WindDataset, name: str, mark: str) -> str:
    """Return the HTML that a notebook shows without a kernel: a film and the last fields.

    Parameters
    ----------
    rules, case
        As for ``LiveRollout``.
    name : str
        Name of the model.
    mark : str
        Identifies the page, so that a running viewer can hide it.
    """
    live = LiveRollout(rules, case, rules[0].w1.weight.device)
    with suppress(FloatingPointError):  # if the rollout diverges, show it up to there
        while live.frames < STILL_FRAMES and live.steps * math.prod(live.shape) < STILL_COST:
            live.advance(steps_before(live.frames))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_history(path, live, live.record(), SPEED, name)
        film = base64.b64encode(path.read_bytes()).decode()
    png = io.BytesIO()
    plot_fields(live, live.state).savefig(png, format="png", dpi=60)
    picture = base64.b64encode(png.getvalue()).decode()
    title = html.escape(f"{live.name} after {live.steps} steps")
    return (
        f'<div data-pinca="{mark}"><p>{title}. Run this cell to play the rollout and edit the city.'
        f'</p><video controls loop src="data:video/mp4;base64,{film}"></video><br>'
        f'<img alt="{title}" src="data:image/png;base64,{picture}"></div>'
    )
