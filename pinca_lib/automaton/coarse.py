"""Coarse cells: blocks of scale × scale cells. The last block of a row or column may be smaller."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.channels import GEO_MASK, split_base


def in_blocks(state: Tensor, scale: int) -> Tensor:
    """Return a state (B, C, H, W) on coarse cells.

    The base channels are averaged over each block, the dynamic channels over the air of the block.

    Returns
    -------
    Tensor of shape (B, C, ceil(H / scale), ceil(W / scale))
    """
    if scale == 1:
        return state
    base, dynamic = split_base(state)
    shares = shares_of_air(state[:, GEO_MASK, None], scale)
    return torch.cat([block_means(base, scale), block_sums(shares * dynamic, scale)], dim=1)


def block_means(planes: Tensor, scale: int) -> Tensor:
    """Average planes (B, C, H, W) over blocks of scale × scale cells."""
    return planes if scale == 1 else F.avg_pool2d(planes, scale, ceil_mode=True)


def shares_of_air(air: Tensor, scale: int) -> Tensor:
    """Return the air of each cell of a mask (B, 1, H, W), divided by the air of its block.

    The shares of a block add up to 1, or are all 0 in a block without air.
    """
    total = spread(block_sums(air, scale), scale, air.shape[-2:])
    return torch.where(total > 0, air / total, 0)


def block_sums(planes: Tensor, scale: int) -> Tensor:
    """Sum planes (B, C, H, W) over blocks of scale × scale cells."""
    return F.avg_pool2d(planes, scale, ceil_mode=True, divisor_override=1)


def spread(blocks: Tensor, scale: int, size: Sequence[int]) -> Tensor:
    """Copy the value of each block (B, C, h, w) to all of its cells: (B, C, *size)."""
    cells = blocks.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    return cells[..., : size[0], : size[1]]
