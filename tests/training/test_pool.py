"""The sample pool: what is drawn, what is put back, what a refresh and a restart do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pinca_lib.channels import GEO_MASK
from pinca_lib.training.pool import SamplePool


@pytest.fixture
def pool(dataset) -> SamplePool:
    return SamplePool(dataset, 16, np.random.default_rng(0))


def test_a_fresh_state_holds_its_case_and_is_zero_beyond(pool, dataset):
    assert pool.states.shape == (16, 24, 24, 24)
    assert torch.equal(pool.states[:, :6], dataset.states[pool.cases, :6])
    assert not pool.states[:, 6:].any()


def test_every_case_is_in_the_pool_about_as_often_as_any_other(pool, dataset):
    counts = torch.bincount(torch.tensor(pool.cases), minlength=len(dataset))
    assert counts.min() >= 2
    assert counts.max() <= 3


def test_a_batch_is_drawn_without_replacement_with_its_own_targets(pool, dataset):
    for _ in range(20):
        batch = pool.sample(6)
        assert len(set(batch.slots.tolist())) == 6
        cases = [pool.cases[slot] for slot in batch.slots]
        assert torch.equal(batch.state, pool.states[batch.slots])
        assert torch.equal(batch.target, dataset.states[cases])
        assert torch.equal(batch.extents, dataset.extents[cases])
        assert batch.known[:, :5].all()
        assert torch.equal(batch.known[:, 5], dataset.has_dwdz[cases])


def test_states_written_back_are_drawn_again(pool):
    batch = pool.sample(6)
    evolved = batch.state + 1
    before = pool.states.clone()
    pool.write(batch, evolved)
    assert torch.equal(pool.states[batch.slots], evolved)
    others = [slot for slot in range(16) if slot not in batch.slots.tolist()]
    assert torch.equal(pool.states[others], before[others])
    assert not pool.states.requires_grad


@pytest.mark.parametrize("value", [1e3, torch.inf, torch.nan])
def test_a_state_that_ran_away_begins_anew(pool, value):
    batch = pool.sample(3)
    state = batch.state + 0
    state[:, 6:] = 7.0
    state[1, 9, 3, 4] = value
    pool.write(batch, state)
    slots = batch.slots.tolist()
    assert (pool.states[[slots[0], slots[2]], 6:] == 7).all()
    assert not pool.states[slots[1], 6:].any()
    assert torch.equal(pool.states[slots[1], :6], batch.target[1, :6])


def test_a_restart_zeroes_the_first_sample_of_the_batch_and_nothing_in_the_pool(pool):
    pool.states[:, 6:] = 7.0
    batch = pool.sample(6, restarts=1)
    assert not batch.state[0, 6:].any()
    assert torch.equal(batch.state[0, :6], pool.states[batch.slots[0], :6])
    assert (batch.state[1:, 6:] == 7).all()
    assert (pool.states[:, 6:] == 7).all()


def test_a_refresh_starts_all_anew(pool):
    pool.states[:, 6:] = 7.0
    before = pool.cases
    pool.refresh()
    assert not pool.states[:, 6:].any()
    assert pool.cases != before


def test_an_augmented_pool_moves_states_and_targets_alike(dataset):
    dataset = replace(dataset, turnable=torch.ones(len(dataset), dtype=torch.bool))
    pool = SamplePool(dataset, 16, np.random.default_rng(0), augment=True)
    for _ in range(10):
        batch = pool.sample(6)
        assert torch.equal(batch.state[:, :6], batch.target[:, :6])
        for slot, target, known in zip(batch.slots, batch.target, batch.known, strict=True):
            move, case = pool.moves[slot], pool.cases[slot]
            assert torch.equal(target, move.state(dataset.states[case]))
            assert known[4] == (not move.is_swapped)
    assert len(set(pool.moves)) > 10


def test_cases_whose_rows_run_nobody_knows_how_are_shifted_alone(dataset):
    assert not dataset.turnable.any()  # the users' own files do not say
    pool = SamplePool(dataset, 16, np.random.default_rng(0), augment=True)
    assert {(m.is_mirrored_y, m.is_mirrored_x, m.is_swapped) for m in pool.moves} == {(False,) * 3}
    told = replace(dataset, turnable=torch.ones(len(dataset), dtype=torch.bool))
    pool = SamplePool(told, 16, np.random.default_rng(0), augment=True)
    assert any(move.is_mirrored_x for move in pool.moves)
    assert any(move.is_swapped for move in pool.moves)


def test_a_restart_in_an_augmented_pool_draws_another_case(dataset):
    pool = SamplePool(dataset, 16, np.random.default_rng(0), augment=True)
    pool.states[:, 6:] = 7.0
    for _ in range(20):
        before = list(pool.moves)
        batch = pool.sample(6, restarts=1)
        slot = batch.slots[0]
        assert pool.moves[slot] != before[slot]
        assert torch.equal(batch.state[0, :6], batch.target[0, :6])
        assert not batch.state[0, 6:].any()
        assert (batch.state[1:, 6:] == 7).all()
        pool.write(batch, batch.state + 0)
        assert torch.equal(pool.states[slot, :6], pool.target(slot)[:6])
        pool.states[:, 6:] = 7.0


@pytest.mark.parametrize("augment", [False, True])
def test_a_swap_lays_another_case_under_the_wind_that_was(dataset, augment):
    pool = SamplePool(dataset, 16, np.random.default_rng(0), augment=augment)
    pool.states[:, 6:] = 7.0
    cases, moves = list(pool.cases), list(pool.moves)
    batch = pool.sample(6, restarts=1, swaps=5)
    changed = [(pool.cases[slot], pool.moves[slot]) != (cases[slot], moves[slot])
               for slot in batch.slots[1:]]  # fmt: skip
    assert all(changed) if augment else any(changed)
    assert torch.equal(batch.state[:, :6], batch.target[:, :6])
    air = batch.target[1:, GEO_MASK, None] > 0
    assert torch.equal(batch.state[1:, 6:], (air * 7.0).expand_as(batch.state[1:, 6:]))
    assert not batch.state[0, 6:].any()
    pool.write(batch, batch.state)
    for slot, target in zip(batch.slots, batch.target, strict=True):
        assert torch.equal(pool.target(slot), target)
        assert torch.equal(pool.states[slot, :6], target[:6])


@pytest.mark.parametrize("augment", [False, True])
def test_a_saved_pool_comes_back_whole(dataset, augment):
    pool = SamplePool(dataset, 16, np.random.default_rng(0), augment=augment)
    batch = pool.sample(4)
    batch.state[:, 6:] += 0.5  # rules never touch the base channels
    pool.write(batch, batch.state)
    saved = {name: tensor.clone() for name, tensor in pool.state_dict().items()}
    other = SamplePool(dataset, 16, np.random.default_rng(1), augment=augment)
    other.load_state_dict(saved)
    assert torch.equal(other.states, pool.states)
    assert (other.cases, other.moves) == (pool.cases, pool.moves)
