"""What the viewer writes: films, pictures and fields, and its static page."""

import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import DWDZ, PREDICTED_CHANNELS
from pinca_lib.cities import write_buildings, write_maps
from pinca_lib.datasets import write_netcdf
from pinca_lib.evaluation import doubtful
from pinca_lib.plotting import (
    air_plane,
    draw_film,
    plot_channels,
    plot_comparison,
    plot_wind,
    write_film,
)
from pinca_lib.rollouts import steps_before
from pinca_lib.viewer.album import Album
from pinca_lib.viewer.live import LiveRollout, Snapshot
from pinca_lib.viewer.panels import View
from pinca_lib.viewer.scenes import PlaceScene, ReferenceWind, Scene

STILL_FRAMES = 75  # largest number of frames of the static page's film
STILL_COST = 2**21  # its largest number of steps times cells, about: a second or two


def keep_fields(album: Album, live: LiveRollout, view: View, model: str) -> None:
    """Save the state that is viewed as NetCDF; ``model`` is the name of the rules."""
    steps, state = live.state_at(view.history_index)
    write = partial(write_fields, live=live, steps=steps, state=state, wind=view.wind, model=model)
    album.keep(f"step_{steps}.nc", write)


def keep_picture(album: Album, live: LiveRollout, view: View, model: str) -> None:
    """Save the state that is viewed as a picture."""
    steps, state = live.state_at(view.history_index)
    figure = plot_fields(live, state, view.wind)
    album.keep(f"step_{steps}.png", partial(figure.savefig, dpi=150))


def keep_film(album: Album, live: LiveRollout, view: View, model: str) -> None:
    """Save the rollout so far as a film."""
    write = partial(
        write_history, live=live, snapshots=live.record(), view=replace(view), name=model,
        tell=album.tell,
    )  # fmt: skip
    album.keep(f"step_{live.steps}.mp4", write)


def keep_buildings(album: Album, live: LiveRollout, view: View, model: str) -> None:
    """Save the buildings of a place as they are now."""
    if isinstance(live.scene, PlaceScene):
        edited = live.scene.edited(live.state)
        write = partial(write_buildings, place=edited, before=live.scene.place)
        album.keep("buildings.geojson", write)


def plot_fields(live: LiveRollout, state: Tensor, wind: ReferenceWind) -> Figure:
    """Plot a state: a map of a place; of a case all fields, compared unless the city is edited."""
    scene = live.scene
    if isinstance(scene, PlaceScene):
        return plot_wind(scene.maps(state, wind), 0, doubtful(scene.unlike(state, live.rules)))
    target = live.target_of(state)
    if target is None:
        return plot_channels(state, PREDICTED_CHANNELS, scene.extent)
    channels = PREDICTED_CHANNELS[: None if scene.has_dwdz else -1]
    return plot_comparison(state, target, scene.extent, channels)


def write_fields(
    path: Path, live: LiveRollout, steps: int, state: Tensor, wind: ReferenceWind, model: str
) -> None:
    """Write a state as NetCDF, a place as ``cities.write_maps`` does.

    Parameters
    ----------
    path : Path
    live : LiveRollout
    steps : int
        Steps that led to the state.
    state : Tensor of shape (>= 12, H, W)
    wind : ReferenceWind
    model : str
        Name of the rules.
    """
    scene = live.scene
    if isinstance(scene, PlaceScene):
        unlike = doubtful(scene.unlike(state, live.rules)).astype("int8")
        planes = {"unlike_training": (unlike, "cells unlike the training data")}
        remarks = scene.remarks(state, live.rules, wind)
        write_maps(path, scene.maps(state, wind), planes, remarks)
        return
    city = "as simulated" if live.target_of(state) is not None else "edited"
    about = {"case": scene.name, "city_and_wind": city, "automaton_steps": steps, "rules": model}
    write_netcdf(path, state, scene.extent, about)


def write_history(
    path: Path,
    live: LiveRollout,
    snapshots: Sequence[Snapshot],
    view: View,
    name: str,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a film of the channel that is viewed from snapshots of a rollout.

    Parameters
    ----------
    path : Path
        The mp4 file to write.
    live : LiveRollout
    snapshots : sequence of Snapshot
    view : View
    name : str
        Name of the model, for the title.
    tell : callable
        Called with a line of text on the progress, once per frame.
    """
    scene, channel = live.scene, view.channel
    target = live.target_of(snapshots[-1][1])
    if channel == DWDZ and not scene.has_dwdz:
        target = None
    planes = [(steps, air_plane(scene.shown(state, view.wind), channel))
              for steps, state, _ in snapshots]  # fmt: skip

    def counted():
        pictures = draw_film(planes, target, scene.shown_extent, channel, name)
        for number, picture in enumerate(pictures, 1):
            tell(f"drawing the film: {number} of {len(snapshots)} frames")
            yield picture

    write_film(path, counted())


def still_page(rules: Sequence[CA], scene: Scene, view: View, name: str, mark: str) -> str:
    """Return the HTML that a notebook shows without a kernel: a film and the last fields.

    Parameters
    ----------
    rules, scene
        As for ``LiveRollout``.
    view : View
    name : str
        Name of the model.
    mark : str
        Identifies the page, so that a running viewer can hide it.
    """
    live = LiveRollout(rules, scene, rules[0].w1.weight.device)
    cells = math.prod(scene.start.shape[-2:])
    with suppress(FloatingPointError):  # if the rollout diverges, show it up to there
        while live.frames < STILL_FRAMES and live.steps * cells < STILL_COST:
            live.advance(steps_before(live.frames))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_history(path, live, live.record(), view, name)
        film = base64.b64encode(path.read_bytes()).decode()
    png = io.BytesIO()
    plot_fields(live, live.state, view.wind).savefig(png, format="png", dpi=60)
    picture = base64.b64encode(png.getvalue()).decode()
    title = html.escape(f"{scene.name} after {live.steps} steps")
    return (
        f'<div data-pinca="{mark}"><p>{title}. Run this cell to play the rollout and edit the city.'
        f'</p><video controls loop src="data:video/mp4;base64,{film}"></video><br>'
        f'<img alt="{title}" src="data:image/png;base64,{picture}"></div>'
    )
