"""Rollouts in plain PyTorch: on every device, recorded or not, and the reference for the others.

The base channels never change, so what they add to the hidden layer is computed once for a rollout.
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
    """A rule over some cities, with all that stays the same from step to step."""

    increment: Callable[[Tensor], Tensor]  # dynamic channels of the rule's cells to what is added
    shares: Tensor  # (B, 1, H, W): share of the air of its block that each cell holds
    scale: int
    alpha: float | None


class PlainRules:
    """Rules over some cities, in plain PyTorch."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base, self.air = base, base[:, GEO_MASK, None] > 0
        is_folded = not any(rule.follows_wind for rule in rules)
        self.layout = torch.channels_last if is_folded else torch.contiguous_format
        self.rules = [_prepared(rule, base) for rule in rules]

    def advance(self, dynamic: Tensor, steps: int) -> Tensor:
        dynamic = dynamic.contiguous(memory_format=self.layout)
        for _ in range(steps):
            for increment, shares, scale, alpha in self.rules:
                own = dynamic if scale == 1 else block_sums(shares * dynamic, scale)
                added = increment(own)
                if scale > 1:
                    added = self.air * spread(added, scale, dynamic.shape[-2:])
                dynamic = dynamic + added
                if alpha is not None:
                    dynamic = bounded(dynamic, self.air, alpha)
        return dynamic

    def state(self, dynamic: Tensor) -> Tensor:
        return torch.cat([self.base, dynamic], dim=1)


def _layers_over(rule: CA, base: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the layers that do along x and y what the rule does.

    They are the rule's own. Of a rule that follows the wind there are layers for each city, turned
    into the grid's frame, with every hidden unit twice: for the city and for its mirror image.

    Returns
    -------
    W1 (G, N, C, 4), b1 (N,), W2 (G, C, N)
        G and N are 1 and ``hidden``, or B and twice as many.
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
    own, shares = block_means(base, rule.scale), shares_of_air(base[:, GEO_MASK, None], rule.scale)
    first, bias, second = _layers_over(rule, base)
    air, second = own[:, GEO_MASK, None], second[:, DYNAMIC]
    if rule.follows_wind:
        constant = torch.matmul(first[:, :, BASE].flatten(2), perceive(own).flatten(2))
        layers = constant + bias[:, None], first[:, :, DYNAMIC].flatten(2), second
        increment = partial(_increment, *layers, air)
    else:
        kernel = torch.einsum("hcf,fij->hcij", first[0], filters_on(base.device, base.dtype)[0])
        constant = _periodic_conv(own, kernel[:, BASE]) + bias.view(-1, 1, 1)
        layers = constant, kernel[:, DYNAMIC], second[0, :, :, None, None]
        increment = partial(_folded_increment, *map(_channels_last, layers), air)
    alpha = None if rule.alpha is None else float(rule.alpha)
    return PreparedRule(increment, shares, rule.scale, alpha)


def _increment(constant: Tensor, first: Tensor, second: Tensor, air: Tensor, own: Tensor) -> Tensor:
    """Apply layers that differ from city to city: (B, N, h w), (B, N, 4 D), (B, D, N)."""
    hidden = torch.baddbmm(constant, first, perceive(own).flatten(2)).relu_()
    return torch.bmm(second, hidden).view_as(own).mul_(air)


def _folded_increment(
    constant: Tensor, kernel: Tensor, second: Tensor, air: Tensor, own: Tensor
) -> Tensor:
    """Apply layers with perception, which is linear, too, folded into the first of them."""
    hidden = _periodic_conv(own, kernel).add_(constant).relu_()
    return F.conv2d(hidden, second).mul_(air)


def _channels_last(planes: Tensor) -> Tensor:
    return planes.contiguous(memory_format=torch.channels_last)


def _periodic_conv(planes: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(F.pad(planes, [1, 1, 1, 1], mode="circular"), kernel)
