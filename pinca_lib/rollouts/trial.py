"""A trial: every implementation must once give the same result as the rule itself."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import DYNAMIC, GEO_MASK
from pinca_lib.errors import first_line
from pinca_lib.physics import ALPHA


class Kind(NamedTuple):
    """What the implementations distinguish in a rule."""

    channels: int
    hidden: int
    follows_wind: bool
    scale: int
    is_bounded: bool


def kind_of(rule: CA) -> Kind:
    """Return the kind of a rule."""
    is_bounded = rule.alpha is not None
    return Kind(rule.channels, rule.w1.out_channels, rule.follows_wind, rule.scale, is_bounded)


def fault(
    advance: Callable[[Sequence[CA], Tensor, int], Tensor],
    kinds: Sequence[Kind],
    device: torch.device,
    dtype: torch.dtype,
    steps: int,
    tolerance: float,
    recorded: bool = False,
) -> str:
    """Roll small random rules out over a small random city, and compare with the rules themselves.

    Return what is wrong; empty if nothing is. ``advance`` is the implementation: it takes rules, a
    state (1, C, H, W) and a number of steps. ``tolerance`` is the largest error, relative to the
    norm of the right result. If ``recorded``, the gradients with respect to the weights are
    compared as well.
    """
    random = torch.Generator().manual_seed(0)
    try:
        with torch.device("cpu"):  # whatever the default device is
            rules = [_rule(kind, random) for kind in kinds]
            start = torch.randn(1, kinds[0].channels, 5, 7, generator=random)
            start[:, GEO_MASK] = (torch.rand(5, 7, generator=random) < 0.8).float()
        rules = [rule.to(device, dtype).requires_grad_(recorded) for rule in rules]
        start = start.to(device, dtype)
        start[:, DYNAMIC] *= start[:, GEO_MASK, None]
        expected = start
        with torch.set_grad_enabled(recorded), torch.backends.cudnn.flags(allow_tf32=False):
            for _ in range(steps):
                for rule in rules:
                    expected = rule(expected)
            found = advance(rules, start, steps)
            pairs = [(found[:, DYNAMIC], expected[:, DYNAMIC])]
            if recorded:
                weights = [weight for rule in rules for weight in rule.parameters()]
                gradients = [torch.autograd.grad(state[:, DYNAMIC].square().sum(), weights)
                             for state in (found, expected)]  # fmt: skip
                pairs += zip(*gradients, strict=True)
        for ours, right in pairs:
            error = ((ours - right).norm() / right.norm()).item()
            if not error < tolerance:  # true for NaN as well
                return f"its relative error is {error:.1g}, more than {tolerance:g}"
    except Exception as failure:  # compilers and drivers raise errors of many types
        return first_line(failure)
    return ""


def _rule(kind: Kind, random: torch.Generator) -> CA:
    alpha = ALPHA if kind.is_bounded else None
    with torch.random.fork_rng(devices=[]):  # a new rule draws weights: keep the caller's numbers
        rule = CA(
            kind.channels, kind.hidden, alpha=alpha,
            follows_wind=kind.follows_wind, scale=kind.scale,
        ).requires_grad_(False)  # fmt: skip
    for weight, size in ((rule.w1.weight, 1 / kind.channels), (rule.w2.weight, 0.1 / kind.hidden)):
        weight.copy_(size * torch.randn(weight.shape, generator=random))
    return rule
