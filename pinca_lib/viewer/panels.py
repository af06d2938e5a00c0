"""One frame of the viewer: a small message for the canvas, and arrays of bytes."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from pinca_lib.channels import (
    CHANNELS,
    DWDZ,
    SPEED,
    TOPO,
    Channel,
    U,
    V,
)
from pinca_lib.evaluation import doubtful
from pinca_lib.plotting import air_plane, colour_map, colour_range, error_of
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.readout import LABELS, read_out
from pinca_lib.viewer.scenes import PlaceScene, ReferenceWind, wind_from

BUILDING = 255  # marks buildings in a plane of bytes; 0-254 are indices into the colour map
UNLIKE, ASSUMED = 1, 255  # marks in the bytes of the city: in air, and in buildings
ARROWS = 24  # number of arrows along the longer side
LAWS = {  # terms of PhysicsLoss, as the chart names them
    "L_k_neg": "negative TKE",
    "L_flux": "flux beyond its bound",
    "L_u_bound": "speed below |(u, v)|",
    "L_continuity": "continuity",
}
SIMULATION, FRESH_ROLLOUT, NOTHING = REFERENCES = ("simulation", "fresh rollout", "nothing")


@dataclass
class View:
    """What the user has chosen to see of a rollout.

    Attributes
    ----------
    channel : int
    reference : str
        What the prediction is compared with, one of ``REFERENCES``.
    wind : ReferenceWind
        Under which a place is shown.
    automatic : bool
        Whether the colour range is that of the shown field alone. Otherwise it is that of the
        simulation or, without one, the widest that was shown so far.
    arrows : bool
        Whether arrows show the mean wind (u, v).
    history_index : int or None
        Index into the history; None for the current state.
    pointer : (row, column) or None
        The shown cell under the pointer, whose values are shown.
    widest : dict
        The widest colour range so far, by what it is of.
    """

    channel: int = SPEED
    reference: str = SIMULATION
    wind: ReferenceWind = ReferenceWind()
    automatic: bool = False
    arrows: bool = False
    history_index: int | None = None
    pointer: tuple[int, int] | None = None
    widest: dict[Hashable, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One map: a plane (h, w), NaN in buildings, with its colour range ``low`` to ``high``."""

    title: str
    channel: Channel
    plane: np.ndarray
    low: float
    high: float

    def packed(self) -> list[np.ndarray]:
        """Return the plane as colour indices, (h, w), and the 255 colours, (255, 3); uint8."""
        colours = colour_map(self.channel)(np.linspace(0, 1, BUILDING))[:, :3]
        indices = _colour_indices(self.plane, self.low, self.high)
        return [indices, (255 * colours).round().astype(np.uint8)]


def compose(live: LiveRollout, view: View) -> tuple[dict, list[np.ndarray]]:
    """Return the message for the canvas and its binary buffers.

    Returns
    -------
    content : dict
        Texts, colour ranges and sizes, as ``canvas.js`` expects them.
    buffers : list of ndarray
        - the city (h, w), uint8: 0 on the ground, ``UNLIKE`` where it is unlike the training data,
          up to 254 for the tallest building, ``ASSUMED`` for buildings of assumed height;
        - (u, v) of the arrows (rows, columns, 2), float32, m/s, NaN in buildings;
        - steps and scores (1 + curves, count), float32;
        - for each panel its plane (h, w) and its colours (255, 3), uint8.
    """
    scene = live.scene
    steps, state = live.state_at(view.history_index)
    shown, other = scene.shown(state, view.wind), _reference(live, view)
    reference = _name_of_reference(live, view, state)
    panels = _panels(live, view, state, shown, other, reference)
    arrows, stride = _arrows(shown) if view.arrows else (np.empty((0, 0, 2), np.float32), 1)
    names, curves = live.curves()
    content = {
        "steps": steps,
        "shape": list(scene.shown_shape),
        "extent": list(scene.shown_extent),
        "corner": list(scene.corner) if isinstance(scene, PlaceScene) else None,
        "degrees": wind_from(state),
        "stride": stride,
        "across": arrows.shape[1],
        "longest": float(np.nan_to_num(np.hypot(arrows[..., 0], arrows[..., 1])).max(initial=0)),
        "curves": [{"name": LAWS.get(name, name), "law": name in LAWS} for name in names],
        "count": curves.shape[1],
        "readout": read_out(scene, view.pointer, shown, other, reference),
        "remarks": scene.remarks(state, live.rules, view.wind),
        "panels": [
            {"title": p.title, "unit": p.channel.unit, "low": p.low, "high": p.high} for p in panels
        ],
    }
    city = _city(live, state, shown)
    return content, [city, arrows, curves, *(array for p in panels for array in p.packed())]


def _reference(live: LiveRollout, view: View) -> Tensor | None:
    """Return the state to compare with, (12, h, w), or None if there is none."""
    if view.reference == SIMULATION and (view.channel != DWDZ or live.scene.has_dwdz):
        return live.scene.simulation
    if view.reference == FRESH_ROLLOUT and view.history_index is None and live.fresh is not None:
        return live.scene.shown(live.fresh, view.wind)
    return None


def _name_of_reference(live: LiveRollout, view: View, state: Tensor) -> str:
    outdated = view.reference == SIMULATION and live.target_of(state) is None
    return f"{view.reference} (before the edit)" if outdated else view.reference


def _panels(
    live: LiveRollout, view: View, state: Tensor, shown: Tensor, other: Tensor | None, name: str
) -> list[Panel]:
    channel, own = CHANNELS[view.channel], air_plane(shown, view.channel)
    label = LABELS[view.channel]
    low, high = _range(live, view, state, channel, own)
    panels = [Panel(f"prediction: {label}", channel, own, low, high)]
    if other is None:
        return panels
    wanted = air_plane(other, view.channel)
    panels.append(Panel(f"{name}: {label}", channel, wanted, low, high))
    if name == view.reference:
        error, difference = error_of(channel), own - wanted
        limit = _limits(error, difference)[1] if view.automatic else (high - low) / 2
        panels.append(Panel(f"prediction − {view.reference}", error, difference, -limit, limit))
    return panels


def _range(
    live: LiveRollout, view: View, state: Tensor, channel: Channel, own: np.ndarray
) -> tuple[float, float]:
    """Return the colour range of the prediction and of what it is compared with."""
    simulation = live.scene.simulation
    if simulation is not None and not view.automatic:
        known = view.channel != DWDZ or live.scene.has_dwdz
        return _limits(channel, air_plane(simulation, view.channel) if known else own)
    low, high = _limits(channel, own)
    if view.automatic:
        return low, high
    # A field that grows from zero would flicker in a range of its own. Winds differ in their units.
    key = view.channel, view.wind, wind_from(state)
    least, most = view.widest.get(key, (low, high))
    view.widest[key] = min(least, low), max(most, high)
    return view.widest[key]


def _limits(channel: Channel, plane: np.ndarray) -> tuple[float, float]:
    """Return the lowest and highest value of the colour range of a plane (h, w)."""
    colours = colour_range(channel, plane)
    assert colours.vmin is not None
    assert colours.vmax is not None
    return float(colours.vmin), float(colours.vmax)


def _city(live: LiveRollout, state: Tensor, shown: Tensor) -> np.ndarray:
    """Return the bytes of the city, (h, w)."""
    heights = shown[TOPO].cpu().numpy()
    city = _colour_indices(heights, 0, max(float(heights.max()), 1.0))
    if isinstance(live.scene, PlaceScene):
        place = live.scene.edited(state)
        city[doubtful(live.scene.unlike(state, live.rules))] = UNLIKE
        city[place.on_site(place.assumed)] = ASSUMED
    return city


def _arrows(state: Tensor) -> tuple[np.ndarray, int]:
    """Return (u, v) on a regular subset of the cells, and the distance between them in cells."""
    stride = -(-max(state.shape[-2:]) // ARROWS)
    middle = slice(stride // 2, None, stride)
    planes = [air_plane(state[:, middle, middle], channel) for channel in (U, V)]
    return np.stack(planes, axis=-1).astype(np.float32), stride


def _colour_indices(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map values from low…high to 0…254, and NaN to ``BUILDING``; uint8."""
    indices = ((plane - low) / (high - low) * (BUILDING - 1)).round().clip(0, BUILDING - 1)
    return np.nan_to_num(indices, nan=BUILDING).astype(np.uint8)
