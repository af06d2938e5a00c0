"""Rollouts: many steps of one or several rules, with or without a gradient.

A step applies each rule once, in order. A step of the PI-NCA, for example, applies the frozen
Init-NCA and then the PI-NCA itself. ``rollout`` chooses the implementation: compiled loops on a
CPU, and kernels on an NVIDIA GPU for the steps that need no gradient. Everything else uses plain
PyTorch, and so does a system without Numba or Triton.

Each implementation is tried before it is trusted: once per process and kind of rules, it must give
the same result as the rules themselves (``trial``). If it fails for any reason, plain PyTorch takes
its place, with a warning of one line.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pinca_lib.automaton import CA
from pinca_lib.channels import split_base
from pinca_lib.errors import first_line
from pinca_lib.rollouts import trial
from pinca_lib.rollouts.plain import PlainRules
from pinca_lib.rollouts.quota import cores_granted

TOLERANCE = 1e-4  # relative error of a trial of the compiled loops, in float32


def _warn(reason: str) -> None:
    warnings.warn(
        f"no compiled code ({reason}): using plain PyTorch, which is slower", stacklevel=3
    )


if (granted := cores_granted()) and granted < torch.get_num_threads():
    torch.set_num_threads(granted)  # all implementations take their number of threads from PyTorch

compiled: ModuleType | None = None
fused: ModuleType | None = None
try:
    compiled = import_module("pinca_lib.rollouts.cpu.compiled")
except Exception as error:  # Numba is missing, say, or does not go with the other libraries
    _warn(first_line(error))
try:
    fused = import_module("pinca_lib.rollouts.gpu.fused")
except ImportError:  # PyTorch brings Triton along only for CUDA on Linux
    pass
except Exception as error:
    _warn(first_line(error))


def rollout(
    rules: Sequence[CA],
    state: Tensor,
    steps: int,
    recorded: int = 0,
    gradient_checkpoints: int = 0,
) -> Tensor:
    """Advance a state by a number of steps. The last ones can be recorded for a gradient.

    The precision is that of the state, also under ``torch.autocast``.

    Parameters
    ----------
    rules : sequence of CA
        Every step applies each of them once, in this order. At least one.
    state : Tensor of shape (B, C, H, W)
        Initial state, in the units of ``channels``. It is not changed.
    steps : int
        Number of steps.
    recorded : int
        Number of last steps through which the gradient flows. Earlier states are constants.
    gradient_checkpoints : int
        Number of segments into which the recorded steps are divided, at most one per step. Only
        the state before each segment is stored, and the backward pass computes the steps of a
        segment again. The gradient is the same, and the recorded steps are computed twice. Memory
        falls from O(recorded) to O(gradient_checkpoints + recorded / gradient_checkpoints), which
        is smallest near the square root of ``recorded``. 0 stores every recorded step; on a CPU
        that takes C - 6 floats per cell for each recorded application of a rule.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        Final state.

    Raises
    ------
    ValueError
        If there is no rule, or one has another number of channels, precision or device than the
        state.
    """
    if not rules:
        raise ValueError("a rollout needs at least one rule")
    for rule in rules:
        if rule.channels != state.shape[1]:
            raise ValueError(
                f"the rule has {rule.channels} channels, but the state has {state.shape[1]}"
            )
        weight = rule.w1.weight
        if (weight.dtype, weight.device) != (state.dtype, state.device):
            raise ValueError(
                f"the rule is {weight.dtype} on {weight.device}, but the state is {state.dtype} on "
                f"{state.device}"
            )
    recorded = min(recorded, steps) if torch.is_grad_enabled() else 0
    no_autocast = torch.autocast(state.device.type, enabled=False)
    with no_autocast, torch.set_grad_enabled(recorded > 0):
        make, group = _implementation(rules, state, recorded > 0), len(state)
        if state.device.type == "cpu":
            # A few samples at a time: in plain PyTorch their hidden layers fit into the cache. The
            # loops are as fast with more, but take less memory: a third over 6 × 128² cells.
            cells = 2**12 if make is PlainRules else 2**15
            group = max(1, cells // math.prod(state.shape[-2:]))
        groups = state.detach().split(group)
        after = [_roll(make, rules, some, steps, recorded, gradient_checkpoints) for some in groups]
        return after[0] if len(after) == 1 else torch.cat(after)


def _implementation(rules: Sequence[CA], state: Tensor, recorded: bool) -> type:
    """Return the compiled loops if they can be used for this state, otherwise plain PyTorch."""
    if (
        compiled
        and state.device.type == "cpu"
        and state.dtype in compiled.TYPES
        and _is_trusted(tuple(map(trial.kind_of, rules)), state.dtype, recorded)
    ):
        return compiled.CompiledRules
    return PlainRules


@cache
def _is_trusted(kinds: tuple[trial.Kind, ...], dtype: torch.dtype, recorded: bool) -> bool:
    """Return whether the compiled loops pass their trial; if not, warn with the reason."""

    def advance(rules: Sequence[CA], state: Tensor, steps: int) -> Tensor:
        assert compiled is not None
        return _roll(compiled.CompiledRules, rules, state, steps, steps if recorded else 0, 0)

    reason = trial.fault(advance, kinds, torch.device("cpu"), dtype, 2, TOLERANCE, recorded)
    if reason:
        _warn(reason)
    return not reason


def _roll(
    make: type,
    rules: Sequence[CA],
    state: Tensor,
    steps: int,
    recorded: int,
    gradient_checkpoints: int,
) -> Tensor:
    base, dynamic = split_base(state)  # (B, 6, H, W), (B, C - 6, H, W)
    unrecorded = steps - recorded
    if unrecorded and fused and all(fused.runs_on(base, rule) for rule in rules):
        dynamic, unrecorded = fused.advance(dynamic, fused.over(rules, base), unrecorded), 0
        if not recorded:
            return torch.cat([base, dynamic], dim=1)
    over_city = make(rules, base)
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
