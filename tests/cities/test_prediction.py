"""The wind over a place: how it turns with the city and scales with the wind."""

import numpy as np
import pytest

from pinca_lib.channels import FLUX, SPEED, TKE, U, V
from pinca_lib.cities.place import Drawing, Grid, Place
from pinca_lib.cities.prediction import predict_wind
from pinca_lib.runs.checkpoints import load_rules


@pytest.fixture(scope="module")
def rules():
    return load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")


def square_place(heights):
    side = len(heights)
    inside = slice(8, side - 8)
    drawing = Drawing(heights.astype(np.float32), np.zeros(heights.shape, bool))
    return Place("square", Grid(0, 0, 2.0, heights.shape), *drawing, (inside, inside))


@pytest.fixture(scope="module")
def block():
    heights = np.zeros((64, 64))
    heights[24:40, 24:32] = 12
    return square_place(heights)


def test_a_place_turned_with_its_wind_has_the_same_wind_turned(rules, block):
    # The flux bound is on the x component alone, so that turning is not exact (``CA``).
    west = predict_wind(rules, block, [270])
    south = predict_wind(rules, square_place(np.rot90(block.heights, -1)), [180])
    np.testing.assert_allclose(south.speed[0], np.rot90(west.speed[0], -1), atol=0.03)
    np.testing.assert_allclose(south.plane(V)[0], np.rot90(west.plane(U)[0], -1), atol=0.03)


def test_there_is_no_wind_in_buildings_and_a_wake_behind_them(rules, block):
    speed = predict_wind(rules, block, [270]).speed[0]
    built = block.on_site(block.heights) > 0
    assert np.isnan(speed[built]).all()
    assert np.isfinite(speed[~built]).all()
    assert speed[20:28, 26:30].mean() < 0.5 * speed[20:28, 2:6].mean()  # east, west of the block


def test_many_winds_at_once_are_the_winds_one_by_one(rules, block):
    together = predict_wind(rules, block, [0, 45, 200])
    for number, wind_from in enumerate(together.wind_from):
        alone = predict_wind(rules, block, [wind_from])
        np.testing.assert_allclose(together.fields[number], alone.fields[0], atol=1e-5)


def test_speeds_scale_with_the_wind_and_second_moments_with_its_square(rules, block):
    maps = predict_wind(rules, block, [0, 90])
    strong = maps.scaled([2, 3])
    np.testing.assert_allclose(strong.plane(SPEED)[1], 3 * maps.plane(SPEED)[1], rtol=1e-5)
    for channel in (TKE, FLUX):
        np.testing.assert_allclose(strong.plane(channel)[0], 4 * maps.plane(channel)[0], rtol=1e-5)
    assert strong.scale == (2, 3)
    assert strong.scaled(0.5).scale == (1, 1.5)
