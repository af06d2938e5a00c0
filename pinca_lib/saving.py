"""What people take home from the viewer: films, pictures and fields, in a folder of their own."""

import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock, Thread

from matplotlib.figure import Figure
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.datasets import WindDataset
from pinca_lib.errors import error_line
from pinca_lib.live import LiveRollout
from pinca_lib.plotting import PREDICTED_CHANNELS, plot_channels, plot_comparison
from pinca_lib.runs import new_folder
from pinca_lib.video import draw_film, write_film

STILL_STEPS = 128
STILL_COST = 2**21  # at most so many steps times cells: about a second


class Album:
    """A folder ``viewer_<YYYYmmdd-HHMMSS>``, made with the first file; none is ever replaced.

    Files are written in threads, so that the viewer goes on meanwhile.

    Parameters
    ----------
    output_dir : Path
        Where the folder is made.
    tell : callable
        Called with a line of text on how it goes.
    """

    def __init__(self, output_dir: Path, tell: Callable[[str], None]):
        self.output_dir, self.tell = output_dir, tell
        self.count, self.writing = 0, 0
        self._folder: Path | None = None
        self._lock = Lock()

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Let ``write`` make a file of that name, numbered, and tell where it is, or why not."""
        self.writing += 1
        Thread(target=self._keep, args=(name, write), daemon=True).start()

    def _keep(self, name: str, write: Callable[[Path], None]) -> None:
        with self._lock:  # one after another
            try:
                self._folder = self._folder or new_folder(self.output_dir, "viewer")
                self.count += 1
                path = self._folder / f"{self.count:02d}_{name}"
                write(path)
                outcome = f"saved {path}"
            except Exception as error:  # whatever it was: the user is to know, and to go on
                outcome = f"not saved: {error_line(error)}"
            self.writing -= 1
            self.tell(outcome)


def plot_fields(live: LiveRollout, state: Tensor) -> Figure:
    """Draw all fields of a rollout's state, beside the simulation where that is of its city."""
    target = live.target_of(state)
    if target is None:
        return plot_channels(state, PREDICTED_CHANNELS, live.extent)
    channels = PREDICTED_CHANNELS[: None if live.has_dwdz else -1]
    return plot_comparison(state, target, live.extent, channels)


def write_history(
    path: Path,
    live: LiveRollout,
    snapshots: Sequence[tuple],
    channel: int,
    tell: Callable[[str], None],
) -> None:
    """Write a film of one channel over snapshots of the history, and tell how far it is."""
    target = live.target_of(snapshots[-1][1])
    if channel == PREDICTED_CHANNELS[-1] and not live.has_dwdz:
        target = None
    pictures = draw_film([snapshot[:2] for snapshot in snapshots], target, live.extent, channel)

    def counted():
        for number, picture in enumerate(pictures, 1):
            tell(f"drawing the film: {number} of {len(snapshots)} frames")
            yield picture

    write_film(path, counted())


def still_page(rules: Sequence[CA], case: WindDataset, film: Path | None, mark: str) -> str:
    """Return HTML for a notebook without a kernel: fields after a rollout, and a film.

    Parameters
    ----------
    rules, case
        As for ``LiveRollout``.
    film : Path or None
        An h264 film to embed.
    mark : str
        By which a viewer finds the page, to hide it while there is a kernel.
    """
    live = LiveRollout(rules, case, rules[0].w1.weight.device)
    live.advance(max(1, min(STILL_STEPS, STILL_COST // math.prod(live.shape))))
    png = io.BytesIO()
    plot_fields(live, live.state).savefig(png, format="png", dpi=60)
    picture = base64.b64encode(png.getvalue()).decode()
    title = html.escape(f"{live.name} after {live.steps} steps")
    page = f"<p>{title}. To watch it, and to edit the city, run this cell.</p>"
    if film:
        data = base64.b64encode(Path(film).read_bytes()).decode()
        page += f'<video controls loop src="data:video/mp4;base64,{data}"></video><br>'
    page += f'<img alt="{title}" src="data:image/png;base64,{picture}">'
    return f'<div data-pinca="{mark}">{page}</div>'
