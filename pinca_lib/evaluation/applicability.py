"""Doubts: in what cases differ from all that rules were trained on."""

import math
from collections.abc import Sequence

from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import TOPO
from pinca_lib.datasets import WindDataset

TOLERANCE = 1.1  # so many times beyond what a rule saw is still like it


def doubts(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Say which cases are not such as the rules were trained on; "" if none is known to be."""
    found = (check(dataset, rules) for check in (_unstated_rows, _other_cells, _taller))
    return "; ".join(filter(None, found))


def _unstated_rows(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Say which cases may be mirrored, if the rules can tell a left turn of the wind."""
    unsure = ~dataset.rows_stated
    if not unsure.any() or not any(rule.follows_wind for rule in rules):
        return ""
    return (
        f"{_those(dataset, unsure)}, have no 'row_order' in meta (south_first or north_first): the "
        "rules follow the wind as if it were south_first, and where it is not, theirs is the wind "
        "of another city"
    )


def _other_cells(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Say which cases have other cells than the rules were trained on.

    A rule knows its neighbourhood by counting cells: on cells of another size than it ever saw, its
    wind is that of another city.
    """
    for least, most in {rule.cells for rule in rules if rule.cells}:
        limits = least / TOLERANCE, most * TOLERANCE
        apart = _outside(dataset.cell_sizes, *limits)
        if not apart.any():
            continue
        first = int(apart.int().argmax())
        side = max(1, round(float(dataset.extents[first].mean()) / math.sqrt(least * most)))
        is_mended = not _outside(dataset.extents[apart] / side, *limits).any()
        known = f"{least:.3g} m" if most < least * TOLERANCE else f"{least:.3g} to {most:.3g} m"
        height, width = dataset.cell_sizes[first]
        return (
            f"{_those(dataset, apart)}, have other cells ({height:.3g} m × {width:.3g} m) than "
            f"what the rules were trained on ({known}): do not trust the wind there"
            + (f"; image_size={side} makes them so" if is_mended else "")
        )
    return ""


def _outside(sizes: Tensor, least: float, most: float) -> Tensor:
    """Return which of (N, 2) sizes have one beyond the limits: (N,)."""
    return ((sizes < least) | (sizes > most)).any(dim=1)


def _taller(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Say which cases have taller buildings than the rules saw."""
    known = min((rule.tallest for rule in rules if rule.tallest is not None), default=math.inf)
    heights = dataset.states[:, TOPO].amax((1, 2))
    taller = heights > known * TOLERANCE
    if not taller.any():
        return ""
    return (
        f"{_those(dataset, taller)}, have buildings of up to {heights.max():.3g} m, where the "
        f"rules were trained on up to {known:.3g} m: the wind around these is a guess"
    )


def _those(dataset: WindDataset, which: Tensor) -> str:
    """Count the cases that are meant, and name the first."""
    first = dataset.names[int(which.int().argmax())]
    return f"{int(which.sum())} of {len(dataset)} cases, such as {first}"
