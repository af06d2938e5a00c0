"""What looks wrong in a case although it can be read: its wind, its heights, its fields."""

import numpy as np

from pinca_lib.channels import (
    COORD_X,
    COORD_Y,
    FIELD_HEIGHT,
    GEO_MASK,
    NAMES,
    SPEED,
    TKE,
    TOPO,
    WIND_X,
    WIND_Y,
    U,
    V,
)
from pinca_lib.datasets.meta import is_number, stated_wind
from pinca_lib.errors import InputError

CONTRADICTING = 0.05  # share of cells in which mask and heights may disagree, as at edges of roofs
OFF_UNIT = 0.01  # of the length of the driving wind; float16 rounds by 0.001
OFF_COURSE = 5.0  # degrees between the driving wind and what `meta` says of it
BACKWARDS = 0.6  # of the mean speed: against the wind; 0.5 occurs in dense quarters
MISSING_SPEED = 0.02  # of the largest speed; float16 rounds by 0.001
SLOW_CELLS = 0.01  # share of cells that may miss more than that: simulations have some


def contradictions(air: np.ndarray, topo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where mask and heights contradict each other.

    Parameters
    ----------
    air : ndarray of shape (H, W), bool
    topo : ndarray of shape (H, W)
        Heights, m.

    Returns
    -------
    flat, raised : ndarray of shape (H, W), bool
        Buildings without a height, and air with a height of at least ``FIELD_HEIGHT``.
    """
    return ~air & (topo <= 0), air & (topo >= FIELD_HEIGHT)


def faults(state: np.ndarray, meta: dict, where: str) -> list[str]:
    """Say what looks wrong in a case, one line for each fault.

    Parameters
    ----------
    state : ndarray of shape (12, H, W)
        The case as it is stored.
    meta : dict
    where : str
        File and case, for messages.

    Raises
    ------
    InputError
        If there is no driving wind, or mask and heights contradict each other in most of the air.
    """
    found = [_coordinates(state), _heights(state, where), *_wind(state, meta, where)]
    if state[[U, V, SPEED]].any():
        found += [*_negative(state), _slow(state), _backwards(state)]
    return [f"{where}: {fault}" for fault in found if fault]


def _coordinates(state: np.ndarray) -> str:
    for index, axis, lines in ((COORD_Y, 0, "row to row"), (COORD_X, 1, "column to column")):
        if not np.ptp(state[index], axis=axis).all():
            return f"{NAMES[index]} does not change from {lines}; expected -1 to 1 along it"
    return ""


def _heights(state: np.ndarray, where: str) -> str:
    flat, raised = contradictions(state[GEO_MASK] > 0, state[TOPO])
    if raised.sum() > (state[GEO_MASK] > 0).sum() / 2:
        raise InputError(
            f"{where}: topo is {FIELD_HEIGHT:g} m or more in {raised.sum()} cells of air, most of "
            "it; expected geo_mask 1 in air, 0 in buildings, and topo 0 in air. Is the mask "
            "inverted, or topo an elevation?"
        )
    if (flat | raised).mean() <= CONTRADICTING:
        return ""
    return (
        f"geo_mask contradicts topo, which is 0 in {flat.sum()} cells of buildings and "
        f"{FIELD_HEIGHT:g} m or more in {raised.sum()} cells of air; expected 0 in air and heights "
        "in buildings: correct whichever is wrong"
    )


def _wind(state: np.ndarray, meta: dict, where: str) -> list[str]:
    """Compare the driving wind with a unit vector, and with what ``meta`` says of it."""
    wind = state[[WIND_X, WIND_Y]]
    lengths = np.hypot(*wind[:, state[GEO_MASK] > 0])
    if lengths.min() < OFF_UNIT:
        raise InputError(
            f"{where}: windInitX and windInitY are both 0 in {(lengths < OFF_UNIT).sum()} cells of "
            "air; expected the unit vector of where the driving wind goes"
        )
    found, mean = [], wind[:, state[GEO_MASK] > 0].mean(1)
    if np.abs(lengths - 1).max() > OFF_UNIT:
        found.append(
            f"windInitX and windInitY have a length of {lengths.min():.3g} to {lengths.max():.3g}; "
            "expected a unit vector: divide them by their length"
        )
    if np.ptp(wind, axis=(1, 2)).max() > OFF_UNIT:
        found.append(
            f"windInitX and windInitY differ from cell to cell, by up to "
            f"{np.ptp(wind, axis=(1, 2)).max():.2g}; expected one driving wind everywhere"
        )
    if is_number(meta.get("wind_dir_deg")):
        angle = np.deg2rad(float(meta["wind_dir_deg"]))
        ways = [(np.cos(angle), np.sin(angle))]
        if "row_order" not in meta:  # as in the files of the experiment
            ways.append((np.sin(angle), np.cos(angle)))
        if min(_angle(mean, np.array(way)) for way in ways) > OFF_COURSE:
            found.append(
                f"windInit goes to ({mean[0]:.2f}, {mean[1]:.2f}), but meta['wind_dir_deg'] is "
                f"{meta['wind_dir_deg']:g}; expected where the wind goes, in degrees "
                "counter-clockwise from x: correct whichever is wrong"
            )
    pair = stated_wind(meta)
    if pair is not None and _angle(mean, np.array(pair)) > OFF_COURSE:
        found.append(
            f"windInit goes to ({mean[0]:.2f}, {mean[1]:.2f}), but meta['wind_dir_xy'] is "
            f"({pair[0]:.2f}, {pair[1]:.2f}); correct whichever is wrong"
        )
    return found


def _negative(state: np.ndarray) -> list[str]:
    lows = {index: state[index].min() for index in (SPEED, TKE)}
    return [
        f"{NAMES[index]} goes down to {low:g}; it cannot be negative"
        for index, low in lows.items()
        if low < -1e-3 * max(state[index].max(), 1e-3)
    ]


def _slow(state: np.ndarray) -> str:
    """Compare the mean speed with the speed of the mean wind, which cannot exceed it."""
    air = state[GEO_MASK] > 0
    missing = np.hypot(state[U], state[V])[air] - state[SPEED][air]
    slow = missing > MISSING_SPEED * max(state[SPEED].max(), 1e-3)
    if slow.mean() <= SLOW_CELLS:
        return ""
    return (
        f"Uped is less than |(uped, vped)| in {slow.sum()} of {air.sum()} cells of air, by up to "
        f"{missing.max():.2g} m/s; expected the mean of the horizontal speed, which is never less"
    )


def _backwards(state: np.ndarray) -> str:
    """Compare the mean flow with the driving wind.

    Either component may be called x where ``meta`` does not state the row order, as in the files
    of the experiment, so only a flow against both readings is told.
    """
    air = state[GEO_MASK] > 0
    wind, flow = (state[pair][:, air].mean(1) for pair in ([WIND_X, WIND_Y], [U, V]))
    unit, speed = wind / np.hypot(*wind), state[SPEED][air].mean()
    along = max(float(flow @ unit), float(flow @ unit[::-1]))
    if along >= -BACKWARDS * speed:
        return ""
    return (
        f"the mean flow (uped, vped) goes to ({flow[0]:.2g}, {flow[1]:.2g}), against windInit "
        f"({unit[0]:.2f}, {unit[1]:.2f}); expected where the wind goes, not where it comes from: "
        "reverse windInit"
    )


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    """Return the angle between two vectors, 0 to 180 degrees."""
    cosine = one @ other / (np.hypot(*one) * np.hypot(*other))
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
