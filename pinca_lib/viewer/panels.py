"""One frame of the viewer: a small message for the canvas, and arrays of bytes."""

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

BUILDING = 255  # marks buildings in a plane of bytes; 0-254 are indices into the colour map
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
        What the automaton is compared with, one of ``REFERENCES``.
    automatic : bool
        Whether the colour range is that of the shown field, not that of the simulation.
    arrows : bool
        Whether arrows show the mean wind (u, v).
    history_index : int or None
        Index into the history; None for the current state.
    pointer : (row, column) or None
        The cell under the pointer, whose values are shown.
    """

    channel: int = SPEED
    reference: str = SIMULATION
    automatic: bool = False
    arrows: bool = False
    history_index: int | None = None
    pointer: tuple[int, int] | None = None


@dataclass(frozen=True)
class Panel:
    """One map: a plane (H, W), NaN in buildings, with its colour range ``low`` to ``high``."""

    title: str
    channel: Channel
    plane: np.ndarray
    low: float
    high: float

    def packed(self) -> list[np.ndarray]:
        """Return the plane as colour indices, (H, W), and the 255 colours, (255, 3); uint8."""
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
        - building heights (H, W), uint8: 0 on the ground, 254 for the tallest building;
        - (u, v) of the arrows (rows, columns, 2), float32, m/s, NaN in buildings;
        - steps and scores (1 + curves, count), float32;
        - for each panel its plane (H, W) and its colours (255, 3), uint8.
    """
    steps, state = live.state_at(view.history_index)
    other = _reference(live, view)
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
    shades = _colour_indices(heights, 0, max(float(heights.max()), 1.0))
    return content, [shades, arrows, curves, *(array for p in panels for array in p.packed())]


def _reference(live: LiveRollout, view: View) -> Tensor | None:
    """Return the state to compare with, (>= 12, H, W), or None if there is none."""
    if view.reference == SIMULATION and (view.channel != DWDZ or live.has_dwdz):
        return live.simulation
    if view.reference == FRESH_ROLLOUT and view.history_index is None:
        return live.fresh
    return None


def _name_of_reference(live: LiveRollout, view: View, state: Tensor) -> str:
    outdated = view.reference == SIMULATION and live.target_of(state) is None
    return f"{view.reference} (before the edit)" if outdated else view.reference


def _panels(live: LiveRollout, view: View, state: Tensor, other: Tensor | None) -> list[Panel]:
    channel, own = CHANNELS[view.channel], air_plane(state, view.channel)
    known = live.simulation if view.channel != DWDZ or live.has_dwdz else state
    low, high = _limits(channel, own if view.automatic else air_plane(known, view.channel))
    panels = [Panel(f"automaton: {channel.label}", channel, own, low, high)]
    if other is None:
        return panels
    wanted = air_plane(other, view.channel)
    name = _name_of_reference(live, view, state)
    panels.append(Panel(f"{name}: {channel.label}", channel, wanted, low, high))
    if name == view.reference:
        error, difference = error_of(channel), own - wanted
        limit = _limits(error, difference)[1] if view.automatic else (high - low) / 2
        panels.append(Panel(f"automaton − {view.reference}", error, difference, -limit, limit))
    return panels


def _limits(channel: Channel, plane: np.ndarray) -> tuple[float, float]:
    """Return the lowest and highest value of the colour range of a plane (H, W)."""
    colours = colour_range(channel, plane)
    assert colours.vmin is not None
    assert colours.vmax is not None
    return float(colours.vmin), float(colours.vmax)


def _arrows(state: Tensor) -> tuple[np.ndarray, int]:
    """Return (u, v) on a regular subset of the cells, and the distance between them in cells."""
    stride = -(-max(state.shape[-2:]) // ARROWS)
    middle = slice(stride // 2, None, stride)
    planes = [air_plane(state, channel)[middle, middle] for channel in (U, V)]
    return np.stack(planes, axis=-1).astype(np.float32), stride


def _read_out(live: LiveRollout, view: View, state: Tensor, other: Tensor | None) -> list:
    """Return the rows of the table of values at the pointer: lists of text.

    The first row is the position. In a building its height follows, in air the fields and those of
    the reference.
    """
    if view.pointer is None:
        return [["point at a cell to read its values"]]
    row, column = view.pointer
    x, y = (
        (index + 0.5) * length / cells
        for index, length, cells in zip((column, row), live.extent[::-1], live.shape[::-1],
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


def _colour_indices(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map values from low…high to 0…254, and NaN to ``BUILDING``; uint8."""
    indices = ((plane - low) / (high - low) * (BUILDING - 1)).round().clip(0, BUILDING - 1)
    return np.nan_to_num(indices, nan=BUILDING).astype(np.uint8)
