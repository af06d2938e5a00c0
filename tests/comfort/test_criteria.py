"""Classes are those that can be worked out by hand from each criterion's thresholds."""

import math

import numpy as np
import pytest

from pinca_lib.comfort import (
    CRITERIA,
    Climate,
    areas,
    classify,
    find_criterion,
    gust_equivalent_mean,
)
from pinca_lib.comfort.climate import Weibull
from pinca_lib.errors import InputError

EIGHT = np.arange(8) * 45.0
# the same wind from everywhere, A = 5 m/s, k = 2: P(U > Uc) = exp(-(Uc / 5 gamma)^2), so the speed
# that is exceeded for a share P of the time is 5 gamma sqrt(-ln P)
ROUND = Climate("round", EIGHT, np.full(8, 0.125), 0.0,
                weibull=Weibull(np.full(8, 5.0), np.full(8, 2.0)))  # fmt: skip


def ratios(*values) -> np.ndarray:
    return np.broadcast_to(np.array([values]), (8, 1, len(values))).copy()


def classes(criterion, *values, gusts=None) -> list[str]:
    """Return the class of cells with such ratios under every wind."""
    gusts = ratios(*(gusts or [0] * len(values)))
    found = classify(ROUND, ratios(*values), criterion, gusts)
    return [find_criterion(criterion).classes[number].name for number in found[0]]


def test_nen_8100_comfort_by_hand():
    # 5 m/s is exceeded for a share P where gamma = 1 / sqrt(-ln P):
    # 2.5 %: 1 / sqrt(3.68888) = 0.52066     5 %: 1 / sqrt(2.99573) = 0.57776
    # 10 %: 1 / sqrt(2.30259) = 0.65901      20 %: 1 / sqrt(1.60944) = 0.78824
    edges = [0.52066, 0.57776, 0.65901, 0.78824]
    assert classes("NEN 8100", 0.1, *(e - 1e-4 for e in edges)) == ["A", "A", "B", "C", "D"]
    assert classes("NEN 8100", *(e + 1e-4 for e in edges), 3) == ["B", "C", "D", "E", "E"]


def test_nen_8100_danger_by_hand():
    # 15 m/s: gamma = 3 / sqrt(-ln P); 0.05 %: 3 / sqrt(7.60090) = 1.08815
    # 0.3 %: 3 / sqrt(5.80914) = 1.24470
    found = classes("NEN 8100 danger", 1.0880, 1.0883, 1.2446, 1.2448)
    assert found == ["no risk", "limited risk", "limited risk", "dangerous"]


def test_lawson_1990_by_hand():
    # exceeded for 5 % of the time: 5 gamma sqrt(2.99573) = 8.65409 gamma
    # 4 m/s: 0.46221    6: 0.69331    8: 0.92442    10: 1.15552
    found = classes("Lawson 1990", 0.4622, 0.4623, 0.6934, 0.9245, 1.1555, 1.1556)
    assert found == ["sitting", "standing", "walking", "business walking", "business walking",
                     "uncomfortable"]  # fmt: skip


def test_lawson_counts_the_larger_of_mean_and_gust_equivalent_mean():
    assert classes("Lawson 1990", 0.4, 0.7, gusts=[0.7, 0.4]) == ["walking", "walking"]


def test_lawson_distress_by_hand():
    # 0.022 %: -ln 0.00022 = 8.42188, sqrt 2.90205; 15 m/s: 3 / 2.90205 = 1.03375; 20: 1.37834
    found = classes("Lawson 1990 distress", 1.0337, 1.0338, 1.3783, 1.3784)
    assert found == ["safe", "unsafe for frail people", "unsafe for frail people", "unsafe"]


def test_london_2019_by_hand():
    # 8.65409 gamma below 2.5 m/s: 0.28888    4: 0.46221    6: 0.69331    8: 0.92442
    found = classes("London 2019", 0.2888, 0.2889, 0.4623, 0.6934, 0.9245)
    assert found == ["frequent sitting", "occasional sitting", "standing", "walking",
                     "uncomfortable"]  # fmt: skip
    assert classes("London 2019 safety", 1.0337, 1.0338) == ["safe", "unsafe"]


def test_davenport_1972_by_hand():
    # 1.5 %: sqrt(4.19971) = 2.04932; 10.24660 gamma below 3.6 m/s: 0.35134    5.3: 0.51725
    # 7.6: 0.74171    9.8: 0.95641; danger 15.1 m/s for 0.01 %: 3.02 / sqrt(9.21034) = 0.99510
    found = classes("Davenport 1972", 0.3513, 0.3514, 0.5173, 0.7418, 0.9565)
    assert found == ["sitting long", "sitting short", "strolling", "walking fast",
                     "uncomfortable"]  # fmt: skip
    assert classes("Davenport 1972 danger", 0.9950, 0.9952) == ["safe", "dangerous"]


@pytest.mark.parametrize("name", CRITERIA)
def test_more_wind_is_never_a_calmer_class(name):
    values = np.linspace(0, 4, 200)
    found = classify(ROUND, ratios(*values), name, ratios(*values))[0]
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, len(CRITERIA[name].classes) - 1)
    assert found.dtype == np.int8


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_says_where_it_comes_from(name):
    criterion = CRITERIA[name]
    assert any(year in criterion.source for year in ("1972", "1990", "2006", "2019"))
    assert len({kind.name for kind in criterion.classes}) == len(criterion.classes)
    assert all(kind.suitable for kind in criterion.classes)


def test_buildings_have_no_class():
    values = ratios(0.1, 0.9)
    values[2, 0, 0] = np.nan
    assert classify(ROUND, values, "NEN 8100").tolist() == [[-1, 4]]
    gusts = ratios(0.1, np.nan)
    assert classify(ROUND, ratios(0.1, 0.1), "Lawson 1990", gusts).tolist() == [[0, -1]]


def test_areas_add_up_to_the_air():
    found = areas(np.array([[0, 0, 1], [-1, 4, 4]], np.int8), "NEN 8100", 2.0)
    assert found["area"].to_dict() == {"A": 8, "B": 4, "C": 0, "D": 0, "E": 8}
    assert found["share"].tolist() == [0.4, 0.2, 0, 0, 0.4]
    assert areas(np.full((2, 2), -1, np.int8), "NEN 8100", 2.0)["area"].sum() == 0


def test_a_gust_equivalent_mean_by_hand():
    # TKE 1.5 m2/s2: sigma = 1 m/s; (2 + 3.5) / 1.85 = 2.97297; without turbulence 2 / 1.85
    found = gust_equivalent_mean(np.array([2.0, 2.0, np.nan]), np.array([1.5, -1e-9, 0]))
    np.testing.assert_allclose(found, [2.97297, 1.08108, np.nan], rtol=1e-5)


def test_a_gust_equivalent_mean_scales_with_the_wind():
    speed, tke = np.array([0.5, 2.0]), np.array([0.3, 0.1])
    np.testing.assert_allclose(
        gust_equivalent_mean(3 * speed, 9 * tke), 3 * gust_equivalent_mean(speed, tke)
    )


def test_a_criterion_is_found_in_whatever_case_and_an_unknown_one_lists_those_known():
    assert find_criterion(" nen  8100 ") is CRITERIA["NEN 8100"]
    with pytest.raises(InputError, match=r"criterion=Beaufort: .*NEN 8100, .*Davenport 1972"):
        find_criterion("Beaufort")


def test_a_criterion_of_gusts_asks_for_them():
    for gusts in (None, np.ones((8, 2, 2))):
        with pytest.raises(InputError, match="gust_ratios of shape"):
            classify(ROUND, ratios(0.5), "Lawson 1990", gusts)


def test_a_windy_corner_under_one_wind_is_told_from_an_even_one():
    # gamma = 1 from one sector of eight only, else 0: P(U > 5) = 0.125 exp(-1) = 0.0460: class B
    values = np.zeros((8, 1, 1))
    values[3] = 1
    assert 0.125 * math.exp(-1) == pytest.approx(0.0460, abs=1e-4)
    assert classify(ROUND, values, "NEN 8100").item() == 1
