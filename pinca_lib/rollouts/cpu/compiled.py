"""Rollouts on a CPU in compiled loops: only air cells, block by block, on every core.

For n air cells, a block that fits into the cache of a core, a step computes

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air (h W2)        (n, D), then projected onto the bounds, if there are any

D is the number of dynamic channels. ``constant`` is the contribution of the base channels and the
bias to the hidden layer, computed once per rollout. Numba compiles the loops; ``np.dot`` calls
SciPy's BLAS. Threads share the cells and wait for each other after every application of a rule. A
rule on coarse cells does the same on blocks. In the wind frame p and h have an even and an odd part
(``kernels``).

The backward pass computes p and h again, so a recorded step stores only its state. The gradient
that it sums over the steps is as large as ``constant``.

The code around the loops uses NumPy instead of PyTorch: after each parallel operation PyTorch's
threads wait actively for the next one, and keep a core busy for milliseconds that the loops need.
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
from pinca_lib.rollouts.cpu.marching import Application, march
from pinca_lib.rollouts.cpu.prepared import CityArrays, LayerGradient, RuleArrays
from pinca_lib.rollouts.cpu.teams import Team, gathered

CELLS_AT_ONCE = 2**20  # cells times applications per compiled call: some tenths of a second
TYPES = (torch.float32, torch.float64)  # the types that BLAS supports


class CompiledRules:
    """Rules for given cities, base channels (B, 6, H, W), in compiled loops."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base = base
        kinds = {(rule.scale, rule.follows_wind) for rule in rules}
        city = {kind: CityArrays.of(base, *kind) for kind in kinds}
        self.rules = [RuleArrays.over(city[rule.scale, rule.follows_wind], rule) for rule in rules]

    def advance(self, dynamic: Tensor, steps: int) -> Tensor:
        """Advance dynamic channels (B, D, H, W) by a number of steps."""
        return advance(dynamic.movedim(1, -1), self.rules, steps).movedim(-1, 1)

    def state(self, dynamic: Tensor) -> Tensor:
        """Return the state (B, C, H, W) with these dynamic channels."""
        parts = [self.base, dynamic]
        if dynamic.requires_grad:  # otherwise NumPy joins them, to keep PyTorch's threads out
            return torch.cat(parts, dim=1)
        return torch.from_numpy(np.concatenate([part.numpy() for part in parts], axis=1))


def advance(dynamic: Tensor, rules: Sequence[RuleArrays], steps: int) -> Tensor:
    """Advance dynamic channels by a number of steps. Each step applies all rules in turn.

    Parameters
    ----------
    dynamic : Tensor of shape (B, H, W, D)
        On the CPU, of one of the ``TYPES``, which must be that of the rules. It is not changed.
    rules : sequence of RuleArrays
        Rules for the cities of ``dynamic``.
    steps : int
        Number of steps.

    Returns
    -------
    Tensor of shape (B, H, W, D)
        Differentiable with respect to the layers of the rules, and to ``dynamic`` in air. For this,
        ``dynamic`` before each application of a rule is stored.
    """
    recorded = torch.is_grad_enabled()
    layers = [layer for rule in rules for layer in rule.layers]
    return _Advance.apply(dynamic, rules, steps, recorded, *layers)


class _Advance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dynamic, rules, steps, recorded, *layers):
        order = _order(dynamic)
        applications = steps * len(rules)
        shape = (applications + 1 if recorded else 2, *dynamic.shape)
        states = np.empty(shape, dynamic.numpy().dtype)
        states[0] = dynamic.numpy()[..., order]
        with gathered() as team:
            _march(team, rules, _each(_arrays(*layers)), steps, states)
        ctx.rules = rules
        saved = [torch.from_numpy(state) for state in states] if recorded else []
        ctx.save_for_backward(*layers, *saved)
        last = states[applications % len(states)]
        return torch.from_numpy(np.take(last, np.argsort(order), axis=-1))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rules, count = ctx.rules, 5 * len(ctx.rules)
        saved = _arrays(*ctx.saved_tensors)
        weights, states = _each(saved[:count]), saved[count:]
        wanted = [any(needed) for needed in _each(ctx.needs_input_grad[4:])]
        order = _order(grad)
        grad = np.ascontiguousarray(grad.numpy()[..., order])
        # Applications before the first one need no gradient.
        first = 0 if ctx.needs_input_grad[0] else wanted.index(True)
        reached = {i % len(rules) for i in range(first, len(states) - 1)}
        totals = {i: LayerGradient.of(rules[i], weights[i]) for i in reached}
        by_layers: list[np.ndarray | None] = []
        with gathered() as team:
            for i in reversed(range(first, len(states) - 1)):
                which, goes_on = i % len(rules), i > first or ctx.needs_input_grad[0]
                _step_backward(team, rules[which], weights[which], states[i : i + 2], grad,
                               totals[which], goes_on)  # fmt: skip
            for i, rule in enumerate(rules):
                if wanted[i]:
                    by_layers.extend(totals[i].layers(rule.city))
                else:
                    by_layers.extend([None] * 5)
        grads = [np.take(grad, np.argsort(order), axis=-1), None, None, None, *by_layers]
        return tuple(part if part is None else torch.from_numpy(part) for part in grads)


def _march(
    team: Team, rules: Sequence[RuleArrays], weights: Sequence[tuple], steps: int, states
) -> None:
    """Compute all states from the first one. Calls are short, so that an interrupt gets through."""
    sequence = [_application(team, *each, states) for each in zip(rules, weights, strict=True)]
    begins = np.array([team.ends(len(rule.city.cells))[:-1] for rule in rules], np.intp)
    count, cells = steps * len(rules), math.prod(states.shape[1:4])
    alike = len({rule.follows_wind for rule in rules}) == 1  # so that all have the same types
    at_once = max(CELLS_AT_ONCE // max(cells, 1), 1) if alike else 1
    for first in range(0, count, at_once):
        which = np.arange(first, min(first + at_once, count)) % len(rules)
        several = sequence if alike else [sequence[which[0]]]
        team.meeting(march, first, begins[which], tuple(several), states)


def _application(team: Team, rule: RuleArrays, layers: tuple, states: np.ndarray) -> Application:
    city = rule.city
    return Application(
        ends=np.array(team.ends(len(city.cells))[1:], np.intp),
        most=rule.most,
        cells=city.cells,
        air=city.air,
        frame=rule.frame,
        weights=rule.weights(layers),
        alpha=rule.alpha,
        scale=city.scale,
        shares=city.shares,
        has_air=city.has_air,
        blocks=np.zeros((3 * (city.scale > 1), *city.shape, states.shape[-1]), states.dtype),
    )


def _step_backward(
    team: Team,
    rule: RuleArrays,
    weights: tuple,
    states: Sequence,
    grad,
    total: LayerGradient,
    goes_on: bool,
) -> None:
    """Take one application of a rule backward.

    ``states`` are the states before and after it, and ``grad`` is the gradient with respect to the
    state after it. The gradient with respect to the layers is added to ``total``. If the gradient
    ``goes_on`` to earlier applications, ``grad`` becomes that with respect to the state before it.
    """
    old, new = states
    sized, city = _sized(old), rule.city
    if rule.alpha >= 0:
        team(grids.cut, _rows(new), sized, kernels.limits(sized, grad.dtype), new, grad)
    seen, by_increment, by_seen = old, grad, grad
    if city.scale > 1:
        seen, by_increment, by_seen = (
            _means(team, city, old),
            _blocks(city, old),
            _blocks(city, old),
        )
        team(grids.sum_blocks, _rows(seen), city.scale, sized, city.has_air, grad, by_increment)
    rule_over_cells = rule.most, city.cells, city.air, rule.frame, rule.weights(weights)
    arrays = seen, by_increment, total.seen, total.constant
    total.add(team(kernels.update_backward, len(city.cells), *rule_over_cells, *arrays))
    if goes_on:
        team(grids.perceive_backward, _rows(seen), sized, total.seen, by_seen)
    if goes_on and city.scale > 1:
        blocks = city.scale, sized, city.shares, -1.0, by_seen
        team(kernels.add_blocks, _rows(grad), *blocks, grad, grad)


def _blocks(city: CityArrays, state: np.ndarray) -> np.ndarray:
    """Return an array of zeros for the blocks of a state, (B, h, w, D)."""
    return np.zeros((*city.shape, state.shape[-1]), state.dtype)


def _means(team: Team, city: CityArrays, state: np.ndarray) -> np.ndarray:
    """Return the means of a state over the air of each block, (B, h, w, D)."""
    means = _blocks(city, state)
    team(grids.sum_blocks, _rows(means), city.scale, _sized(state), city.shares, state, means)
    return means


def _rows(state: np.ndarray) -> int:
    return state.shape[0] * state.shape[1]


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _each(layers: Sequence) -> list[tuple]:
    """Group a list of layers by rule; each rule has five."""
    return [tuple(layers[first : first + 5]) for first in range(0, len(layers), 5)]


def _order(dynamic: Tensor) -> list[int]:
    """Return the order of dynamic channels (…, D) in the kernels: even channels, then odd ones."""
    count = BASE_COUNT + dynamic.shape[-1]
    return [c - BASE_COUNT for part in even_and_odd(count, DYNAMIC) for c in part]


def _sized(dynamic: np.ndarray) -> tuple[int, ...]:
    """Return a tuple with one entry per channel (see ``lanes``)."""
    return (0,) * dynamic.shape[-1]
