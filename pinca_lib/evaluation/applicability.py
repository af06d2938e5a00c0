"""Warn about cases that differ from the data that rules were trained on."""

import math
from collections.abc import Sequence

from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import TOPO
from pinca_lib.datasets import WindDataset

TOLERANCE = 1.1  # factor by which a case may exceed the training data without a warning


def doubts(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Describe the cases that differ from the data that the rules were trained on.

    Three things are checked: the row order, the size of the cells, and the height of the buildings.

    Parameters
    ----------
    dataset : WindDataset
        The cases.
    rules : sequence of CA
        A rule without information about its training data (``cells``, ``tallest``) is not checked
        for it.

    Returns
    -------
    str
        One line for people; empty if no difference is found.
    """
    messages = (check(dataset, rules) for check in (_unstated_rows, _other_cells, _taller))
    return "; ".join(filter(None, messages))


def _unstated_rows(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Describe the cases without a row order, if a rule uses the wind frame.

    If the rows are in fact north first, such a rule sees a mirrored city.
    """
    unstated = ~dataset.rows_stated
    if not unstated.any() or not any(rule.follows_wind for rule in rules):
        return ""
    return (
        f"{_count(dataset, unstated)}, have no 'row_order' in meta (south_first or north_first): "
        "the rules assume south_first; if that is wrong, they predict the wind of a mirrored city"
    )


def _other_cells(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Describe the cases whose cells are smaller or larger than those of the training data.

    A rule measures distances in cells. On cells of another size it therefore predicts the wind of
    a smaller or larger city.
    """
    for least, most in {rule.cells for rule in rules if rule.cells}:
        limits = least / TOLERANCE, most * TOLERANCE
        differs = _outside(dataset.cell_sizes, *limits)
        if not differs.any():
            continue
        first = int(differs.int().argmax())
        side = max(1, round(float(dataset.extents[first].mean()) / math.sqrt(least * most)))
        can_be_resized = not _outside(dataset.extents[differs] / side, *limits).any()
        known = f"{least:.3g} m" if most < least * TOLERANCE else f"{least:.3g} to {most:.3g} m"
        height, width = dataset.cell_sizes[first]
        return (
            f"{_count(dataset, differs)}, have cells of {height:.3g} m × {width:.3g} m, where the "
            f"rules were trained on {known}: do not trust the wind there"
            + (f"; image_size={side} gives cells of the right size" if can_be_resized else "")
        )
    return ""


def _outside(sizes: Tensor, least: float, most: float) -> Tensor:
    """Return which of N pairs (N, 2) have a number outside the limits: (N,), bool."""
    return ((sizes < least) | (sizes > most)).any(dim=1)


def _taller(dataset: WindDataset, rules: Sequence[CA]) -> str:
    """Describe the cases with taller buildings than those of the training data."""
    known = min((rule.tallest for rule in rules if rule.tallest is not None), default=math.inf)
    heights = dataset.states[:, TOPO].amax((1, 2))
    taller = heights > known * TOLERANCE
    if not taller.any():
        return ""
    return (
        f"{_count(dataset, taller)}, have buildings of up to {heights.max():.3g} m, where the "
        f"rules were trained on up to {known:.3g} m: do not trust the wind around these"
    )


def _count(dataset: WindDataset, which: Tensor) -> str:
    """Return the number of selected cases and the name of the first."""
    first = dataset.names[int(which.int().argmax())]
    return f"{int(which.sum())} of {len(dataset)} cases, such as {first}"
