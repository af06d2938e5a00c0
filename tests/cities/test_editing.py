"""Edits keep a state consistent: base channels agree, buildings hold zero, other cells stay."""

import math

import pytest
import torch
from small_rules import city_state

from pinca_lib.automaton import wind_direction
from pinca_lib.channels import BASE, DYNAMIC, GEO_MASK, TOPO, WIND_X, WIND_Y
from pinca_lib.cities.editing import HEIGHTS, brush, build, clear, turn_wind
from pinca_lib.errors import InputError


@pytest.fixture
def state() -> torch.Tensor:
    return city_state(1)


def some_cells(state) -> torch.Tensor:
    return brush(state.shape[-2:], [(3, 4)], 1.5)


def test_a_brush_is_a_disc_that_crosses_the_periodic_edges():
    cells = brush((8, 10), [(0, 9)], 1)
    assert {tuple(cell) for cell in cells.nonzero().tolist()} == {
        (0, 9), (1, 9), (7, 9), (0, 8), (0, 0)}  # fmt: skip
    assert torch.equal(brush((8, 10), [(3, 3), (5, 5)], 2),
                       brush((8, 10), [(3, 3)], 2) | brush((8, 10), [(5, 5)], 2))  # fmt: skip


def test_a_building_is_solid_and_changes_no_other_cell(state):
    cells, before = some_cells(state), state.clone()
    edited = build(state, cells, 12.0)
    assert torch.equal(state, before)
    assert (edited[:, GEO_MASK, cells] == 0).all()
    assert (edited[:, TOPO, cells] == 12).all()
    assert (edited[:, DYNAMIC, cells] == 0).all()
    assert torch.equal(edited[..., ~cells], before[..., ~cells])


def test_cleared_ground_is_air_of_height_zero_and_keeps_the_dynamic_channels(state):
    cells = some_cells(state)
    edited = clear(build(state, cells, 12.0), cells)
    assert (edited[:, GEO_MASK, cells] == 1).all()
    assert (edited[:, TOPO, cells] == 0).all()
    air = state[0, GEO_MASK] > 0
    assert torch.equal(clear(state, air)[:, DYNAMIC], state[:, DYNAMIC])


@pytest.mark.parametrize("degrees", [0.0, 30.0, 135.0, 359.0, -90.0, 720.5])
def test_turning_the_wind_keeps_its_strength(state, degrees):
    strength = torch.hypot(state[:, WIND_X], state[:, WIND_Y])
    edited = turn_wind(state, degrees)
    assert (270 - wind_direction(edited[0])) % 360 == pytest.approx(degrees % 360, abs=1e-3)
    turned = torch.hypot(edited[:, WIND_X], edited[:, WIND_Y])
    torch.testing.assert_close(turned, torch.where(strength > 0, strength, 1))
    others = [k for k in range(state.shape[1]) if k not in (WIND_X, WIND_Y)]
    assert torch.equal(edited[:, others], state[:, others])


@pytest.mark.parametrize("height", [math.nan, math.inf, -3.0, 0.0, HEIGHTS[1] + 1])
def test_an_impossible_height_is_refused(state, height):
    with pytest.raises(InputError, match="building height"):
        build(state, some_cells(state), height)


def test_the_last_cell_of_air_cannot_be_built_over(state):
    with pytest.raises(InputError, match="no air"):
        build(state, torch.ones(state.shape[-2:], dtype=torch.bool), 10.0)


@pytest.mark.parametrize(
    ("points", "radius"), [([(99, 0)], 1), ([(0, -1)], 1), ([(0, 0)], math.nan), ([(0, 0)], -1)]
)
def test_a_brush_outside_the_city_or_of_invalid_radius_is_refused(points, radius):
    with pytest.raises(InputError):
        brush((8, 8), points, radius)


def test_an_infinite_wind_direction_is_refused(state):
    with pytest.raises(InputError, match="wind_from"):
        turn_wind(state, math.inf)


def test_an_edit_of_buildings_changes_neither_coordinates_nor_wind(state):
    cells = some_cells(state)
    for edited in (build(state, cells, 9.0), clear(state, cells)):
        coordinates_and_wind = [0, 1, WIND_X, WIND_Y]
        assert torch.equal(edited[:, coordinates_and_wind], state[:, coordinates_and_wind])
        assert edited[:, BASE].isfinite().all()
