"""Rollouts in plain PyTorch, on every device, with or without a gradient.

The base channels never change, so their contribution to the hidden layer is computed only once per
rollout.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import (
    CA,
    block_means,
    block_sums,
    bounded,
    filters_on,
    heading,
    mirrored,
    mirrored_perception,
    perceive,
    rotated,
    rotated_perception,
    shares_of_air,
    spread,
)
from pinca_lib.channels import BASE, DYNAMIC, GEO_MASK


class PreparedRule(NamedTuple):
    """A rule for given cities, with everything that is the same in every step."""

    increment: Callable[[Tensor], Tensor]  # dynamic channels (B, D, h, w) to their increment
    shares: Tensor  # (B, 1, H, W), as ``shares_of_air`` returns them
    scale: int
    alpha: float | None


class PlainRules:
    """Rules for given cities, base channels (B, 6, H, W), in plain PyTorch."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base, self.air = base, base[:, GEO_MASK, None] > 0
        # Channels last suits the convolutions of ``_folded_increment``.
        is_folded = not any(rule.follows_wind for rule in rules)
        self.layout = torch.channels_last if is_folded else torch.contiguous_format
        self.rules = [_prepared(rule, base) for rule in rules]

    def advance(self, dynamic: Tensor, steps: int) -> Tensor:
        """Advance dynamic channels (B, D, H, W) by a number of steps."""
        dynamic = dynamic.contiguous(memory_format=self.layout)
        for _ in range(steps):
            for increment, shares, scale, alpha in self.rules:
                cells = dynamic if scale == 1 else block_sums(shares * dynamic, scale)
                added = increment(cells)
                if scale > 1:
                    added = self.air * spread(added, scale, dynamic.shape[-2:])
                dynamic = dynamic + added
                if alpha is not None:
                    dynamic = bounded(dynamic, self.air, alpha)
        return dynamic

    def state(self, dynamic: Tensor) -> Tensor:
        """Return the state (B, C, H, W) with these dynamic channels."""
        return torch.cat([self.base, dynamic], dim=1)


def _layers_on_grid(rule: CA, base: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return layers that see along x and y, for any rule.

    In the wind frame, the layers are rotated to the grid instead of the state to the wind frame.
    There is one set of layers for each city, and each hidden unit is there twice: for the city and
    for its mirror image.

    Returns
    -------
    W1 (G, N, C, 4), b1 (N,), W2 (G, C, N)
        G = B and N = 2 ``hidden`` in the wind frame; otherwise G = 1 and N = ``hidden``.
    """
    w1, bias, w2 = rule.layers()
    w1, w2 = w1[None], w2[None]
    if rule.follows_wind:
        wind = heading(base)
        w1, bias = torch.cat([w1, mirrored_perception(w1, 2)], dim=1), bias.repeat(2)
        w2 = torch.cat([w2, mirrored(w2, 1)], dim=2) / 2
        w1, w2 = rotated_perception(w1, wind, 2), rotated(w2, wind, 1)
    return w1, bias, w2


def _prepared(rule: CA, base: Tensor) -> PreparedRule:
    cells = block_means(base, rule.scale)
    shares = shares_of_air(base[:, GEO_MASK, None], rule.scale)
    w1, bias, w2 = _layers_on_grid(rule, base)
    air, w2 = cells[:, GEO_MASK, None], w2[:, DYNAMIC]
    if rule.follows_wind:
        constant = torch.matmul(w1[:, :, BASE].flatten(2), perceive(cells).flatten(2))
        constant, w1 = constant + bias[:, None], w1[:, :, DYNAMIC].flatten(2)
        increment = partial(_increment, constant, w1, w2, air)
    else:
        kernel = torch.einsum("hcf,fij->hcij", w1[0], filters_on(base.device, base.dtype)[0])
        constant = _periodic_conv(cells, kernel[:, BASE]) + bias.view(-1, 1, 1)
        layers = constant, kernel[:, DYNAMIC], w2[0, :, :, None, None]
        constant, kernel, w2 = map(_channels_last, layers)
        increment = partial(_folded_increment, constant, kernel, w2, air)
    alpha = None if rule.alpha is None else float(rule.alpha)
    return PreparedRule(increment, shares, rule.scale, alpha)


def _increment(constant: Tensor, w1: Tensor, w2: Tensor, air: Tensor, cells: Tensor) -> Tensor:
    """Return the increment of layers that differ from city to city.

    Shapes: constant (B, N, h w), w1 (B, N, 4 D), w2 (B, D, N), air (B, 1, h, w), cells and result
    (B, D, h, w).
    """
    hidden = torch.baddbmm(constant, w1, perceive(cells).flatten(2)).relu_()
    return torch.bmm(w2, hidden).view_as(cells).mul_(air)


def _folded_increment(
    constant: Tensor, kernel: Tensor, w2: Tensor, air: Tensor, cells: Tensor
) -> Tensor:
    """Return the increment where the filters and the first layer are one convolution.

    They can be one because both are linear.
    """
    hidden = _periodic_conv(cells, kernel).add_(constant).relu_()
    return F.conv2d(hidden, w2).mul_(air)


def _channels_last(planes: Tensor) -> Tensor:
    return planes.contiguous(memory_format=torch.channels_last)


def _periodic_conv(planes: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(F.pad(planes, [1, 1, 1, 1], mode="circular"), kernel)
