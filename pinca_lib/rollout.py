"""Rollouts: many steps of one rule, or of several in turn, frozen or recorded for a gradient.

A step applies each rule of a sequence once; PI-NCA's step is the frozen Init-NCA followed by the
trained rule. The base channels never change, so what they add to the hidden layer is computed once
a rollout. From there a CPU takes compiled code; a GPU, or a system without Numba, plain PyTorch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pinca_lib.automaton import CA, FILTERS
from pinca_lib.channels import BASE, BASE_COUNT, DYNAMIC, GEO_MASK, split_base

try:
    from pinca_lib import compiled
except ImportError:  # no Numba for this Python or system
    compiled = None


def rollout(
    rules: Sequence[CA],
    state: Tensor,
    steps: int,
    recorded: int = 0,
    checkpointed: bool = False,
) -> Tensor:
    """Advance a state by a number of steps, recording the last ones for the gradient.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step.
    state : Tensor of shape (B, C, H, W)
        Not changed.
    steps : int
        Steps to take.
    recorded : int
        How many of the last steps build a graph. The state before them counts as constant.
    checkpointed : bool
        Keep the state of about every sqrt(recorded)-th step alone and compute the steps between
        once more for the backward pass: memory O(sqrt(recorded)) in place of O(recorded).

    Returns
    -------
    Tensor of shape (B, C, H, W)
    """
    recorded = min(recorded, steps)
    with torch.no_grad():
        state = _advance(rules, state, steps - recorded)
    if not recorded:
        return state
    if not checkpointed:
        return _advance(rules, state, recorded)
    segment = math.isqrt(recorded)
    for first in range(0, recorded, segment):
        count = min(segment, recorded - first)
        state = checkpoint(_advance, rules, state, count, use_reentrant=False)
    return state


def _advance(rules: Sequence[CA], state: Tensor, steps: int) -> Tensor:
    if state.device.type != "cpu":
        return _advance_folded(rules, state, steps)
    # A few samples at a time, whose hidden layers fit a CPU's cache.
    advance, cells = (_advance_compiled, 2**15) if compiled else (_advance_folded, 2**12)
    group = max(1, cells // state[0, 0].numel())
    return torch.cat([advance(rules, part, steps) for part in state.split(group)])


def _advance_compiled(rules: Sequence[CA], state: Tensor, steps: int) -> Tensor:
    base, dynamic = split_base(state)
    air = state[:, GEO_MASK]
    cells = air.nonzero().int()  # (N, 3)
    perceived = compiled.perceive(base.movedim(1, -1), cells)  # (N, 4 * 6)
    layers = []
    for rule in rules:
        # (hidden, 4, C): the filters first, as compiled code has them
        first = rule.w1.weight.unflatten(1, (rule.channels, -1))[..., 0, 0].transpose(1, 2)
        constant = F.linear(perceived, first[..., BASE].flatten(1), rule.w1.bias)
        layers.append(
            (constant, first[..., DYNAMIC].flatten(1).T, rule.w2.weight[DYNAMIC, :, 0, 0].T)
        )
    dynamic = compiled.advance(dynamic.movedim(1, -1), cells, air[air != 0], layers, steps)
    return torch.cat([base, dynamic.movedim(-1, 1)], dim=1)


def _advance_folded(rules: Sequence[CA], state: Tensor, steps: int) -> Tensor:
    base, dynamic = split_base(state)  # (B, 6, H, W), (B, C - 6, H, W)
    dynamic = dynamic.contiguous(memory_format=torch.channels_last)
    air = state[:, GEO_MASK, None]
    folded = [_FoldedRule(rule, base) for rule in rules]
    for _ in range(steps):
        for rule in folded:
            dynamic = dynamic + air * rule.increment(dynamic)
    return torch.cat([base, dynamic], dim=1)


class _FoldedRule:
    """One rule over one city: perception and first layer are linear, hence one 3×3 convolution."""

    def __init__(self, rule: CA, base: Tensor):
        hidden = rule.w1.out_channels
        first_layer = rule.w1.weight.view(hidden, rule.channels, len(FILTERS))
        kernel = torch.einsum("hcf,fij->hcij", first_layer, FILTERS.to(base))
        base_kernel, kernel = kernel.split([BASE_COUNT, rule.channels - BASE_COUNT], dim=1)
        self.kernel = kernel.contiguous(memory_format=torch.channels_last)
        self.constant = _periodic_conv(base, base_kernel) + rule.w1.bias.view(-1, 1, 1)
        self.constant = self.constant.contiguous(memory_format=torch.channels_last)
        self.second_layer = rule.w2.weight[DYNAMIC]  # base channels are never written

    def increment(self, dynamic: Tensor) -> Tensor:
        hidden = torch.relu(self.constant + _periodic_conv(dynamic, self.kernel))
        return F.conv2d(hidden, self.second_layer)


def _periodic_conv(planes: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(F.pad(planes, [1, 1, 1, 1], mode="circular"), kernel)
