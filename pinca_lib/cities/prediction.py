"""The wind over a place: one rollout a wind direction, scaled to a wind that people know."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pinca_lib.automaton import CA
from pinca_lib.channels import PREDICTED, SPEED, TKE, U, V
from pinca_lib.cities.place import Place
from pinca_lib.cities.town import MEMORY, town_fields
from pinca_lib.rollouts import rollout

STEPS = 64  # of a rollout: what the shipped rules are scored at
CELLS_AT_ONCE = 2**18  # of one batch of directions: about a quarter of a gigabyte

FIELD_POWERS = np.array([1, 1, 1, 2, 2, 1])  # of speed, in the units of channels 6-11


@dataclass(frozen=True, eq=False, repr=False)
class WindMaps:
    """Mean fields on the site of a place, one set for each wind direction.

    Attributes
    ----------
    place : Place
    wind_from : tuple of float
        Where each wind comes from, degrees clockwise from the grid's north.
    fields : ndarray of shape (N, 6, h, w), float32
        Channels 6-11 (``pinca_lib.channels``) on the site's cells, row 0 south; NaN in buildings.
        A Dask array in a town.
    scale : tuple of float
        Speeds in ``fields`` are so many times those of the rule's own friction velocity.
    error : ndarray of shape (N, h, w), float32, optional
        Half-width of the error bar of the mean speed, m/s; NaN in buildings.
    """

    place: Place
    wind_from: tuple[float, ...]
    fields: np.ndarray
    scale: tuple[float, ...]
    error: np.ndarray | None = None

    def plane(self, channel: int) -> np.ndarray:
        """Return one channel under every wind, (N, h, w)."""
        return self.fields[:, channel - PREDICTED.start]

    @property
    def wind(self) -> np.ndarray:
        """Mean horizontal wind (u, v), m/s: (N, 2, h, w)."""
        return np.stack([self.plane(U), self.plane(V)], axis=1)

    @property
    def speed(self) -> np.ndarray:
        """Mean speed, m/s: (N, h, w)."""
        return self.plane(SPEED)

    @property
    def tke(self) -> np.ndarray:
        """Turbulent kinetic energy, m²/s²: (N, h, w)."""
        return self.plane(TKE)

    def overview(self) -> "WindMaps":
        """Return the maps themselves, or those of a town thinned to fit into memory."""
        place, fields = self.place.overview(), self.place.thinned(self.fields)
        return replace(self, place=place, fields=fields) if self.place.is_town else self

    def scaled(self, factors: float | Sequence[float]) -> "WindMaps":
        """Return the maps of winds that are stronger by a factor, one for each direction.

        Mean speeds and their gradients scale with the factor, TKE and flux with its square, since
        the flow between buildings does not depend on its Reynolds number.
        """
        each = np.broadcast_to(np.asarray(factors, float), len(self.wind_from))
        powers = each[:, None] ** FIELD_POWERS
        fields = (self.fields * powers[..., None, None]).astype(np.float32)
        scale = tuple(float(s) for s in np.multiply(self.scale, each))
        error = None if self.error is None else self.error * each.astype(np.float32)[:, None, None]
        return replace(self, fields=fields, scale=scale, error=error)


def predict_wind(
    rules: Sequence[CA],
    place: Place,
    wind_from: Sequence[float],
    steps: int = STEPS,
    folder: Path | str = "",
    memory: float = MEMORY,
) -> WindMaps:
    """Roll the wind out over a place, from zero, for each direction.

    A town is rolled out in tiles. If that was stopped, it goes on where it was when it is called
    again with the same folder.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step; on the device that is to be used.
    place : Place
    wind_from : sequence of float
        Where each wind comes from, degrees clockwise from the grid's north.
    steps : int
        Steps of each rollout.
    folder : Path or str
        For the states and results of a town: 148 bytes a cell, and 24 more for each direction.
    memory : float
        Most memory that this process takes for a town, GB.

    Returns
    -------
    WindMaps
        Under the rule's own friction velocity, with ``scale`` 1. Those of a town are read from
        ``folder`` when they are computed.

    Raises
    ------
    InputError
        If a town has no folder, a library for towns is missing, or memory or disk are too small.
    """
    if place.is_town:
        place, fields = town_fields(rules, place, wind_from, steps, folder, memory)
        return WindMaps(place, tuple(wind_from), fields, (1.0,) * len(wind_from))
    cells = place.grid.shape[0] * place.grid.shape[1]
    batch = max(1, CELLS_AT_ONCE // cells)
    device = rules[0].w1.weight.device
    air = place.on_site(place.heights) == 0
    parts = []
    with tqdm(total=len(wind_from), desc="winds", unit="wind", delay=2) as bar:
        for first in range(0, len(wind_from), batch):
            winds = list(wind_from[first : first + batch])
            states = place.states(winds, rules[0].channels).to(device)
            with torch.no_grad():
                after = rollout(rules, states, steps)[:, PREDICTED].cpu().numpy()
            parts.append(np.where(air, place.on_site(after), np.nan).astype(np.float32))
            bar.update(len(winds))
    return WindMaps(place, tuple(wind_from), np.concatenate(parts), (1.0,) * len(wind_from))
