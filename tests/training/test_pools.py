"""Several grids in one training: which pool is drawn, and what a checkpoint keeps of them."""

import numpy as np
import pytest
import torch

from pinca_lib.training import SamplePool, SamplePools


@pytest.fixture
def larger(dataset):
    """A third of the cases, on four times the area."""
    few = dataset[: len(dataset) // 3]
    states = few.states.tile(1, 1, 2, 2)
    return type(few)(
        states, 2 * few.extents, few.has_dwdz, few.rows_stated, few.turnable, few.names
    )


def pools_of(*datasets, seed=0) -> SamplePools:
    return SamplePools(datasets, 24, np.random.default_rng(seed), augment=True)


def test_a_single_data_set_gives_the_numbers_of_its_pool(dataset):
    alone = SamplePool(dataset, 24, np.random.default_rng(0), augment=True)
    pools = pools_of(dataset)
    for _ in range(3):
        expected, batch = alone.sample(6, 1, 1), pools.sample(6, 1, 1)
        assert torch.equal(batch.slots, expected.slots)
        assert torch.equal(batch.target, expected.target)
    assert pools.state_dict().keys() == alone.state_dict().keys()


def test_grids_are_drawn_in_proportion_to_their_cells_and_larger_ones_in_fewer_samples(
    dataset, larger
):
    pools = pools_of(dataset, larger)
    share = 4 * len(larger) / (len(dataset) + 4 * len(larger))
    assert pools.pools[1].size == round(24 * share)
    batches = [pools.sample(8, 1, 1) for _ in range(300)]
    is_large = [batch.state.shape[-1] == larger.states.shape[-1] for batch in batches]
    assert abs(np.mean(is_large) - share) < 0.1
    sizes = {(len(batch.state), large) for batch, large in zip(batches, is_large, strict=True)}
    assert sizes == {(8, False), (3, True)}  # a quarter of 8 would leave no sample that goes on


def test_states_go_back_to_their_own_pool_and_through_a_checkpoint(dataset, larger):
    pools = pools_of(dataset, larger)
    for _ in range(20):
        batch = pools.sample(6)
        batch.state[:, 6:] += 1
        pools.write(batch, batch.state)
    assert all(pool.states[:, 6:].any() for pool in pools.pools)
    other = pools_of(dataset, larger, seed=1)
    other.load_state_dict(pools.state_dict())
    for pool, restored in zip(pools.pools, other.pools, strict=True):
        assert torch.equal(pool.states, restored.states)
    with pytest.raises(ValueError, match="no pool"):
        other.load_state_dict({"0": pools.first.state_dict()})


def test_two_data_sets_of_one_grid_are_refused(dataset):
    with pytest.raises(ValueError, match="same size"):
        pools_of(dataset, dataset)
