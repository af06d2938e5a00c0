"""What people call comfortable: criteria of pedestrian wind, each as its source has it.

A criterion is a list of classes from calm to windy. A place belongs to the first class whose
threshold is exceeded for less than its share of the time; the last class takes what is left.
Thresholds are hourly means at 1.5 to 1.75 m; the fields of the rule are at 2 m. Everything is
counted over the whole year: guidelines that ask for the worst season need a climate of that season.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from pinca_lib.comfort.climate import Climate
from pinca_lib.errors import InputError, shown

PEAK_FACTOR = 3.5  # of a gust of a few seconds: (gust - mean) / sigma
GUST_RATIO = 1.85  # of such a gust to the mean that feels alike


class ComfortClass(NamedTuple):
    """One class of a criterion."""

    name: str
    threshold: float  # m/s; NaN for the last class
    share: float  # of the time, 0...1, for which the threshold is exceeded at most; else NaN
    suitable: str


@dataclass(frozen=True)
class Criterion:
    """A criterion of wind comfort or of danger.

    Attributes
    ----------
    name : str
        As it stands beside a map.
    source : str
    classes : tuple of ComfortClass
        From calm to windy.
    uses_gusts : bool
        Whether it counts the larger of the mean and the gust-equivalent mean speed.
    """

    name: str
    source: str
    classes: tuple[ComfortClass, ...]
    uses_gusts: bool = False


def _criterion(name, source, classes, last, uses_gusts=False) -> Criterion:
    """Return a criterion from (name, threshold, share, suitable) and the last (name, suitable)."""
    rest = ComfortClass(last[0], np.nan, np.nan, last[1])
    return Criterion(name, source, (*(ComfortClass(*kind) for kind in classes), rest), uses_gusts)


_NEN = "NEN 8100:2006, Wind comfort and wind danger in the built environment"
_LAWSON = (
    "T. V. Lawson (1990), The determination of the wind environment of a building complex before "
    "construction, University of Bristol, TVL 9025"
)
_LONDON = "City of London Corporation (2019), Wind microclimate guidelines for developments"
_DAVENPORT = (
    "A. G. Davenport (1972), An approach to human comfort criteria for environmental wind "
    "conditions, Stockholm; in m/s as Isyumov and Davenport (1975) are quoted in practice"
)
_TWICE_A_YEAR = 0.00022  # of the hours

CRITERIA = {
    "NEN 8100": _criterion(
        "NEN 8100 comfort", _NEN,
        [("A", 5.0, 0.025, "traversing, strolling and sitting: good"),
         ("B", 5.0, 0.05, "traversing and strolling: good; sitting: moderate"),
         ("C", 5.0, 0.10, "traversing: good; strolling: moderate; sitting: poor"),
         ("D", 5.0, 0.20, "traversing: moderate; strolling and sitting: poor")],
        ("E", "traversing, strolling and sitting: poor"),
    ),
    "NEN 8100 danger": _criterion(
        "NEN 8100 danger", _NEN,
        [("no risk", 15.0, 0.0005, "everybody"),
         ("limited risk", 15.0, 0.003, "traversing only")],
        ("dangerous", "nobody"),
    ),
    "Lawson 1990": _criterion(
        "Lawson (1990) comfort", _LAWSON,
        [("sitting", 4.0, 0.05, "sitting"),
         ("standing", 6.0, 0.05, "standing, sitting for a short time"),
         ("walking", 8.0, 0.05, "walking, strolling"),
         ("business walking", 10.0, 0.05, "walking from A to B")],
        ("uncomfortable", "nothing"), uses_gusts=True,
    ),
    "Lawson 1990 distress": _criterion(
        "Lawson (1990) distress", _LAWSON,
        [("safe", 15.0, _TWICE_A_YEAR, "everybody"),
         ("unsafe for frail people", 20.0, _TWICE_A_YEAR, "able-bodied people")],
        ("unsafe", "nobody"), uses_gusts=True,
    ),
    "London 2019": _criterion(
        "City of London (2019) comfort", _LONDON,
        [("frequent sitting", 2.5, 0.05, "sitting for long, outdoor dining"),
         ("occasional sitting", 4.0, 0.05, "sitting for a while, public spaces"),
         ("standing", 6.0, 0.05, "standing, entrances, bus stops"),
         ("walking", 8.0, 0.05, "walking")],
        ("uncomfortable", "nothing"),
    ),
    "London 2019 safety": _criterion(
        "City of London (2019) safety", _LONDON,
        [("safe", 15.0, _TWICE_A_YEAR, "everybody")],
        ("unsafe", "nobody"),
    ),
    "Davenport 1972": _criterion(
        "Davenport (1972) comfort", _DAVENPORT,
        [("sitting long", 3.6, 0.015, "sitting for long"),
         ("sitting short", 5.3, 0.015, "sitting for a short time, standing"),
         ("strolling", 7.6, 0.015, "strolling"),
         ("walking fast", 9.8, 0.015, "walking fast")],
        ("uncomfortable", "nothing"),
    ),
    "Davenport 1972 danger": _criterion(
        "Davenport (1972) danger", _DAVENPORT,
        [("safe", 15.1, 0.0001, "everybody")],
        ("dangerous", "nobody"),
    ),
}  # fmt: skip


def find_criterion(name: str | Criterion) -> Criterion:
    """Return a criterion by its short name (``CRITERIA``), in whatever case.

    Raises
    ------
    InputError
        If no criterion has that name.
    """
    if isinstance(name, Criterion):
        return name
    asked = " ".join(str(name).lower().split())
    for known, criterion in CRITERIA.items():
        if asked == known.lower():
            return criterion
    raise InputError(f"criterion={shown(name)}: expected one of {', '.join(CRITERIA)}")


def classify(
    climate: Climate,
    mean_ratios: np.ndarray,
    criterion: str | Criterion,
    gust_ratios: np.ndarray | None = None,
) -> np.ndarray:
    """Return the class of each cell.

    Parameters
    ----------
    climate : Climate
    mean_ratios : ndarray of shape (S, H, W)
        Local mean speed by reference speed under the wind of each sector; NaN in buildings.
    criterion : str or Criterion
    gust_ratios : ndarray of shape (S, H, W), optional
        Gust-equivalent mean speed by reference speed; a criterion of gusts needs it and takes the
        larger of the two under each wind, others do not look at it.

    Returns
    -------
    ndarray of shape (H, W), int8
        Number of the class in ``criterion.classes``; -1 where a ratio is NaN.

    Raises
    ------
    InputError
        If the criterion is unknown, gust ratios are missing, or shapes do not fit.
    """
    criterion = find_criterion(criterion)
    ratios = np.asarray(mean_ratios)
    if criterion.uses_gusts:
        if gust_ratios is None or np.shape(gust_ratios) != ratios.shape:
            raise InputError(
                f"{criterion.name} takes the larger of mean and gust-equivalent mean speed: "
                f"gust_ratios of shape {ratios.shape} are needed"
            )
        ratios = np.maximum(ratios, gust_ratios)
    *classes, _ = criterion.classes
    thresholds = sorted({kind.threshold for kind in classes})
    exceeded = dict(zip(thresholds, climate.exceedance(ratios, thresholds), strict=True))
    found = np.full(ratios.shape[1:], len(classes), np.int8)
    for number, kind in reversed(list(enumerate(classes))):
        found[exceeded[kind.threshold] < kind.share] = number
    found[np.isnan(exceeded[thresholds[0]])] = -1
    return found


def areas(classes: np.ndarray, criterion: str | Criterion, cell: float) -> pd.DataFrame:
    """Return the area of each class.

    Parameters
    ----------
    classes : ndarray of shape (H, W)
        As ``classify`` gives them.
    criterion : str or Criterion
    cell : float
        Side of a cell, m.

    Returns
    -------
    DataFrame
        One row a class, named by it; columns ``suitable``, ``area`` (m²) and ``share`` (0...1 of
        all cells in air, NaN without any).
    """
    kinds = find_criterion(criterion).classes
    counts = np.bincount(classes[classes >= 0].ravel(), minlength=len(kinds))
    total = counts.sum()
    return pd.DataFrame(
        {
            "suitable": [kind.suitable for kind in kinds],
            "area": counts * float(cell) ** 2,
            "share": counts / total if total else np.full(len(kinds), np.nan),
        },
        index=pd.Index([kind.name for kind in kinds], name="class"),
    )


def changes(
    before: np.ndarray, after: np.ndarray, criterion: str | Criterion, cell: float
) -> pd.DataFrame:
    """Return the area that moves from each class to each other one, m².

    Parameters
    ----------
    before, after : ndarray of shape (H, W)
        As ``classify`` gives them; cells in a building before or after are left out.
    criterion : str or Criterion
    cell : float
        Side of a cell, m.

    Returns
    -------
    DataFrame
        Classes before as rows, after as columns.
    """
    names = [kind.name for kind in find_criterion(criterion).classes]
    counts = np.zeros((len(names), len(names)))
    both = (before >= 0) & (after >= 0)
    np.add.at(counts, (before[both], after[both]), float(cell) ** 2)
    rows, columns = pd.Index(names, name="class before"), pd.Index(names, name="after")
    return pd.DataFrame(counts, rows, columns)


def gust_equivalent_mean(speed: np.ndarray, tke: np.ndarray) -> np.ndarray:
    """Return the mean speed that feels like a gust, m/s.

    (U + 3.5 sigma) / 1.85 with sigma^2 = 2/3 TKE, of turbulence alike in all directions: Lawson
    (1990), TVL 9025, as wind-tunnel laboratories use it.

    Parameters
    ----------
    speed : ndarray
        Mean speed U, m/s.
    tke : ndarray of the same shape
        Turbulent kinetic energy, m²/s²; below 0 counts as 0.
    """
    sigma = np.sqrt(2 / 3 * np.maximum(tke, 0))
    return (speed + PEAK_FACTOR * sigma) / GUST_RATIO
