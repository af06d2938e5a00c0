"""A place on a grid: where it lies, which way the wind goes, and what is shown."""

import numpy as np
import pytest
import torch

from pinca_lib.channels import GEO_MASK, TOPO, WIND_X, WIND_Y
from pinca_lib.cities.place import Bounds, Drawing, Source, lay_out, towards
from pinca_lib.errors import InputError

NORTH_EAST = Bounds(1060, 2080, 1080, 2100)  # the one building of the source below


def drawn(grid):
    """Draw a block of 12 m in the north-east corner of a site."""
    x = grid.west + (np.arange(grid.shape[1]) + 0.5) * grid.cell
    y = grid.south + (np.arange(grid.shape[0]) + 0.5) * grid.cell
    inside = ((x > NORTH_EAST.west) & (x < NORTH_EAST.east)) & (
        ((y > NORTH_EAST.south) & (y < NORTH_EAST.north))[:, None]
    )
    heights = np.where(inside, 12, 0).astype(np.float32)
    return Drawing(heights, np.zeros(grid.shape, bool))


SOURCE = Source("town", Bounds(1000, 2000, 1080, 2100), None, drawn)


def test_a_building_in_the_north_east_lies_in_the_last_rows_and_columns_of_the_site():
    place = lay_out(SOURCE)
    rows, columns = np.nonzero(place.on_site(place.heights))
    assert (rows.min(), columns.min()) == (40, 30)
    assert (rows.max() + 1, columns.max() + 1) == place.site_grid.shape == (50, 40)


def test_the_grid_lies_where_the_site_lies_with_the_margin_around():
    place = lay_out(SOURCE)
    assert place.site_grid.bounds == SOURCE.bounds
    west, south, east, north = place.grid.bounds
    assert min(1000 - west, 2000 - south, east - 1080, north - 2100) >= 150


def test_a_site_is_a_part_and_what_lies_around_it_is_kept_as_surroundings():
    place = lay_out(SOURCE, Bounds(1000, 2000, 1062, 2100))
    assert place.on_site(place.heights).sum() == 1 * 10 * 12
    assert place.heights.sum() == 10 * 10 * 12


@pytest.mark.parametrize("cell", [1.0, 2.0, 4.0])
def test_a_grid_holds_whole_cells_of_the_widest_rule(cell):
    shape = lay_out(SOURCE, cell=cell).grid.shape
    assert all(side * cell % 8 == 0 for side in shape)


@pytest.mark.parametrize(
    ("wind_from", "expected"),
    [(0, (0, -1)), (90, (-1, 0)), (180, (0, 1)), (270, (1, 0)), (225, (0.5**0.5, 0.5**0.5))],
)
def test_a_wind_from_the_north_goes_south_and_so_on_around(wind_from, expected):
    np.testing.assert_allclose(towards(wind_from), expected, atol=1e-12)


def test_states_hold_the_buildings_and_the_wind():
    place = lay_out(SOURCE)
    states = place.states([270, 0])
    assert states.shape == (2, 24, *place.grid.shape)
    assert torch.equal(states[0, TOPO], torch.from_numpy(place.heights))
    assert torch.equal(states[:, GEO_MASK] == 0, states[:, TOPO] > 0)
    assert states[0, WIND_X].unique().item() == 1
    assert states[1, WIND_Y].unique().item() == -1
    assert not states[:, 6:].any()


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (Bounds(0, 0, 50, 50), "no building lies in the site"),
        (NORTH_EAST, "built over everywhere"),
        (Bounds(1000, 2000, 21000, 22000), r"20,000 m × 20,000 m.*GB a wind.*site="),
    ],
)
def test_a_site_that_cannot_be_used_is_refused_with_what_to_do(site, message):
    with pytest.raises(InputError, match=message):
        lay_out(SOURCE, site)


def test_a_wind_from_nowhere_is_refused():
    with pytest.raises(InputError, match="wind_from"):
        towards(float("nan"))
