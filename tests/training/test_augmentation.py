"""Moved cases: still flows that obey the laws, and known where they can be."""

import numpy as np
import pytest
import torch
from small_cities import make_base, make_wind

from pinca_lib.channels import DWDZ, FLUX, GEO_MASK, SPEED, TOPO, WIND_X, WIND_Y, U, V
from pinca_lib.physics import continuity_residual
from pinca_lib.training.augmentation import Move

MOVES = [
    Move(is_mirrored_y=y, is_mirrored_x=x, is_swapped=swapped)
    for y in (False, True)
    for x in (False, True)
    for swapped in (False, True)
]
EXTENT = torch.tensor([40.0, 40.0])


@pytest.fixture
def case() -> torch.Tensor:
    base = make_base(20, 20)
    state = torch.from_numpy(np.concatenate([base, make_wind(base, 30, dwdz=True)])).float()
    state[DWDZ] -= continuity_residual(state[None], EXTENT[None])[0]  # now it is exact
    return state


@pytest.mark.parametrize("move", MOVES)
def test_a_mirrored_or_turned_flow_obeys_continuity_and_keeps_its_angles(case, move):
    moved = move.state(case)
    assert continuity_residual(moved[None], move.extent(EXTENT)[None]).abs().max() < 1e-6
    before, after = (s[U] * s[WIND_X] + s[V] * s[WIND_Y] for s in (case, moved))
    torch.testing.assert_close(after.flatten().sort()[0], before.flatten().sort()[0])
    assert torch.equal(moved[:GEO_MASK], case[:GEO_MASK])
    assert torch.equal(moved[TOPO] > 0, moved[GEO_MASK] == 0)


def test_the_wind_of_every_cell_moves_with_it(case):
    for move in MOVES:
        moved = move.state(case)
        row, column = (13, 4)
        y = 19 - row if move.is_mirrored_y else row
        x = 19 - column if move.is_mirrored_x else column
        u = -case[U, row, column] if move.is_mirrored_x else case[U, row, column]
        v = -case[V, row, column] if move.is_mirrored_y else case[V, row, column]
        if move.is_swapped:
            y, x, u, v = x, y, v, u
        assert moved[[U, V, SPEED], y, x].tolist() == [u, v, case[SPEED, row, column]]


def test_a_shift_crosses_the_edges_and_comes_back(case):
    moved = Move(down=3, right=-5).state(case)
    assert torch.equal(moved[SPEED, 3, :], case[SPEED, 0, :].roll(-5))
    assert torch.equal(Move(down=-3, right=5).state(moved), case)


def test_the_flux_changes_its_sign_with_x_and_is_unknown_after_a_swap(case):
    known = torch.ones(6, dtype=torch.bool)
    along = Move(is_mirrored_y=True)
    assert torch.equal(along.state(case)[FLUX], case[FLUX].flip(0))
    across = Move(is_mirrored_x=True)
    assert torch.equal(across.state(case)[FLUX], -case[FLUX].flip(1))
    assert across.known(known).all()
    swap = Move(is_swapped=True)
    assert not swap.state(case)[FLUX].any()
    assert swap.known(known).tolist() == [True, True, True, True, False, True]
    assert swap.extent(torch.tensor([10.0, 30.0])).tolist() == [30, 10]


def test_all_moves_of_a_square_are_drawn_and_no_swap_of_an_oblong():
    random = np.random.default_rng(0)
    drawn = [Move.drawn((4, 4), random) for _ in range(300)]
    assert {(m.is_mirrored_y, m.is_mirrored_x, m.is_swapped) for m in drawn} == {
        (m.is_mirrored_y, m.is_mirrored_x, m.is_swapped) for m in MOVES
    }
    assert {m.down for m in drawn} == {m.right for m in drawn} == {0, 1, 2, 3}
    assert not any(Move.drawn((4, 6), random).is_swapped for _ in range(50))
    shifts = [Move.drawn((4, 4), random, turnable=False) for _ in range(50)]
    assert {(m.is_mirrored_y, m.is_mirrored_x, m.is_swapped) for m in shifts} == {(False,) * 3}
    assert len({m.down for m in shifts}) == 4
