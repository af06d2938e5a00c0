"""The automaton's step compiled for CPUs: air cells alone, block by block, on every core.

For a block of air cells, small enough to stay in a core's cache,

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air * (h W2)      (n, D), and onto the bounds if the rule keeps them

where D channels are dynamic, and ``constant`` is what the base channels and the bias add to the
hidden layer: computed once a rollout. Numba compiles the loops, and its ``np.dot`` is SciPy's BLAS.
Threads share the cells, and meet after every application of a rule. A rule of wider cells does the
same on blocks; one that follows the wind has p and h in two halves (``kernels``).

Backward, p and h are computed again: a recorded step keeps its state and nothing else. What is
summed up over the steps is as large as ``constant``.

All around the loops is NumPy's: after each parallel work PyTorch's threads wait for more, which
keeps a core that the loops need busy for milliseconds. ``torch.set_num_threads`` is no way out: a
thread that begins meanwhile would keep that number. The threads of NumPy's BLAS wait for a tenth of
a second, so all products are of a ``gathered`` team, whose BLAS has one.
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

CELLS_AT_ONCE = 2**20  # times applications of a rule: some tenths of a second
TYPES = (torch.float32, torch.float64)  # that BLAS knows


class CompiledRules:
    """Rules over some cities, as compiled code has them."""

    def __init__(self, rules: Sequence[CA], base: Tensor):
        self.base = base
        kinds = {(rule.scale, rule.follows_wind) for rule in rules}
        own = {kind: CityArrays.of(base, *kind) for kind in kinds}
        self.rules = [RuleArrays.over(own[rule.scale, rule.follows_wind], rule) for rule in rules]

    def advance(self, dynamic: Tensor, steps: int) -> Tensor:
        return advance(dynamic.movedim(1, -1), self.rules, steps).movedim(-1, 1)

    def state(self, dynamic: Tensor) -> Tensor:
        parts = [self.base, dynamic]  # NumPy's to join, too, where no gradient flows (``compiled``)
        if dynamic.requires_grad:
            return torch.cat(parts, dim=1)
        return torch.from_numpy(np.concatenate([part.numpy() for part in parts], axis=1))


def advance(dynamic: Tensor, rules: Sequence[RuleArrays], steps: int) -> Tensor:
    """Advance dynamic channels by a number of steps, each applying all rules in turn.

    Parameters
    ----------
    dynamic : Tensor of shape (B, H, W, D)
        On the CPU, of one of the ``TYPES``, which is the rules' too. Not changed.
    rules : sequence of RuleArrays
        Over the dynamic channels' city.
    steps : int

    Returns
    -------
    Tensor of shape (B, H, W, D)
        Differentiable by ``dynamic`` in air and by the rules' layers. What is kept for that is
        ``dynamic`` before each application of a rule.
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
        before = states[: applications + 1] if recorded else []
        ctx.save_for_backward(*layers, *map(torch.from_numpy, before))
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
        # Nothing before the first of these is to be differentiated.
        first = 0 if ctx.needs_input_grad[0] else wanted.index(True)
        reached = {i % len(rules) for i in range(first, len(states) - 1)}
        totals = {i: LayerGradient.of(rules[i], weights[i]) for i in reached}
        by_layers = []
        with gathered() as team:
            for i in reversed(range(first, len(states) - 1)):
                which, goes_on = i % len(rules), i > first or ctx.needs_input_grad[0]
                _step_backward(team, rules[which], weights[which], states[i : i + 2], grad,
                               totals[which], goes_on)  # fmt: skip
            for i, rule in enumerate(rules):
                by_layers += totals[i].layers(rule.city) if wanted[i] else [None] * 5
        grads = [np.take(grad, np.argsort(order), axis=-1), None, None, None, *by_layers]
        return tuple(part if part is None else torch.from_numpy(part) for part in grads)


def _march(
    team: Team, rules: Sequence[RuleArrays], weights: Sequence[tuple], steps: int, states
) -> None:
    """Make the others of the first state, in calls short enough for an interrupt in between."""
    sequence = [_application(team, *each, states) for each in zip(rules, weights, strict=True)]
    begins = np.array([team.ends(len(rule.city.cells))[:-1] for rule in rules], np.intp)
    count, cells = steps * len(rules), math.prod(states.shape[1:4])
    alike = len({rule.follows_wind for rule in rules}) == 1  # and so of the same types
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
    """Add the gradient by the layers to a total, ``grad`` being that by the second of ``states``.

    If it ``goes_on`` from there, ``grad`` becomes that by the first.
    """
    old, new = states
    sized, city = _sized(old), rule.city
    if rule.alpha >= 0:
        team(grids.cut, _rows(new), sized, kernels.limits(sized, grad.dtype), new, grad)
    seen, given, passed = old, grad, grad
    if city.scale > 1:
        seen, given, passed = _means(team, city, old), _blocks(city, old), _blocks(city, old)
        team(grids.sum_blocks, _rows(given), city.scale, sized, city.has_air, grad, given)
    work = (len(city.cells), rule.most, city.cells, city.air, rule.frame, rule.weights(weights))
    parts = team(kernels.update_backward, *work, seen, given, total.seen, total.constant)
    total.add(parts)
    if goes_on:
        team(grids.perceive_backward, _rows(given), sized, total.seen, passed)
    if goes_on and city.scale > 1:
        work = (city.scale, sized, city.shares, -1.0, passed, grad, grad)
        team(kernels.add_blocks, _rows(grad), *work)


def _blocks(city: CityArrays, state: np.ndarray) -> np.ndarray:
    """Return zeros for the blocks of a state, (B, h, w, D)."""
    return np.zeros((*city.shape, state.shape[-1]), state.dtype)


def _means(team: Team, city: CityArrays, state: np.ndarray) -> np.ndarray:
    """Return the means of a state over the air of blocks, (B, h, w, D)."""
    means = _blocks(city, state)
    work = (city.scale, _sized(state), city.shares, state, means)
    team(grids.sum_blocks, _rows(means), *work)
    return means


def _rows(state: np.ndarray) -> int:
    return state.shape[0] * state.shape[1]


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _each(layers: Sequence) -> list[tuple]:
    """Return the five layers of each rule."""
    return [tuple(layers[first : first + 5]) for first in range(0, len(layers), 5)]


def _order(dynamic: Tensor) -> list[int]:
    """Return the order of dynamic channels (…, D) in the kernels: even ones, then odd ones."""
    count = BASE_COUNT + dynamic.shape[-1]
    return [c - BASE_COUNT for half in even_and_odd(count, DYNAMIC) for c in half]


def _sized(dynamic: np.ndarray) -> tuple[int, ...]:
    """Return a tuple with an entry for each channel: its length is a constant to the compiler."""
    return (0,) * dynamic.shape[-1]
