"""What the viewer shows: a simulated case, or a place under a wind that people know."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import CA, wind_direction
from pinca_lib.channels import GEO_MASK, KNOWN_COUNT, PREDICTED, TOPO
from pinca_lib.cities import (
    ROUGHNESSES,
    FrictionVelocity,
    Place,
    WindMaps,
    brush,
    friction_velocity,
)
from pinca_lib.cities.prediction import FIELD_POWERS
from pinca_lib.datasets import WindDataset
from pinca_lib.errors import InputError
from pinca_lib.evaluation import doubtful, doubts, unlike_training

MOST_CELLS = 1500**2  # of a place, margins included: 3 km at 2 m


class ReferenceWind(NamedTuple):
    """A wind as people know it; its direction is part of the state."""

    speed: float = 5.0  # m/s
    height: float = 10.0  # m above ground, at which it blows
    roughness: str = "open ground"  # over which it blows: a name, or a roughness length in m


def wind_from(state: Tensor) -> float:
    """Return where the driving wind of a state (C, H, W) comes from, degrees clockwise from north.

    Rounded to a tenth of a degree.
    """
    return round(270 - wind_direction(state), 1) % 360


class Scene:
    """A city with its driving wind, and what of it is shown.

    Attributes
    ----------
    name : str
    start : Tensor of shape (>= 6, H, W)
        Of which a rollout starts from the base channels.
    extent : (float, float)
        Height and width of the whole domain, m.
    site : (slice, slice)
        Rows and columns that are shown.
    simulation : Tensor of shape (12, H, W), or None
    has_dwdz : bool
        Whether channel 11 was simulated.
    notes : tuple of str
        What was noticed when it was read.
    """

    def __init__(
        self,
        name: str,
        start: Tensor,
        extent: tuple[float, float],
        site: tuple[slice, slice] | None = None,
        notes: Iterable[str] = (),
    ):
        height, width = start.shape[-2:]
        self.name, self.start, self.extent = name, start, extent
        self.site = site or (slice(0, height), slice(0, width))
        self.simulation: Tensor | None = None
        self.has_dwdz = False
        self.notes = tuple(notes)

    @property
    def shown_shape(self) -> tuple[int, int]:
        """Height and width in cells of what is shown."""
        rows, columns = self.site
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def shown_extent(self) -> tuple[float, float]:
        """Height and width in metres of what is shown."""
        (rows, columns), (height, width) = self.shown_shape, self.start.shape[-2:]
        return self.extent[0] * rows / height, self.extent[1] * columns / width

    def brushed(self, points: Iterable[tuple[int, int]], radius: float) -> Tensor:
        """Return the cells (H, W) under a brush; points count from the first cell shown."""
        rows, columns = self.site
        moved = [(row + rows.start, column + columns.start) for row, column in points]
        height, width = self.start.shape[-2:]
        covered = brush((height, width), moved, radius)
        cells = torch.zeros_like(covered)
        cells[self.site] = covered[self.site]
        return cells

    def shown(self, state: Tensor, wind: ReferenceWind) -> Tensor:
        """Return channels 0-11 of a state (>= 12, H, W) as they are shown, (12, h, w)."""
        return state[:KNOWN_COUNT]

    def remarks(self, state: Tensor, rules: Sequence[CA], wind: ReferenceWind) -> list[str]:
        """Return what people should know about what they see, a sentence each."""
        return list(self.notes)


class CaseScene(Scene):
    """A case of a city file.

    Parameters
    ----------
    case : WindDataset
        A data set of one case.
    """

    def __init__(self, case: WindDataset):
        height, width = case.extents[0].tolist()
        notes = case.remarks.values()
        super().__init__(case.names[0], case.states[0], (height, width), notes=notes)
        if case.has_fields[0]:
            self.simulation, self.has_dwdz = case.states[0], bool(case.has_dwdz[0])
        self._case = case
        self._doubts: tuple[Sequence[CA], str] = ((), "")

    def remarks(self, state: Tensor, rules: Sequence[CA], wind: ReferenceWind) -> list[str]:
        """Return what was noticed, and how the case differs from the training data."""
        if self._doubts[0] is not rules:
            self._doubts = rules, doubts(self._case, rules)
        return [*self.notes, *filter(None, [self._doubts[1]])]


class PlaceScene(Scene):
    """A place, which nobody has simulated.

    Parameters
    ----------
    place : Place
    direction : float
        Where the wind comes from at first, degrees clockwise from the grid's north.

    Raises
    ------
    InputError
        If the place is too large for the viewer.
    """

    def __init__(self, place: Place, direction: float):
        height, width = place.grid.shape
        if height * width > MOST_CELLS:
            raise InputError(
                f"{place.name}: {width * height:,} cells with the margin are too many for the "
                f"viewer; expected at most {MOST_CELLS:,}. Choose a part with site="
            )
        start = place.states([direction], KNOWN_COUNT)[0]
        super().__init__(place.name, start, place.extent, place.site, place.remarks)
        self.place = place
        self.corner = place.site_grid.west, place.site_grid.south  # of what is shown, m
        self._edited = place
        self._unlike: tuple[Place, Sequence[CA], dict[str, np.ndarray]] | None = None
        self._frictions: dict[tuple[ReferenceWind, float], FrictionVelocity] = {}

    def edited(self, state: Tensor) -> Place:
        """Return the place with the buildings of a state (>= 6, H, W)."""
        heights, edited = state[TOPO].cpu().numpy(), self._edited
        if not np.array_equal(heights, edited.heights):
            assumed = self.place.assumed & (heights == self.place.heights)
            edited = replace(self.place, heights=heights.copy(), assumed=assumed)
            self._edited = edited
        return edited

    def friction(self, wind: ReferenceWind, direction: float) -> FrictionVelocity:
        """Return the friction velocity over the place as it was brought, under a wind.

        Raises
        ------
        InputError
            As ``cities.friction_velocity``.
        """
        key = wind, direction
        if key not in self._frictions:
            place = self.place
            self._frictions[key] = friction_velocity(*wind, place.heights, place.grid.cell,
                                                     direction)  # fmt: skip
        return self._frictions[key]

    def shown(self, state: Tensor, wind: ReferenceWind) -> Tensor:
        """Return the site's part of channels 0-11, in m/s under a wind."""
        scale = self.friction(wind, wind_from(state)).scale
        shown = state[(slice(0, KNOWN_COUNT), *self.site)].clone()
        shown[PREDICTED] *= torch.as_tensor(scale**FIELD_POWERS).to(shown)[:, None, None]
        return shown

    def maps(self, state: Tensor, wind: ReferenceWind) -> WindMaps:
        """Return the maps of a state under a wind."""
        direction, shown = wind_from(state), self.shown(state, wind).cpu().numpy()
        fields = np.where(shown[GEO_MASK] > 0, shown[PREDICTED], np.nan).astype(np.float32)
        scale = self.friction(wind, direction).scale
        return WindMaps(self.edited(state), (direction,), fields[None], (scale,))

    def unlike(self, state: Tensor, rules: Sequence[CA]) -> dict[str, np.ndarray]:
        """Return the cells (h, w) that are unlike the training data, by what is unlike."""
        place, known = self.edited(state), self._unlike
        if known is None or known[0] is not place or known[1] is not rules:
            self._unlike = known = place, rules, unlike_training(place, rules)
        return known[2]

    def remarks(self, state: Tensor, rules: Sequence[CA], wind: ReferenceWind) -> list[str]:
        """Return the wind over the place, where not to trust it, and what was noticed."""
        found, direction = self.friction(wind, wind_from(state)), wind_from(state)
        low, high = (f"{edge / found.value - 1:+.0%}" for edge in (found.low, found.high))
        named = wind.roughness in ROUGHNESSES
        ground = wind.roughness if named else f"ground of roughness {wind.roughness} m"
        return [
            f"Wind from {direction:g}°, {wind.speed:g} m/s at {wind.height:g} m over {ground}: the "
            f"friction velocity over this place is {found.value:.2f} m/s ({found.low:.2f} to "
            f"{found.high:.2f}), so speeds are uncertain by {low} to {high}.",
            *self._doubts(state, rules),
            *self.notes,
        ]

    def _doubts(self, state: Tensor, rules: Sequence[CA]) -> list[str]:
        unlike, air = self.unlike(state, rules), state[(GEO_MASK, *self.site)].cpu().numpy() > 0
        everywhere = doubtful(unlike)
        if not everywhere.any():
            return []
        parts = [f"{name} {cells[air].mean():.1%}" for name, cells in unlike.items() if cells.any()]
        return [
            f"Hatched: {everywhere[air].mean():.1%} of the open ground is unlike the training data "
            f"({', '.join(parts)}). Do not rely on it there."
        ]
