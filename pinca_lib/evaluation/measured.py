"""Wind-tunnel measurements: what a rule, or a simulation, is worth in the real world.

The files in ``data/measured`` hold two benchmark cases of the Architectural Institute of Japan;
their README names the sources. The buildings stand in the middle of a periodic square of 256 m.

- Case C: 3 x 3 cubes of 20 m, 20 m apart. The middle cube is absent (0H), as high as the others
  (1H) or twice as high (2H). The mean speed was measured at 120 probes, 2 m above the ground, for
  three wind directions. The file says that its angles turn from +x towards +y; the symmetry of its
  measurements says the opposite.
- Case A: a prism of 20 x 20 x 40 m. The mean velocity and TKE were measured at 60 probes, 2.5 m
  above the ground.

A periodic square has no inflow, so predicted speeds are scaled to the mean of the measured ones:
the scores describe the pattern of speeds. Its level is a score of its own (``level``).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK, SPEED
from pinca_lib.cities.place import CELL, Grid, Place
from pinca_lib.cities.prediction import WindMaps, predict_wind
from pinca_lib.errors import InputError
from pinca_lib.evaluation.metrics import correlation, distance_to_buildings, fac2, hit_rate

SIDE = 256.0  # m, of the periodic square
CUBE = 20.0  # m, side of a cube, and width of a street, of case C
MIDDLE = {"0H": 0.0, "1H": CUBE, "2H": 2 * CUBE}  # m, height of the middle cube
BIN = 2.0  # m, width of a bin of wall distances
WIDEST = 40.0  # m; larger wall distances count as this
OPEN = 50.0  # m from all buildings, beyond which ground counts as open


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """Buildings in a wind tunnel under one wind, at full scale.

    Attributes
    ----------
    name : str
        Such as ``"AIJ C, 2H, 22.5°"``.
    place : Place
        The buildings; x = y = 0 is the middle.
    wind_from : float
        Where the wind comes from, degrees clockwise from +y.
    probes : ndarray of shape (N, 2)
        x and y of the probes, m.
    speeds : ndarray of shape (N,)
        Measured, relative to a speed of the inflow.
    inflow : float
        Speed of the inflow at the height of the probes, relative to the same.
    scalar : bool
        Whether ``speeds`` are mean speeds (the mean of the speed), not speeds of the mean flow.
    tke : ndarray of shape (N,), optional
        Turbulent kinetic energy, relative to the square of the same speed.
    """

    name: str
    place: Place
    wind_from: float
    probes: np.ndarray
    speeds: np.ndarray
    inflow: float
    scalar: bool = True
    tke: np.ndarray | None = None

    def plane(self, maps: WindMaps) -> np.ndarray:
        """Return the predicted speeds that are comparable with the measured ones, (H, W), m/s."""
        return maps.speed[0] if self.scalar else np.hypot(*maps.wind[0])


def measured_cases(folder: Path | str) -> list[MeasuredCase]:
    """Read the measured cases: nine of case C, then case A.

    Parameters
    ----------
    folder : Path or str
        Holds ``aij_case_c.json`` and ``aij_case_a.json``.

    Raises
    ------
    InputError
        If a file is missing or is not one of these.
    """
    return [*_case_c(_read(Path(folder) / "aij_case_c.json")),
            _case_a(_read(Path(folder) / "aij_case_a.json"))]  # fmt: skip


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name}: no measurements can be read ({error})") from error


def _case_c(file: dict) -> Iterator[MeasuredCase]:
    scale = 100  # the model is 1:100
    for variant, height in MIDDLE.items():
        cubes = [(2 * i * CUBE, 2 * j * CUBE, CUBE if i or j else height)
                 for i in (-1, 0, 1) for j in (-1, 0, 1)]  # fmt: skip
        for direction in file["directions"]:
            angle, probes = direction["sourceAngleDegrees"], direction["probes"]
            yield MeasuredCase(
                f"AIJ C, {variant}, {angle:g}°",
                _square(cubes),
                270 + angle,
                scale * np.array([(probe["x"], probe["y"]) for probe in probes]),
                np.array([probe["speedByVariant"][variant] for probe in probes]),
                inflow=1.0,
            )


def _case_a(file: dict) -> MeasuredCase:
    plane = next(p for p in file["planes"] if p["name"] == "horizontal-0.125b")
    points = plane["points"]
    inflow = {level["zOverB"]: level["U"] for level in file["inflow"]}
    return MeasuredCase(
        "AIJ A",
        _square([(0.0, 0.0, 2 * CUBE)]),
        270.0,
        CUBE * np.array([(point["xOverB"], point["yOverB"]) for point in points]),
        np.array([np.hypot(point["U"], point["V"]) for point in points]) / file["uRefMps"],
        inflow=inflow[0.125] / file["uRefMps"],
        scalar=False,
        tke=np.array([point["k"] for point in points]) / file["uRefMps"] ** 2,
    )


def _square(cubes: Sequence[tuple[float, float, float]]) -> Place:
    """Return a place with cubes of 20 m at (x, y) in m, with the given heights."""
    count = round(SIDE / CELL)
    middle = CELL * (np.arange(count) + 0.5) - SIDE / 2
    heights = np.zeros((count, count), np.float32)
    for x, y, height in cubes:
        inside = [np.abs(middle - at) < CUBE / 2 for at in (y, x)]
        heights[np.ix_(*inside)] = height
    grid = Grid(-SIDE / 2, -SIDE / 2, CELL, heights.shape)
    return Place("wind tunnel", grid, heights, heights < 0, (slice(count), slice(count)))


def predicted_speeds(rules: Sequence[CA], case: MeasuredCase, steps: int = 64) -> np.ndarray:
    """Return the plane of speeds that rules predict, comparable with a case's measurements.

    Parameters
    ----------
    rules : sequence of CA
    case : MeasuredCase
    steps : int
        Steps of the rollout.

    Returns
    -------
    ndarray of shape (H, W)
        m/s under the rules' own friction velocity; NaN in buildings.
    """
    return case.plane(predict_wind(rules, case.place, [case.wind_from], steps))


def at_probes(plane: np.ndarray, case: MeasuredCase, within: float = 0.0) -> np.ndarray:
    """Read a plane at the probes of a case.

    Parameters
    ----------
    plane : ndarray of shape (H, W)
        On the grid of the case's place, row 0 south; the values in buildings are not used.
    case : MeasuredCase
    within : float
        0 reads the nearest cell in air, or the mean of those that are equally near. Otherwise,
        the mean of the cells in air whose middle is at most this far away, m.

    Returns
    -------
    ndarray of shape (N,)
    """
    grid = case.place.grid
    rows, columns = np.nonzero(case.place.heights == 0)
    x = grid.west + grid.cell * (columns + 0.5)
    y = grid.south + grid.cell * (rows + 0.5)
    values = plane[rows, columns]
    found = []
    for probe in case.probes:
        distance = np.hypot(x - probe[0], y - probe[1])
        near = distance <= max(within, distance.min() + 1e-6)
        found.append(values[near].mean())
    return np.array(found)


def compare(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Score predicted speeds at probes against measured ones, (N,) each.

    Returns
    -------
    dict of str to float
        After scaling to the mean of the measured speeds by ``factor``: Pearson's correlation
        ``r``; ``hit_rate``, the share within 25 % (VDI 3783-9); ``fac2``, the share within a
        factor of two; ``slope`` of the least-squares line of predicted over measured speed.
    """
    factor = measured.mean() / predicted.mean()
    scaled = factor * predicted
    return {
        "r": correlation(scaled, measured),
        "hit_rate": hit_rate(scaled, measured, w=0),
        "fac2": fac2(scaled, measured, w=0),
        "slope": float(np.polyfit(measured, scaled, 1)[0]),
        "factor": float(factor),
    }


def level(plane: np.ndarray, case: MeasuredCase, within: float = 0.0) -> float:
    """Return how many times the measured speeds the predicted ones are, in the mean.

    Both are relative to the speed at the same height far from all buildings: the measured ones to
    that of the inflow, the predicted ones to their median over the ground that is farther than
    ``OPEN`` from all buildings. NaN if there is no such ground.

    Parameters
    ----------
    plane, case, within
        As ``at_probes``.
    """
    place = case.place
    is_open = ndimage.distance_transform_edt(place.heights == 0, place.grid.cell) > OPEN
    in_the_open = np.median(plane[is_open]) if is_open.any() else np.nan
    predicted = at_probes(plane, case, within).mean() / in_the_open
    return float(predicted * case.inflow / case.speeds.mean())


def errors_at_probes(maps: WindMaps, case: MeasuredCase) -> tuple[np.ndarray, np.ndarray]:
    """Return how far predicted speeds are off at the probes, and the half-widths of their bars.

    Parameters
    ----------
    maps : WindMaps
        Of the case's place under its wind, with an ``error``.
    case : MeasuredCase

    Returns
    -------
    (ndarray of shape (N,), ndarray of shape (N,))
        m/s under the rules' own friction velocity; the measured speeds are scaled to the mean of
        the predicted ones.
    """
    assert maps.error is not None
    speeds, half = at_probes(case.plane(maps), case), at_probes(maps.error[0], case)
    return speeds - case.speeds * speeds.mean() / case.speeds.mean(), half


class Openness:
    """Baseline that knows only how far the walls are: no wind direction, no upwind, no heights.

    Parameters
    ----------
    cases : sequence of Tensor of shape (12, H, W)
        Training cases; their mean speed is averaged over bins of the distance to the nearest wall.
    cell : float
        Side of their cells, m.
    """

    def __init__(self, cases: Sequence[Tensor], cell: float = CELL):
        airs = [case[GEO_MASK].numpy() > 0 for case in cases]
        bins = np.concatenate([_bins(air, cell)[air] for air in airs])
        speeds = np.concatenate(
            [case[SPEED].numpy()[air] for case, air in zip(cases, airs, strict=True)]
        )
        count = np.bincount(bins)
        self.speeds = np.bincount(bins, speeds) / np.maximum(count, 1)
        self.speeds[count == 0] = self.speeds[count > 0][-1]

    def __call__(self, place: Place) -> np.ndarray:
        """Return the plane of mean speeds over a place, (H, W), m/s."""
        bins = _bins(place.heights == 0, place.grid.cell)
        return self.speeds[np.minimum(bins, len(self.speeds) - 1)]


def _bins(air: np.ndarray, cell: float) -> np.ndarray:
    height, width = air.shape
    distance = distance_to_buildings(air, (height * cell, width * cell))
    return (np.minimum(distance, WIDEST) / BIN).astype(int)
