"""Coarse cells: means, sums, and blocks at the edge that are not full."""

import pytest
import torch

from pinca_lib.automaton.coarse import block_means, block_sums, in_blocks, shares_of_air, spread


def state(height: int = 7, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(2, 12, height, width, generator=generator)
    drawn[:, 2] = (drawn[:, 2] > 0.4).float()
    drawn[0, 2, :4, :4] = 0  # a block without air
    return drawn


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 2)])
def test_a_block_is_the_mean_of_the_city_and_of_the_fields_in_its_air(row, column):
    fine = state()
    coarse = in_blocks(fine, 4)
    assert coarse.shape == (2, 12, 2, 3)
    block = fine[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
    for sample in range(2):
        cells = block[sample].flatten(1)
        air = cells[2] > 0
        found = coarse[sample, :, row, column]
        torch.testing.assert_close(found[:6], cells[:6].mean(1))
        fields = cells[6:, air].mean(1) if air.any() else torch.zeros(6)
        torch.testing.assert_close(found[6:], fields)


def test_values_spread_over_blocks_are_the_means_of_the_blocks():
    fine = state()
    values = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(1))
    cells = spread(values, 4, (7, 10))
    assert cells.shape == (2, 3, 7, 10)
    assert torch.equal(cells[0, 0, 4:, 8:], values[0, 0, 1, 2].expand(3, 2))
    torch.testing.assert_close(block_means(cells, 4), values)
    shares = shares_of_air(fine[:, 2:3], 4)
    has_air = block_sums(fine[:, 2:3], 4) > 0
    torch.testing.assert_close(block_sums(shares * cells, 4), values * has_air)


def test_shares_of_air_add_up_to_one_in_every_block_with_air():
    fine = state()
    shares = shares_of_air(fine[:, 2:3], 4)
    assert torch.equal(shares > 0, fine[:, 2:3] > 0)
    total = block_sums(shares, 4)
    assert total[0, 0, 0, 0] == 0
    torch.testing.assert_close(total.flatten()[1:], torch.ones(total.numel() - 1))


def test_a_scale_of_one_changes_nothing():
    fine = state()
    assert torch.equal(in_blocks(fine, 1), fine)
    assert torch.equal(spread(fine, 1, (7, 10)), fine)
