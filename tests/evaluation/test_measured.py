"""Rules are scored against what was measured in a wind tunnel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pinca_lib import CA
from pinca_lib.channels import GEO_MASK, KNOWN_COUNT, SPEED
from pinca_lib.errors import InputError
from pinca_lib.evaluation import (
    Openness,
    at_probes,
    compare,
    level,
    measured_cases,
    predicted_speeds,
)  # fmt: skip
from pinca_lib.runs import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "data" / "measured"


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in measured_cases(FOLDER)}


def middle_of(case):
    """The middles of the grid's cells, x and y (H, W)."""
    grid = case.place.grid
    y, x = np.indices(grid.shape) + 0.5
    return grid.west + grid.cell * x, grid.south + grid.cell * y


def test_all_cases_are_there_with_their_buildings(cases):
    assert len(cases) == 10
    for name, tallest, built in (("0H", 20, 8), ("1H", 20, 9), ("2H", 40, 9)):
        for angle in ("0°", "22.5°", "45°"):
            case = cases[f"AIJ C, {name}, {angle}"]
            assert len(case.probes) == len(case.speeds) == 120
            assert case.place.heights.max() == tallest
            assert (case.place.heights > 0).sum() * 4 == built * 20 * 20  # m²
    tower = cases["AIJ A"]
    assert tower.place.heights.max() == 40
    assert not tower.scalar
    assert tower.tke.shape == tower.speeds.shape
    assert 0 < tower.tke.min() < tower.tke.max() < 0.2  # of the inflow's square at roof height
    assert (tower.place.heights > 0).sum() * 4 == 20 * 20


def test_no_probe_lies_in_a_building(cases):
    for case in cases.values():
        inside = at_probes((case.place.heights > 0).astype(float), case, within=0)
        assert not inside.any()
        x, y = middle_of(case)
        for probe in case.probes:
            nearest = np.hypot(x - probe[0], y - probe[1])
            assert case.place.heights[nearest <= nearest.min() + 1e-6].min() == 0, case.name


def test_the_wind_turns_from_x_towards_minus_y(cases):
    winds = [cases[f"AIJ C, 1H, {a}"].wind_from for a in ("0°", "22.5°", "45°")]
    assert winds == [270, 292.5, 315]  # from west, then more and more from north


@pytest.mark.parametrize("variant", ["0H", "1H", "2H"])
def test_at_45_degrees_the_measurements_are_symmetric_about_that_wind(cases, variant):
    case = cases[f"AIJ C, {variant}, 45°"]
    x, y = case.probes.T

    def agreement(mirrored):
        """The correlation between probes and their mirror images."""
        apart = np.hypot(*(case.probes[:, None] - mirrored).T)  # (image, probe)
        found, at = np.nonzero(apart < 0.5)
        found, at = found[found != at], at[found != at]
        assert len(found) > 100
        return np.corrcoef(case.speeds[found], case.speeds[at])[0, 1]

    assert agreement(np.stack([-y, -x], axis=1)) > 0.95  # about x = -y, along which it blows
    assert agreement(np.stack([y, x], axis=1)) < 0.5


def test_a_probe_reads_the_nearest_cell_in_air(cases):
    case = cases["AIJ C, 1H, 0°"]
    x, y = middle_of(case)
    probes = np.array([[31.0, 17.0], [30.9, 17.2], [32.0, 17.0], [10.5, 0.0]])
    case = replace(case, probes=probes)
    read = at_probes(x, case)
    assert read[:2] == pytest.approx([31, 31])
    assert read[2] == pytest.approx(32)  # on the border of two cells: their mean
    assert read[3] == pytest.approx(11)  # the cell at 9 m is in the cube
    wide = at_probes(x, case, within=4)
    inside = np.hypot(x - 31, y - 17) <= 4
    assert wide[0] == pytest.approx(x[inside & (case.place.heights == 0)].mean())


def test_scores_of_known_predictions():
    measured = np.array([1.0, 2.0, 4.0])
    perfect = compare(3 * measured, measured)
    assert perfect == pytest.approx({"r": 1, "hit_rate": 1, "fac2": 1, "slope": 1, "factor": 1 / 3})
    # Scaled to the mean 7/3: 7/3 each, which is off by 133, 17 and 42 %.
    flat = compare(np.array([1.0, 1.0, 1.0 + 1e-12]), measured)
    assert (flat["hit_rate"], flat["fac2"]) == pytest.approx((1 / 3, 2 / 3))
    assert flat["slope"] == pytest.approx(0, abs=1e-9)


def test_the_level_compares_both_with_the_open_ground(cases):
    cubes, tower = cases["AIJ C, 1H, 0°"], cases["AIJ A"]
    assert cubes.inflow == 1
    assert tower.inflow == pytest.approx(2.935 / 4.491)  # at 2.5 m and at the height of the tower
    for case in (cubes, tower):
        x, y = middle_of(case)
        is_far = np.maximum(np.abs(x), np.abs(y)) > 90  # most of the open ground, and no probe
        plane = np.where(is_far, 3.0, 6 * case.speeds.mean() / case.inflow)
        assert level(plane, case) == pytest.approx(2)


def test_openness_is_the_mean_speed_by_distance(cases):
    case = torch.zeros(KNOWN_COUNT, 8, 8)
    case[GEO_MASK] = 1
    case[GEO_MASK, 0] = 0
    rows = torch.tensor([0, 1, 2, 3, 4, 3, 2, 1])  # cells to the nearest wall, periodic
    case[SPEED] = rows[:, None] * 0.1
    openness = Openness([case])
    plane = openness(cases["AIJ A"].place)
    beside = replace(cases["AIJ A"], probes=np.array([[11.0, 1.0], [13.0, 1.0], [100.0, 1.0]]))
    assert at_probes(plane, beside) == pytest.approx([0.1, 0.2, 0.4])


def test_a_rule_is_rolled_out_over_the_tunnel(cases):
    case = cases["AIJ A"]
    plane = predicted_speeds([CA()], case, steps=1)  # an untrained rule predicts nothing
    assert plane.shape == case.place.grid.shape
    assert np.isnan(plane[case.place.heights > 0]).all()
    assert (plane[case.place.heights == 0] == 0).all()


def test_a_folder_without_measurements_is_named(tmp_path):
    with pytest.raises(InputError, match="aij_case_c.json"):
        measured_cases(tmp_path)
