"""What a notebook shows of the viewer where there is no kernel: a film and a figure, as HTML."""

import base64
import html
import io
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pinca_lib.automaton import CA
from pinca_lib.channels import SPEED
from pinca_lib.datasets import WindDataset
from pinca_lib.plotting import steps_before
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.saving import plot_fields, write_history

STILL_FRAMES = 75
STILL_COST = 2**21  # at most about so many steps times cells: a second or two


def still_page(rules: Sequence[CA], case: WindDataset, name: str, mark: str) -> str:
    """Return HTML for a notebook without a kernel: a film of a rollout, and its last fields.

    Parameters
    ----------
    rules, case
        As for ``LiveRollout``.
    name : str
        Of the rules.
    mark : str
        By which a viewer finds the page, to hide it while there is a kernel.
    """
    live = LiveRollout(rules, case, rules[0].w1.weight.device)
    with suppress(FloatingPointError):  # then the rollout ends where it diverges
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
        f'<div data-pinca="{mark}"><p>{title}. To watch it, and to edit the city, run this cell.'
        f'</p><video controls loop src="data:video/mp4;base64,{film}"></video><br>'
        f'<img alt="{title}" src="data:image/png;base64,{picture}"></div>'
    )
