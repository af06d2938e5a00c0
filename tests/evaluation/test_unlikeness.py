"""Where a place is unlike the training: seen from its buildings alone."""

import numpy as np
import pytest
from scipy import ndimage

from pinca_lib import load_dataset
from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK, TOPO
from pinca_lib.cities.place import CELL, Grid, Place
from pinca_lib.evaluation import doubt_table, doubtful, unlike_training, unlikeness
from pinca_lib.runs import PROJECT_ROOT


def place_of(heights, assumed=None):
    heights = np.asarray(heights, np.float32)
    assumed = np.zeros(heights.shape, bool) if assumed is None else assumed
    whole = slice(0, heights.shape[0]), slice(0, heights.shape[1])
    return Place("town", Grid(0, 0, 2.0, heights.shape), heights, assumed, whole)


def open_ground():
    return np.zeros((100, 100))


def only(found):
    """Return the name of the one thing that is unlike near the buildings, and where."""
    ((name, cells),) = [(name, cells) for name, cells in found.items()
                        if cells.any() and name != "far from buildings"]  # fmt: skip
    return name, cells


def test_usual_houses_and_the_ground_between_them_are_like_the_training():
    heights = open_ground()
    heights[20:30, 20:30] = heights[20:30, 70:80] = 15
    heights[70:80, 20:30] = heights[70:80, 70:80] = 15
    assert not doubtful(unlike_training(place_of(heights), [CA()])).any()


def test_open_ground_farther_from_all_buildings_than_in_the_training_is_unlike():
    heights = open_ground()
    heights[:, :10] = 15
    name, cells = next(item for item in unlike_training(place_of(heights), [CA()]).items()
                       if item[1].any())  # fmt: skip
    assert name == "far from buildings"
    assert not cells[50, 10 + 77]  # 156 m from the wall, where 1.1 times 142 m are known
    assert cells[50, 10 + 78]


@pytest.mark.parametrize(("gap", "is_unlike"), [(1, True), (2, False), (3, False)])
def test_a_lane_narrower_than_four_metres_is_unlike(gap, is_unlike):
    heights = open_ground()
    heights[40:60, 30:40] = heights[40:60, 40 + gap : 50 + gap] = 12
    found = unlike_training(place_of(heights), [CA()])
    assert found["narrow lanes"].any() == is_unlike
    if is_unlike:
        rows, columns = np.nonzero(found["narrow lanes"])
        assert set(columns) == set(range(40, 40 + gap))
        assert set(rows) == set(range(40, 60))


def test_a_courtyard_is_like_the_training():
    heights = open_ground()
    heights[40:60, 40:60] = 12
    heights[45:55, 45:55] = 0
    found = unlike_training(place_of(heights), [CA()])
    assert not any(cells[45:55, 45:55].any() for cells in found.values())


def test_around_a_tower_the_wind_is_in_doubt_as_far_as_twice_its_height():
    heights = open_ground()
    heights[50, 5] = 80
    name, cells = only(unlike_training(place_of(heights), [CA()]))
    assert name == "near tall buildings"
    assert cells[50, 5 + 80]
    assert not cells[50, 5 + 81]
    tall = CA()
    tall.tallest = 80.0
    assert not unlike_training(place_of(heights), [tall])["near tall buildings"].any()


def test_assumed_heights_and_dense_ground_are_counted():
    heights = open_ground()
    heights[::2] = 10  # half is built over, in rows
    heights[1::4] = 10
    assumed = np.zeros(heights.shape, bool)
    assumed[0] = True
    place = place_of(heights, assumed)
    found = unlike_training(place, [CA()])
    assert found["dense"][51, 51]
    assert found["height assumed"][3, 5]
    table = doubt_table(place, found).set_index("unlike the training data")
    assert table.loc["any of these", "share of open ground"] > 0.9  # the edge is less dense


def test_the_limits_are_those_of_the_training_data():
    """Cities are periodic: each is repeated around itself."""
    distances, densities = [], []
    small, large = (load_dataset(PROJECT_ROOT / "data" / split).states
                    for split in ("train", "train_256m"))  # fmt: skip
    for state in (*small, *large):
        air = state[GEO_MASK].numpy() > 0
        side, middle = air.shape[0], slice(air.shape[0], 2 * air.shape[0])
        around = np.tile(air, (3, 3))
        lane = np.ones((round(unlikeness.NARROWEST / CELL),) * 2, bool)
        assert ndimage.binary_opening(around, lane)[middle, middle][air].all()
        distances.append(ndimage.distance_transform_edt(around, CELL)[middle, middle][air])
        if side * CELL == unlikeness.NEIGHBOURHOOD:
            densities.append(1 - air.mean())
        assert state[TOPO].max() <= unlikeness.TALLEST
    assert 0.95 < np.quantile(np.concatenate(distances), 0.999) / unlikeness.FARTHEST <= 1
    assert len(densities) == len(small)
    assert 0.95 < max(densities) / unlikeness.DENSEST <= 1
