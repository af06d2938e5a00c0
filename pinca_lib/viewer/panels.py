"""What the viewer's canvas shows at one moment, as a small message and arrays of bytes."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pinca_lib.automaton import wind_direction
from pinca_lib.channels import (
    CHANNELS,
    DWDZ,
    GEO_MASK,
    PREDICTED_CHANNELS,
    SPEED,
    TOPO,
    Channel,
    U,
    V,
)
from pinca_lib.plotting import air_plane, colour_map, colour_range, error_of
from pinca_lib.viewer.live import LiveRollout

BUILDING = 255  # in a plane of bytes; 0-254 are places on the colour map
ARROWS = 24  # along the longer side
LAWS = {
    "L_k_neg": "TKE < 0",
    "L_flux": "flux beyond TKE",
    "L_u_bound": "speed below |(u, v)|",
    "L_continuity": "continuity",
}
SIMULATION, COLD_START, NOTHING = REFERENCES = ("simulation", "cold start", "nothing")


@dataclass
class View:
    """What is to be seen of a rollout.

    Attributes
    ----------
    channel : int
    reference : str
        What stands beside the automaton, one of ``REFERENCES``.
    automatic : bool
        Whether colours span the present values, not those of the simulation.
    arrows : bool
    moment : int or None
        Index into the history; None for now.
    pointer : (row, column) or None
        The cell whose values are read out.
    """

    channel: int = SPEED
    reference: str = SIMULATION
    automatic: bool = False
    arrows: bool = False
    moment: int | None = None
    pointer: tuple[int, int] | None = None


@dataclass(frozen=True)
class Panel:
    """One picture: a plane (H, W), NaN in buildings, with the range of its colours."""

    title: str
    channel: Channel
    plane: np.ndarray
    low: float
    high: float

    def packed(self) -> list[np.ndarray]:
        """Return the plane as places on a map of 255 colours, and those colours in RGB."""
        colours = colour_map(self.channel)(np.linspace(0, 1, BUILDING))[:, :3]
        return [_places(self.plane, self.low, self.high), (255 * colours).round().astype(np.uint8)]


def compose(live: LiveRollout, view: View) -> tuple[dict, list[np.ndarray]]:
    """Return the message for the canvas, and its buffers.

    Returns
    -------
    content : dict
        Texts, ranges and sizes; ``canvas.js`` draws it.
    buffers : list of ndarray
        Building heights (H, W) as uint8, 254 the highest; arrows (rows, columns, 2) as float32,
        NaN in buildings; steps and scores (1 + curves, count) as float32; then for each panel
        its plane (H, W) and its colours (255, 3), as uint8.
    """
    steps, state = live.moment(view.moment)
    other = _reference(live, view, state)
    panels = _panels(live, view, state, other)
    arrows, stride = _arrows(state) if view.arrows else (np.empty((0, 0, 2), np.float32), 1)
    names, curves = live.curves()
    content = {
        "steps": steps,
        "shape": list(live.shape),
        "extent": list(live.extent),
        "degrees": wind_direction(state),
        "stride": stride,
        "across": arrows.shape[1],
        "longest": float(np.nan_to_num(np.hypot(arrows[..., 0], arrows[..., 1])).max(initial=0)),
        "curves": [{"name": LAWS.get(name, name), "law": name in LAWS} for name in names],
        "count": curves.shape[1],
        "readout": _read_out(live, view, state, other),
        "panels": [
            {"title": p.title, "unit": p.channel.unit, "low": p.low, "high": p.high} for p in panels
        ],
    }
    heights = state[TOPO].cpu().numpy()
    shades = _places(heights, 0, max(float(heights.max()), 1.0))
    return content, [shades, arrows, curves, *(array for p in panels for array in p.packed())]


def _reference(live: LiveRollout, view: View, state: Tensor) -> Tensor | None:
    """Return what the state is compared with: nothing where there is nothing to compare."""
    if view.reference == SIMULATION and (view.channel != DWDZ or live.has_dwdz):
        return live.simulation
    if view.reference == COLD_START and view.moment is None:
        return live.cold
    return None


def _name_of_reference(live: LiveRollout, view: View, state: Tensor) -> str:
    outdated = view.reference == SIMULATION and live.target_of(state) is None
    return f"{view.reference} (before the edit)" if outdated else view.reference


def _panels(live: LiveRollout, view: View, state: Tensor, other: Tensor | None) -> list[Panel]:
    channel, own = CHANNELS[view.channel], air_plane(state, view.channel)
    known = live.simulation if view.channel != DWDZ or live.has_dwdz else state
    wide = colour_range(channel, own if view.automatic else air_plane(known, view.channel))
    low, high = float(wide.vmin), float(wide.vmax)
    panels = [Panel(f"automaton: {channel.label}", channel, own, low, high)]
    if other is None:
        return panels
    wanted = air_plane(other, view.channel)
    name = _name_of_reference(live, view, state)
    panels.append(Panel(f"{name}: {channel.label}", channel, wanted, low, high))
    if name == view.reference:
        error, misfit = error_of(channel), own - wanted
        limit = float(colour_range(error, misfit).vmax) if view.automatic else (high - low) / 2
        panels.append(Panel(f"automaton − {view.reference}", error, misfit, -limit, limit))
    return panels


def _arrows(state: Tensor) -> tuple[np.ndarray, int]:
    """Return (u, v) at every so-many-th cell, and how many cells lie between."""
    stride = -(-max(state.shape[-2:]) // ARROWS)
    middle = slice(stride // 2, None, stride)
    planes = [air_plane(state, channel)[middle, middle] for channel in (U, V)]
    return np.stack(planes, axis=-1).astype(np.float32), stride


def _read_out(live: LiveRollout, view: View, state: Tensor, other: Tensor | None) -> list:
    """Return rows of text: a place, its building or its fields, and those of the reference."""
    if view.pointer is None:
        return [["point at a cell to read its values"]]
    row, column = view.pointer
    x, y = (
        (place + 0.5) * length / cells
        for place, length, cells in zip((column, row), live.extent[::-1], live.shape[::-1],
                                        strict=True)
    )  # fmt: skip
    rows = [["x, y", f"{x:.0f}, {y:.0f}", "m"]]
    if state[GEO_MASK, row, column] == 0:
        return [*rows, ["building", f"{float(state[TOPO, row, column]):.0f}", "m"]]
    if other is not None:
        rows.append(["", "automaton", "", _name_of_reference(live, view, state)])
    for index in PREDICTED_CHANNELS:
        channel, digits = CHANNELS[index], 4 if index > SPEED else 2
        line = [channel.label, f"{float(state[index, row, column]):.{digits}f}", channel.unit]
        if other is not None and (index != DWDZ or other is not live.simulation or live.has_dwdz):
            line.append(f"{float(other[index, row, column]):.{digits}f}")
        rows.append(line)
    return rows


def _places(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as places 0-254 between two ends, 255 where there is none."""
    places = ((plane - low) / (high - low) * (BUILDING - 1)).round().clip(0, BUILDING - 1)
    return np.nan_to_num(places, nan=BUILDING).astype(np.uint8)
