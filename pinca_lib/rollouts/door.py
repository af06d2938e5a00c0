"""Rollouts: many steps of one rule, or of several in turn, frozen or recorded for a gradient.

A step applies each rule of a sequence once; PI-NCA's step is the frozen Init-NCA followed by the
trained rule. The base channels never change, so what they add to the hidden layer is computed
ahead. From there a CPU takes compiled code, and an NVIDIA GPU a kernel for what no gradient flows
through; all else, and a system without Numba or Triton, plain PyTorch.
"""

import math
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

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
    shares_of_air,
    spread,
    turned,
    turned_perception,
)
from pinca_lib.channels import BASE, DYNAMIC, GEO_MASK, split_base
from pinca_lib.errors import first_line

try:
    from pinca_lib.rollouts.cpu import compiled, prepared as cities
except (ImportError, RuntimeError) as error:  # no Numba for this system, or no place for its cache
    warnings.warn(f"no compiled code ({first_line(error)}): plain PyTorch, slower", stacklevel=2)
    compiled = None
try:
    from pinca_lib.rollouts.gpu import fused
except ImportError:  # no Triton: on a CPU, and on Windows
    fused = None


def rollout(
    rules: Sequence[CA],
    state: Tensor,
    steps: int,
    recorded: int = 0,
    checkpointed: bool = False,
) -> Tensor:
    """Advance a state by a number of steps, recording the last ones for the gradient.

    All is computed in the precision of the state, under ``torch.autocast`` as well.

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
        once more for the backward pass: memory O(sqrt(recorded)) in place of O(recorded), which
        on a CPU is C - 6 floats a cell for each recorded application of a rule.

    Returns
    -------
    Tensor of shape (B, C, H, W)

    Raises
    ------
    ValueError
        If a rule is for another number of channels.
    """
    for rule in rules:
        if rule.channels != state.shape[1]:
            raise ValueError(f"a rule of {rule.channels} channels, a state of {state.shape[1]}")
    recorded = min(recorded, steps) if torch.is_grad_enabled() else 0
    group = len(state)
    if state.device.type == "cpu":  # a few samples at a time, for its cache
        cells = 2**15 if _is_compiled(state) else 2**12
        group = max(1, cells // math.prod(state.shape[-2:]))
    as_it_is = torch.autocast(state.device.type, enabled=False)
    with as_it_is, torch.set_grad_enabled(recorded > 0):
        parts = state.detach().split(group)
        found = [_roll(rules, part, steps, recorded, checkpointed) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)


def _is_compiled(state: Tensor) -> bool:
    return state.device.type == "cpu" and compiled is not None and state.dtype in compiled.TYPES


def _roll(
    rules: Sequence[CA], state: Tensor, steps: int, recorded: int, checkpointed: bool
) -> Tensor:
    base, dynamic = split_base(state)  # (B, 6, H, W), (B, C - 6, H, W)
    unrecorded = steps - recorded
    if unrecorded and rules and fused and all(fused.runs_on(base, rule) for rule in rules):
        dynamic, unrecorded = fused.advance(dynamic, fused.over(rules, base), unrecorded), 0
        if not recorded:
            return torch.cat([base, dynamic], dim=1)
    over_city = (_CompiledRules if _is_compiled(state) else _TorchRules)(rules, base)
    if unrecorded:
        with torch.no_grad():
            dynamic = over_city.advance(dynamic, unrecorded)
    segment = math.isqrt(recorded) if checkpointed else recorded
    for first in range(0, recorded, segment or 1):
        count = min(segment, recorded - first)
        if checkpointed:
            dynamic = checkpoint(over_city.advance, dynamic, count, use_reentrant=False)
        else:
            dynamic = over_city.advance(dynamic, count)
    return over_city.state(dynamic)


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
        w1, w2 = turned_perception(w1, wind, 2), turned(w2, wind, 1)
    return w1, bias, w2


class _CompiledRules:
    """Rules over some cities, as compiled code has them."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base = base
        kinds = {(rule.scale, rule.follows_wind) for rule in rules}
        own = {kind: cities.City.of(base, *kind) for kind in kinds}
        self.rules = [cities.Rule.over(own[rule.scale, rule.follows_wind], rule) for rule in rules]

    def advance(self, dynamic: Tensor, steps: int) -> Tensor:
        dynamic = dynamic.movedim(1, -1)
        return compiled.advance(dynamic, self.rules, steps).movedim(-1, 1)

    def state(self, dynamic: Tensor) -> Tensor:
        parts = [self.base, dynamic]  # NumPy's to join, too, where no gradient flows (``compiled``)
        if dynamic.requires_grad:
            return torch.cat(parts, dim=1)
        return torch.from_numpy(np.concatenate([part.numpy() for part in parts], axis=1))


class _TorchRules:
    """Rules over some cities, in plain PyTorch."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base, self.air = base, base[:, GEO_MASK, None] > 0
        is_folded = not any(rule.follows_wind for rule in rules)
        self.layout = torch.channels_last if is_folded else torch.contiguous_format
        self.rules = [_increments_over(rule, base) for rule in rules]

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


def _increments_over(rule: CA, base: Tensor) -> tuple:
    """Return a function from states of blocks to their increments, shares of air, scale, alpha."""
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
    return increment, shares, rule.scale, None if rule.alpha is None else float(rule.alpha)


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
