"""Rollouts: many steps of one rule, or of several in turn, frozen or recorded for a gradient.

A step applies each rule of a sequence once; PI-NCA's step is the frozen Init-NCA followed by the
trained rule. The base channels never change, so what they add to the hidden layer is computed
ahead. From there a CPU takes compiled code, and an NVIDIA GPU a kernel for what no gradient flows
through; all else, and a system without Numba or Triton, plain PyTorch.
"""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pinca_lib.automaton import CA
from pinca_lib.channels import split_base
from pinca_lib.errors import first_line
from pinca_lib.rollouts.plain import PlainRules

try:
    from pinca_lib.rollouts.cpu import compiled
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
    gradient_checkpoints: int = 0,
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
    gradient_checkpoints : int
        Cut the recorded steps into this many segments, at most one a step. Only the state before
        each segment is kept; the backward pass computes the steps of one segment at a time once
        more. The gradient is the same, the recorded steps are computed twice, and memory falls
        from O(recorded) to O(gradient_checkpoints + recorded / gradient_checkpoints), least near
        the square root of ``recorded``. 0 keeps every recorded step: on a CPU, C - 6 floats a
        cell for each recorded application of a rule.

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
        found = [_roll(rules, part, steps, recorded, gradient_checkpoints) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)


def _is_compiled(state: Tensor) -> bool:
    return state.device.type == "cpu" and compiled is not None and state.dtype in compiled.TYPES


def _roll(
    rules: Sequence[CA], state: Tensor, steps: int, recorded: int, gradient_checkpoints: int
) -> Tensor:
    base, dynamic = split_base(state)  # (B, 6, H, W), (B, C - 6, H, W)
    unrecorded = steps - recorded
    if unrecorded and rules and fused and all(fused.runs_on(base, rule) for rule in rules):
        dynamic, unrecorded = fused.advance(dynamic, fused.over(rules, base), unrecorded), 0
        if not recorded:
            return torch.cat([base, dynamic], dim=1)
    over_city = (compiled.CompiledRules if _is_compiled(state) else PlainRules)(rules, base)
    if unrecorded:
        with torch.no_grad():
            dynamic = over_city.advance(dynamic, unrecorded)
    segments = min(max(gradient_checkpoints, 1), recorded)
    for k in range(segments):
        count = recorded * (k + 1) // segments - recorded * k // segments
        if gradient_checkpoints:
            dynamic = checkpoint(over_city.advance, dynamic, count, use_reentrant=False)
        else:
            dynamic = over_city.advance(dynamic, count)
    return over_city.state(dynamic)
