"""A wind that people know becomes the wind of the rule, by laws that can be worked out by hand."""

import math

import numpy as np
import pytest

from pinca_lib.channels import GEO_MASK, SPEED, TOPO, WIND_X, WIND_Y
from pinca_lib.cities.reference_wind import (
    ROUGHNESSES,
    Morphology,
    friction_velocity,
    kanda,
    macdonald,
    morphology,
    open_speed,
    roughness_length,
    wind_directions,
)
from pinca_lib.datasets import list_cases, load_case
from pinca_lib.errors import InputError
from pinca_lib.evaluation import distance_to_buildings
from pinca_lib.runs import PROJECT_ROOT

CELL = 2.0  # m


@pytest.fixture
def cubes() -> np.ndarray:
    """25 cubes of 10 m, 10 m apart, in the middle of open ground."""
    heights = np.zeros((70, 70))
    for row in range(10, 60, 10):
        for column in range(10, 60, 10):
            heights[row : row + 5, column : column + 5] = 10
    return heights


def test_cubes_a_height_apart_cover_a_quarter_and_face_the_wind_with_a_quarter(cubes):
    # the rectangle is 90 m wide, 100 m with half a height around it: 25 x 100 m2 / 10000 m2
    for wind_from in (0, 90, 180, 270):
        found = morphology(cubes, CELL, wind_from)
        assert found[:4] == pytest.approx((10, 0.25, 0.25, 100))
        assert found.exposed == pytest.approx(2500 / 140**2)


def test_a_wind_across_the_corners_meets_both_walls_less_a_cell_of_each_block(cubes):
    # sqrt(1/2) (10 + 10) m x 10 m a cube; the two outer corners take a cell of 2 m from 20 m
    found = morphology(cubes, CELL, 225)
    assert found.frontal == pytest.approx(math.sqrt(0.5) * (20 - 2) * 10 * 25 / 10000)


def test_a_slanting_wall_is_one_wall_and_not_the_stairs_that_a_grid_makes_of_it():
    rows, columns = np.mgrid[:120, :120]
    along, across = (rows + columns) / math.sqrt(2), (rows - columns) / math.sqrt(2)
    block = np.where((abs(across) < 5) & (abs(along - 84) < 40), 10.0, 0.0)
    broad, slim = (morphology(block, CELL, degrees).frontal for degrees in (135, 45))
    assert broad / slim == pytest.approx(80 / 10, rel=0.15)


def test_what_a_wind_meets_does_not_depend_on_its_sense_nor_on_where_the_town_lies(cubes):
    for wind_from in (10, 77, 200):
        here = morphology(cubes, CELL, wind_from)
        assert morphology(cubes, CELL, (wind_from + 180) % 360) == pytest.approx(here)
        assert morphology(np.roll(cubes, (3, -7), (0, 1)), CELL, wind_from) == pytest.approx(here)
        assert morphology(cubes.T, CELL, 90 - wind_from) == pytest.approx(here)
        twice = morphology(2 * cubes, 2 * CELL, wind_from)
        same = here.plan, here.frontal, 2 * here.width, here.exposed
        assert twice == pytest.approx((20, *same, 0, 20))


def test_the_formulas_for_a_quarter_of_cubes():
    # 4.43^-0.25 = exp(-0.25 x 1.4884) = 0.68929; d/H = 1 - 0.75 x 0.68929 = 0.48303
    # 0.5 x 1.2 / 0.16 = 3.75; 3.75 x 0.51697 x 0.25 = 0.48466; 0.48466^-0.5 = 1.43642
    # z0/H = 0.51697 x exp(-1.43642) = 0.51697 x 0.23778 = 0.12292
    city = Morphology(10, 0.25, 0.25, tallest=10)
    assert macdonald(city) == pytest.approx((1.2292, 4.8303), abs=1e-4)
    # equal heights: 0.71 x 1.2292; 1.29 x 0.25^0.36 = 1.29 x 0.60710 = 0.78316
    z0, displacement = kanda(city)
    assert z0 == pytest.approx(0.87276, abs=1e-4)
    assert displacement == pytest.approx(7.8316, abs=1e-4)


def test_the_formulas_for_a_city_whose_heights_differ():
    # X = (5 + 10) / 30 = 0.5; d = (-0.17 x 0.5 + 0.78316 + 0.17) x 0.5 x 30 = 13.0224
    # Y = 0.25 x 5 / 10 = 0.125; 0.71 + 20.21 / 64 - 0.77 / 8 = 0.92953; x 1.2292 = 1.14262
    z0, displacement = kanda(Morphology(10, 0.25, 0.25, deviation=5, tallest=30))
    assert displacement == pytest.approx(13.0224, abs=1e-4)
    assert z0 == pytest.approx(1.14262, abs=1e-4)


def test_heights_that_differ_are_measured_over_what_is_built(cubes):
    # three of five rows of cubes of 40 m
    cubes[30:][cubes[30:] > 0] = 40
    found = morphology(cubes, CELL, 0)
    assert (found.height, found.tallest) == pytest.approx((0.4 * 10 + 0.6 * 40, 40))
    assert found.deviation == pytest.approx(math.sqrt(0.4 * 0.6) * 30)


def test_a_city_is_as_rough_as_cities_are():
    # z0 of 0.05 to 0.15 of the mean height, as measured over cities (Grimmond and Oke, 1999,
    # Journal of Applied Meteorology 38:1262-1292), and d of 0.8 to 1.3: above the mean height
    # where heights differ, as measured in London (Kent and others, 2017, Boundary-Layer
    # Meteorology 164:183-213)
    for plan in (0.27, 0.33, 0.4):
        z0, displacement = kanda(Morphology(1, plan, 0.3, deviation=0.3, tallest=2))
        assert 0.05 <= z0 <= 0.15
        assert 0.8 <= displacement <= 1.3


def test_roughness_rises_with_density_and_falls_when_the_wind_skims_over_the_roofs():
    cities = [Morphology(1, x, x, tallest=1) for x in np.linspace(0.01, 0.99, 99)]
    z0, displacement = np.transpose([kanda(city) for city in cities])
    peak = int(np.argmax(z0))
    assert 0.1 < cities[peak].plan < 0.25
    assert (np.diff(z0[: peak + 1]) > 0).all()
    assert (np.diff(z0[peak:]) < 0).all()
    assert (np.diff(displacement) >= 0).all()
    assert displacement[-1] == 1


def test_the_friction_velocity_over_cubes_is_the_one_worked_out_by_hand(cubes):
    # ln(10 / 0.03) = 5.80914; ln(200 / 0.03) = 8.80487; U(200 m) = 5 x 8.80487 / 5.80914 = 7.57846
    # ln((200 - 7.8316) / 0.872757) = 5.39448; 0.4 x 7.57846 / 5.39448 = 0.56194
    found = friction_velocity(5, 10, "airport", cubes, CELL, 270)
    assert found.value == pytest.approx(0.56194, abs=1e-5)
    assert found.scale == pytest.approx(0.56194 / 0.21, abs=1e-4)
    # low: 400 m, z0 halved: 0.4 x 5 x 9.49802 / 5.80914 / ln(392.168 / 0.436378) = 0.480820
    # high: 100 m, z0 doubled: 0.4 x 5 x 8.11173 / 5.80914 / ln(92.168 / 1.745513) = 0.704072
    assert found.low == pytest.approx(0.48082, abs=1e-5)
    assert found.high == pytest.approx(0.70407, abs=1e-5)
    assert found.scale_range == pytest.approx((0.48082 / 0.21, 0.70407 / 0.21), abs=1e-4)


@pytest.mark.parametrize("tower", [0, 3, 20, 80])
def test_far_from_a_single_building_the_wind_is_the_one_that_was_named(tower):
    # 5 x ln(2 / 0.03) / ln(10 / 0.03) = 5 x 4.19971 / 5.80914 = 3.61474
    heights = np.zeros((70, 70))
    heights[30:40, 30:40] = tower
    found = friction_velocity(5, 10, 0.03, heights, CELL, 240)
    assert found.open_speed == pytest.approx(3.61474, abs=1e-4)
    assert (found.z0, found.displacement) == (0.03, 0)
    assert found.low < found.value < found.high


def test_the_wind_in_the_open_is_what_drag_leaves():
    # 16 m, a hundredth: 0.0218 + 0.316 x 0.01 x sqrt(8) = 0.030738; 0.21 / sqrt(0.030738)
    assert open_speed(Morphology(16, 0.1, 0.1, exposed=0.01)) == pytest.approx(1.19780, abs=1e-5)
    # one building, 20 m wide and 32 m high, on 200 m x 200 m
    heights = np.zeros((100, 100))
    heights[40:50, 40:50] = 32
    assert morphology(heights, CELL, 270).exposed == pytest.approx(32 * 20 / 200**2)


def test_the_simulated_wind_in_the_open_is_that_of_drag():
    found = {}
    for name, place in list_cases(PROJECT_ROOT / "data" / "train_256m").items():
        state = load_case(*place).states[0].numpy() if name.startswith("isolated") else None
        if state is not None:
            is_far = distance_to_buildings(state[GEO_MASK] > 0, (256, 256)) > 50
            wind_from = 270 - math.degrees(math.atan2(state[WIND_Y, 0, 0], state[WIND_X, 0, 0]))
            drag = morphology(state[TOPO], CELL, wind_from % 360)
            found[name] = np.median(state[SPEED, is_far]) / open_speed(drag)
    assert len(found) == 10
    assert 0.85 < min(found.values()) < 1 < max(found.values()) < 1.15


def test_the_open_ground_of_a_city_is_not_windier_than_the_reference(cubes):
    found = friction_velocity(5, 10, 0.03, cubes, CELL, 240)
    assert 1.5 < found.open_speed < 3.61474


def test_over_a_rougher_reference_the_open_ground_between_few_buildings_is_smoother():
    # U(200 m) = 5 ln(400) / ln(20) = 10; 10 x ln(2 / 0.03) / ln(200 / 0.03) = 4.76977
    found = friction_velocity(5, 10, "suburb", np.zeros((8, 8)), CELL, 0)
    assert found.open_speed == pytest.approx(4.76977, abs=1e-4)


def test_ground_that_is_built_over_everywhere_is_as_smooth_as_open_ground():
    found = friction_velocity(5, 10, "suburb", np.full((80, 80), 12.0), CELL, 0)
    assert found.displacement == pytest.approx(12)
    assert found.z0 == ROUGHNESSES["open ground"]


def test_the_friction_velocity_scales_with_the_speed(cubes):
    once, thrice = (friction_velocity(speed, 10, 0.1, cubes, CELL, 30) for speed in (2, 6))
    assert thrice[:3] == pytest.approx([3 * u for u in once[:3]])
    assert thrice[3:5] == once[3:5]
    assert thrice.open_speed == pytest.approx(3 * once.open_speed)


def test_one_profile_gives_one_friction_velocity_from_whatever_height(cubes):
    at_10, at_50 = 4.0, 4.0 * math.log(50 / 0.1) / math.log(10 / 0.1)
    low = friction_velocity(at_10, 10, "farmland", cubes, CELL, 30)
    assert friction_velocity(at_50, 50, 0.1, cubes, CELL, 30) == pytest.approx(low)


@pytest.mark.parametrize("height", [3.0, 12.0, 40.0, 150.0])
@pytest.mark.parametrize("roughness", ["open sea", "airport", "city"])
def test_the_uncertainty_holds_the_value(cubes, height, roughness):
    found = friction_velocity(5, 20, roughness, cubes / 10 * height, CELL, 100)
    assert 0 < found.low < found.value < found.high < 5


def test_the_rules_own_wind_has_scale_one():
    speed = open_speed(Morphology(0, 0, 0)) * math.log(10 / 0.03) / math.log(2 / 0.03)
    assert friction_velocity(speed, 10, 0.03, np.zeros((4, 4)), CELL, 0).scale == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"speed": 0}, "wind_speed=0"),
        ({"speed": -3}, "wind_speed=-3"),
        ({"speed": 200}, "wind_speed=200"),
        ({"speed": "fast"}, "wind_speed=fast"),
        ({"speed": math.nan}, "wind_speed=nan"),
        ({"speed": None}, "wind_speed=None"),
        ({"height": 0}, "wind_height=0"),
        ({"height": 2, "roughness": 0.5}, "wind_height=2"),
        ({"height": 5000}, "wind_height=5000"),
        ({"roughness": "moon"}, "roughness=moon.*airport"),
        ({"roughness": 0}, "roughness=0"),
        ({"roughness": 30}, "roughness=30"),
        ({"wind_from": math.inf}, "wind_from=inf"),
        ({"cell": 0}, "cell=0"),
        ({"heights": np.full((4, 4), np.nan)}, "heights"),
        ({"heights": np.full((4, 4), -1.0)}, "heights"),
        ({"heights": np.zeros(4)}, "heights"),
    ],
)
def test_a_wrong_wind_names_its_parameter(cubes, change, names):
    right = {"speed": 5, "height": 10, "roughness": 0.03, "heights": cubes, "cell": CELL}
    with pytest.raises(InputError, match=names):
        friction_velocity(**(right | {"wind_from": 240} | change))


@pytest.mark.parametrize(
    ("roughness", "length"),
    [("Open Sea", 0.0002), ("open_ground", 0.03), ("city", 1.0), ("0.2", 0.2), (0.2, 0.2)],
)
def test_a_roughness_is_named_or_given_in_metres(roughness, length):
    assert roughness_length(roughness) == length


@pytest.mark.parametrize(
    ("value", "directions"),
    [
        (240, [240]),
        (240.5, [240.5]),
        (np.float32(90), [90]),
        ([0, 90, 180], [0, 90, 180]),
        (np.array([30, 10]), [30, 10]),
        ("240", [240]),
        ("240°", [240]),
        ("0, 90, 180", [0, 90, 180]),
        ("[0, 90]", [0, 90]),
        ("SW", [225]),
        ("n; nne", [0, 22.5]),
        (360, [0]),
        ("0 90 360", [0, 90]),
        ("4 sectors", [0, 90, 180, 270]),
        ("16 sectors", [22.5 * k for k in range(16)]),
    ],
)
def test_wind_directions_are_read_as_people_write_them(value, directions):
    assert wind_directions(value) == directions


@pytest.mark.parametrize(
    "value",
    ["", [], "west-ish", "0, x", 361, -10, math.nan, "0 sectors", "1000 sectors", None, True,
     [[0, 90]], {"from": 3}],
)  # fmt: skip
def test_a_wrong_direction_names_the_parameter_and_shows_how_to_write_it(value):
    with pytest.raises(InputError, match=r"wind_from.*expected"):
        wind_directions(value)
