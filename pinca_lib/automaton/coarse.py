"""A grid seen through wider cells: blocks of scale × scale cells, at the far edges of fewer."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.channels import GEO_MASK, split_base


def in_blocks(state: Tensor, scale: int) -> Tensor:
    """Return a state (B, C, H, W) with blocks of scale × scale cells as its cells.

    The base channels are means over a block, the others means over its air.

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
    """Return which share of the air of its block each cell of a mask (B, 1, H, W) holds."""
    total = spread(block_sums(air, scale), scale, air.shape[-2:])
    return torch.where(total > 0, air / total, 0)


def block_sums(planes: Tensor, scale: int) -> Tensor:
    """Add up planes (B, C, H, W) over blocks of scale × scale cells."""
    return F.avg_pool2d(planes, scale, ceil_mode=True, divisor_override=1)


def spread(blocks: Tensor, scale: int, size: Sequence[int]) -> Tensor:
    """Give the value of each block, (B, C, h, w), to all of its cells, (B, C, *size)."""
    cells = blocks.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
    return cells[..., : size[0], : size[1]]
