"""Where a place is unlike all that the shipped rules were trained on, from its buildings alone."""

import math
import operator
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from pinca_lib.automaton import CA
from pinca_lib.cities.place import Place
from pinca_lib.cities.town import stored

NARROWEST = 4.0  # m: the narrowest lane of the training data
DENSEST = 0.67  # of the ground built over in a square of ``NEIGHBOURHOOD``: their densest
NEIGHBOURHOOD = 128.0  # m: the side of most of their domains
TALLEST = 60.0  # m: their tallest building, for rules that do not say
FARTHEST = 142.0  # m: of their cells in air, 99.9 % are nearer to a building
REACH = 2.0  # heights of a building: how far around a taller one the wind is in doubt
FARTHEST_LOOK = 600.0  # m: how far a part of a town looks at most, for a building of 300 m
PART = 2000  # cells a side: of a town, looked at at a time


def unlike_training(
    place: Place, rules: Sequence[CA], folder: Path | str = ""
) -> dict[str, np.ndarray]:
    """Return the cells of a site that are unlike the training data, by what is unlike.

    Parameters
    ----------
    place : Place
        Of a town, planes are Dask arrays.
    rules : sequence of CA
        Of which each may say how tall the buildings were that it was trained on.
    folder : Path or str
        Where to keep what was found in a town; without it, it is found anew whenever it is used.

    Returns
    -------
    dict of str to ndarray of shape (h, w), bool
        Cells of the site, row 0 south, in air:

        - ``"near tall buildings"``: within twice the height of a building that is more than a tenth
          taller than any of the training data;
        - ``"narrow lanes"``: where no square of ``NARROWEST`` metres fits between the buildings;
        - ``"far from buildings"``: more than a tenth farther than ``FARTHEST`` from all of them;
        - ``"dense"``: more than ``DENSEST`` of the ground around is built over;
        - ``"height assumed"``: within the height of a building whose height was not given.
    """
    known = min((rule.tallest for rule in rules if rule.tallest is not None), default=TALLEST)
    if place.is_town:
        found = _of_town(place, known, folder)
    else:
        found = _unlike(place.heights, place.assumed, place.grid.cell, known)
    return {name: place.on_site(cells) for name, cells in found.items()}


def _of_town(place: Place, known: float, folder: Path | str) -> dict[str, Any]:
    """Return what ``_unlike`` finds, as Dask arrays: each part with its surroundings by itself."""
    import dask.array

    cell, names = place.grid.cell, list(_unlike(np.zeros((1, 1)), np.zeros((1, 1), bool), 1, known))

    def part(heights: np.ndarray, assumed: np.ndarray) -> np.ndarray:
        found = _unlike(heights, assumed, cell, known).values()
        return np.sum([plane.astype(np.uint8) << bit for bit, plane in enumerate(found)], axis=0)

    planes: list[Any] = [place.heights, place.assumed]
    tallest = float(planes[0].max().compute())
    look = max(min(REACH * tallest, FARTHEST_LOOK), NEIGHBOURHOOD / 2, 1.1 * FARTHEST) + NARROWEST
    bits = dask.array.map_overlap(
        part, *(plane.rechunk(PART) for plane in planes),
        depth=math.ceil(look / cell), boundary="none", dtype=np.uint8, meta=np.empty((0, 0), "u1"),
    )  # fmt: skip
    if str(folder):
        bits = stored(bits, Path(folder) / "unlike.zarr", "unlike the training data")
    return {name: (bits >> bit) & 1 == 1 for bit, name in enumerate(names)}


def _unlike(
    heights: np.ndarray, assumed: np.ndarray, cell: float, known: float
) -> dict[str, np.ndarray]:
    air = heights == 0
    tall = heights > 1.1 * known
    wide = ndimage.binary_opening(np.pad(air, 8, mode="edge"), _square(NARROWEST / cell))
    around = max(1, round(NEIGHBOURHOOD / cell))
    density = ndimage.uniform_filter((~air).astype(float), around, mode="constant")
    found = {
        "near tall buildings": _within(tall, heights, REACH, cell),
        "narrow lanes": ~wide[8:-8, 8:-8],
        "far from buildings": ndimage.distance_transform_edt(air, cell) > 1.1 * FARTHEST,
        "dense": density > DENSEST,
        "height assumed": _within(assumed, heights, 1.0, cell),
    }
    return {name: cells & air for name, cells in found.items()}


def doubtful(found: dict[str, np.ndarray]) -> np.ndarray:
    """Return the cells that are unlike the training data in any way, (h, w), bool."""
    return reduce(operator.or_, found.values())


def doubt_table(place: Place, found: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return which share of the site's open ground is unlike the training data, by what is."""
    air = place.on_site(place.heights) == 0
    rows = found | {"any of these": doubtful(found)}
    shares = [float((cells & air).sum() / air.sum()) for cells in rows.values()]
    return pd.DataFrame({"unlike the training data": list(rows), "share of open ground": shares})


def _square(side: float) -> np.ndarray:
    return np.ones((max(1, round(side)),) * 2, bool)


def _within(cells: np.ndarray, heights: np.ndarray, times: float, cell: float) -> np.ndarray:
    """Return what lies within so many times their height of some cells."""
    if not cells.any():
        return np.zeros_like(cells)
    distance, nearest = ndimage.distance_transform_edt(~cells, cell, return_indices=True)
    return distance <= times * heights[tuple(nearest)]
