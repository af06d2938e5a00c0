"""Rollouts on a CPU in compiled loops: only air cells, block by block, on every core.

For n air cells, a block that fits into the cache of a core, a step computes

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air (h W2)        (n, D), then projected onto the bounds, if there are any

D is the number of dynamic channels. ``constant`` is the contribution of the base channels and the
bias to the hidden layer, computed once per rollout. Numba compiles the loops; ``np.dot`` calls
SciPy's BLAS. Threads share the cells and wait for each other after every application of a rule. A
rule on coarse cells does the same on blocks; threads wait twice more, for the means of blocks and
for their increments. In the wind frame p and h have an even and an odd part (``kernels``).

The backward pass computes p and h again, so a recorded step stores only its state. The gradient
that it sums over the steps is as large as ``constant``.

The code around the loops uses NumPy for almost all that is as large as a city: after each parallel
operation PyTorch's threads wait actively for the next one, and keep cores busy for milliseconds.
``torch.set_num_threads`` does not help, because a thread that starts in the meantime would keep the
changed number. The threads of NumPy's BLAS wait for a tenth of a second, so all matrix products are
computed within ``gathered``, which limits BLAS to one thread.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pinca_lib.automaton import CA, even_and_odd
from pinca_lib.channels import BASE_COUNT, DYNAMIC
from pinca_lib.rollouts.cpu import grids, kernels
from pinca_lib.rollouts.cpu.kernels import Rule
from pinca_lib.rollouts.cpu.prepared import LayerGradient, Layers, prepared_city, prepared_rule
from pinca_lib.rollouts.cpu.teams import Team, gathered

CELLS_AT_ONCE = 2**20  # cells times applications per compiled call: some tenths of a second
TYPES = (torch.float32, torch.float64)  # the types that BLAS supports


class CompiledRules:
    """Rules for given cities, base channels (B, 6, H, W), in compiled loops."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base = base
        kinds = {(rule.scale, rule.follows_wind) for rule in rules}
        with gathered() as team:
            city = {kind: prepared_city(team, base, *kind) for kind in kinds}
            prepared = [
                prepared_rule(team, city[rule.scale, rule.follows_wind], rule) for rule in rules
            ]
        self.rules = [rule for rule, _ in prepared]
        self.layers = [tensor for _, layers in prepared for tensor in layers]

    def advance(self, dynamic: Tensor, steps: int) -> Tensor:
        """Advance dynamic channels (B, D, H, W) by a number of steps.

        The result is differentiable with respect to the layers of the rules, and to ``dynamic`` in
        air. For this, ``dynamic`` before each application of a rule is stored.
        """
        recorded = torch.is_grad_enabled()
        dynamic = dynamic.movedim(1, -1)
        return _Advance.apply(dynamic, self.rules, steps, recorded, *self.layers).movedim(-1, 1)

    def state(self, dynamic: Tensor) -> Tensor:
        """Return the state (B, C, H, W) with these dynamic channels."""
        parts = [self.base, dynamic]
        if dynamic.requires_grad:  # otherwise NumPy joins them, to keep PyTorch's threads out
            return torch.cat(parts, dim=1)
        return torch.from_numpy(np.concatenate([part.numpy() for part in parts], axis=1))


class _Advance(torch.autograd.Function):
    """Advance dynamic channels (B, H, W, D)."""

    @staticmethod
    def forward(ctx, dynamic, rules, steps, recorded, *layers):
        order = _order(dynamic)
        applications = steps * len(rules)
        shape = (applications + 1 if recorded else 2, *dynamic.shape)
        states = np.empty(shape, dynamic.numpy().dtype)
        states[:] = dynamic.numpy()[..., order]  # all, as a rule of scale 1 writes only air
        with gathered() as team:
            _march(team, rules, applications, states)
        ctx.rules = rules
        ctx.save_for_backward(*(map(torch.from_numpy, states) if recorded else ()))
        last = states[applications % len(states)]
        return torch.from_numpy(np.take(last, np.argsort(order), axis=-1))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rules, each = ctx.rules, len(Layers._fields)
        states = [state.numpy() for state in ctx.saved_tensors]
        start_wanted, _, _, _, *needed = ctx.needs_input_grad
        wanted = [any(needed[i * each : (i + 1) * each]) for i in range(len(rules))]
        order = _order(grad)
        grad = np.ascontiguousarray(grad.numpy()[..., order])
        # Applications before the first one need no gradient.
        first = 0 if start_wanted else wanted.index(True)
        reached = {i % len(rules) for i in range(first, len(states) - 1)}
        totals = {i: LayerGradient.of(rules[i]) for i in reached}
        by_layers: list[np.ndarray | None] = [None] * len(needed)
        with gathered() as team:
            for i in reversed(range(first, len(states) - 1)):
                total, goes_on = totals[i % len(rules)], i > first or start_wanted
                _step_backward(team, total, states[i], states[i + 1], grad, goes_on)
            for i, total in totals.items():
                if wanted[i]:
                    by_layers[i * each : (i + 1) * each] = total.layers()
        grads = [np.take(grad, np.argsort(order), axis=-1), None, None, None, *by_layers]
        return tuple(part if part is None else torch.from_numpy(part) for part in grads)


def _march(team: Team, rules: Sequence[Rule], applications: int, states: np.ndarray) -> None:
    """Compute all states from the first one. Calls are short, so that an interrupt gets through."""
    alike = len({rule.frame.odds for rule in rules}) == 1  # so that all have the same types
    at_once = max(CELLS_AT_ONCE // max(math.prod(states.shape[1:4]), 1), 1) if alike else 1
    for first in range(0, applications, at_once):
        some = rules if alike else [rules[first % len(rules)]]
        team.meeting(grids.march, first, min(first + at_once, applications), tuple(some), states)


def _step_backward(
    team: Team,
    total: LayerGradient,
    old: np.ndarray,
    new: np.ndarray,
    grad: np.ndarray,
    goes_on: bool,
) -> None:
    """Take one application of a rule backward.

    ``grad`` is the gradient with respect to the state ``new`` after it. The gradient with respect
    to the layers is added to ``total``. If the gradient ``goes_on`` to earlier applications,
    ``grad`` becomes that with respect to the state ``old`` before it.
    """
    rule = total.rule
    city, is_coarse = rule.city, rule.city.scale > 1
    rows, coarse_rows = (shape[0] * shape[1] for shape in (old.shape, city.shape))
    if rule.alpha >= 0:
        team(grids.cut, rows, rule, new, grad)
    seen, by_new, by_old = old, grad, grad
    if is_coarse:
        seen, by_new, by_old = rule.means, rule.increments, np.zeros_like(rule.means)
        team(grids.sum_blocks, coarse_rows, rule, city.shares, old, seen)
        team(grids.sum_blocks, coarse_rows, rule, city.has_air, grad, by_new)
    arguments = rule, seen, by_new, total.seen, total.constant
    total.add(team(kernels.update_backward, len(city.cells), *arguments))
    if goes_on:
        team(grids.perceive_backward, coarse_rows, rule, total.seen, by_old)
    if goes_on and is_coarse:
        team(grids.add_blocks, rows, rule, city.shares, -1.0, by_old, grad, grad)


def _order(dynamic: Tensor) -> list[int]:
    """Return the order of dynamic channels (…, D) in the kernels: even channels, then odd ones."""
    count = BASE_COUNT + dynamic.shape[-1]
    return [c - BASE_COUNT for part in even_and_odd(count, DYNAMIC) for c in part]
