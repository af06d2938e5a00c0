"""The automaton's step compiled for CPUs: air cells alone, block by block, on every core.

For a block of air cells, small enough to stay in a core's cache,

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air * (h W2)      (n, D), and onto the bounds if the rule keeps them

where D channels are dynamic, and ``constant`` is what the base channels and the bias add to the
hidden layer: computed once a rollout. Numba compiles the loops, and its ``np.dot`` is SciPy's BLAS.
Threads share the cells, and meet after every application of a rule. A rule of wider cells does the
same on blocks.

Backward, p and h are computed again: a recorded step keeps its state and nothing else.

All around the loops is NumPy's: after each parallel work PyTorch's threads wait for more, which
keeps a core that the loops need busy for milliseconds. ``torch.set_num_threads`` is no way out: a
thread that begins meanwhile would keep that number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pinca_lib import kernels, physics
from pinca_lib.automaton import FILTERS, MEMORY_LIMIT
from pinca_lib.channels import BASE_COUNT, FIELDS, GEO_MASK, KNOWN_COUNT
from pinca_lib.teams import Team, gathered

if not np.array_equal(kernels.TAPS, FILTERS.flatten(1)):
    raise AssertionError("kernels.TAPS must be automaton.FILTERS, row by row")
if (FIELDS.start, kernels.MARGIN) != (BASE_COUNT, physics.MARGIN) or (
    (kernels.MEMORY, kernels.MEMORY_LIMIT) != (KNOWN_COUNT - BASE_COUNT, MEMORY_LIMIT)
):
    raise AssertionError("kernels.realise must do what automaton.bounded does")

TYPES = (torch.float32, torch.float64)  # that BLAS knows


@dataclass(frozen=True)
class City:
    """What the automaton is given and never changes, at the N cells that do change.

    Cells are those of a rule, ``scale`` times as wide as the state's (B, H, W).

    Attributes
    ----------
    scale : int
    shape : tuple of int
        B, h, w: the cells of the rule.
    cells : ndarray of shape (N, 3), int32
        Sample, row and column.
    air : ndarray of shape (N,)
        What their increments are multiplied by.
    perceived : ndarray of shape (N, 4 * 6)
        The base channels through the filters, filter by filter.
    shares : ndarray of shape (B, H, W)
        Which share of the air of its block each cell of the state holds.
    has_air : ndarray of shape (B, H, W)
        1 in each cell of the state that holds air, else 0.
    """

    scale: int
    shape: tuple[int, int, int]
    cells: np.ndarray
    air: np.ndarray
    perceived: np.ndarray
    shares: np.ndarray
    has_air: np.ndarray

    @classmethod
    def of(cls, base: Tensor, scale: int = 1) -> "City":
        """Return the city of base channels of shape (B, 6, H, W)."""
        whole = base.numpy()
        own = _block_sums(whole, scale) / _block_sums(np.ones_like(whole[:1, :1]), scale)
        air, has_air = own[:, GEO_MASK], (whole[:, GEO_MASK] > 0).astype(whole.dtype)
        total = _block_sums(whole[:, GEO_MASK], scale).repeat(scale, 1).repeat(scale, 2)
        total = total[:, : whole.shape[2], : whole.shape[3]]
        shares = np.divide(whole[:, GEO_MASK], total, out=np.zeros_like(total), where=total > 0)
        cells = np.argwhere(air).astype(np.int32)
        planes = np.ascontiguousarray(np.moveaxis(own, 1, -1))
        perceived = np.empty((len(cells), len(FILTERS) * planes.shape[-1]), planes.dtype)
        kernels.perceive(cells, _sized(planes), planes, perceived)
        return cls(scale, air.shape, cells, air[air != 0], perceived, shares, has_air)


@dataclass(frozen=True)
class Rule:
    """A rule over a city.

    Attributes
    ----------
    layers : (W1, bias, W2)
        W1 (G, 4 C, hidden) has the rows of the dynamic channels first, filter by filter, then
        those of the base channels; bias is (hidden,), W2 (G, hidden, D); G is B, or 1 for all.
    constant : ndarray of shape (N, hidden)
        What base channels and bias add to the hidden layer of the city's N cells.
    alpha : float
        As in ``CA``; -1 for None.
    city : City
    """

    layers: tuple[Tensor, Tensor, Tensor]
    constant: np.ndarray
    alpha: float
    city: City

    @classmethod
    def over(cls, city: City, layers: tuple[Tensor, Tensor, Tensor], alpha: float) -> "Rule":
        """Prepare a rule for a city of its cells, once for a rollout."""
        perceived, (w1, bias) = city.perceived, _arrays(*layers[:2])
        constant = np.empty((len(perceived), len(bias)), w1.dtype)
        with gathered() as team:
            team(kernels.base_share, len(perceived), city.cells, perceived, w1, bias, constant)
        return cls(layers, constant, alpha, city)


def advance(dynamic: Tensor, rules: Sequence[Rule], steps: int) -> Tensor:
    """Advance dynamic channels by a number of steps, each applying all rules in turn.

    Parameters
    ----------
    dynamic : Tensor of shape (B, H, W, D)
        On the CPU, of one of the ``TYPES``, which is the rules' too. Not changed.
    rules : sequence of Rule
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
        old = np.array(dynamic.numpy(), order="C")
        new = old.copy()
        before = []
        sequence = list(zip(rules, _triples(_arrays(*layers)), strict=True))
        with gathered() as team:
            for rule, weights in sequence * steps:
                _step(team, rule, weights, old, new)
                if recorded:
                    before.append(torch.from_numpy(old))
                old, new = new, new.copy() if recorded else old
        ctx.rules = rules
        after = torch.from_numpy(old)
        ctx.save_for_backward(*layers, *before, after)
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rules, count = ctx.rules, 3 * len(ctx.rules)
        saved = _arrays(*ctx.saved_tensors)
        weights, states = _triples(saved[:count]), saved[count:]
        grads = [np.zeros_like(layer) for layer in saved[:count]]
        wanted = [any(needed) for needed in _triples(ctx.needs_input_grad[4:])]
        grad = grad.contiguous().numpy().copy()
        seen = [np.zeros((*rule.city.shape, len(FILTERS) * grad.shape[-1]), grad.dtype)
                for rule in rules]  # fmt: skip
        # Nothing before the first of these is to be differentiated.
        first = 0 if ctx.needs_input_grad[0] else wanted.index(True)
        with gathered() as team:
            for i in reversed(range(first, len(states) - 1)):
                own, on = i % len(rules), i > first or ctx.needs_input_grad[0]
                step = (team, rules[own], weights[own], states[i : i + 2], grad, seen[own], on)
                for total, part in zip(_triples(grads)[own], _step_backward(*step), strict=True):
                    total += part
        return torch.from_numpy(grad), None, None, None, *map(torch.from_numpy, grads)


def _step(team: Team, rule: Rule, weights: tuple, old, new) -> None:
    """Write what one application of a rule makes of ``old``; buildings stay as they are."""
    sized, own = _sized(old), rule.city
    w1, _, w2 = weights
    seen = (rule.constant, w1, w2)
    where = (len(own.cells), own.cells, own.air)
    if own.scale == 1:
        team(kernels.step, *where, (*seen, rule.alpha), sized, old, old, new)
        return
    means, none = _means(team, own, old), _blocks(own, old)
    increments = none.copy()
    team(kernels.step, *where, (*seen, -1.0), sized, means, none, increments)
    work = (own.scale, sized, own.has_air, rule.alpha, increments, old, new)
    team(kernels.add_blocks, _rows(new), *work)


def _step_backward(
    team: Team, rule: Rule, weights: tuple, states: Sequence, grad, grad_p, on: bool
) -> list[np.ndarray]:
    """Return the gradient by the layers, ``grad`` being that by the second of the ``states``.

    If it goes ``on`` from there, ``grad`` becomes that by the first.
    """
    old, new = states
    sized, own = _sized(old), rule.city
    if rule.alpha >= 0:
        team(kernels.realise_backward, _rows(new), new, grad)
    seen, given, passed = old, grad, grad
    if own.scale > 1:
        seen, given, passed = _means(team, own, old), _blocks(own, old), _blocks(own, old)
        team(kernels.sum_blocks, _rows(given), own.scale, sized, own.has_air, grad, given)
    step = (own.cells, own.air, own.perceived, weights, sized, seen, given, grad_p)
    parts = team(kernels.update_backward, len(own.cells), *step)
    if on:
        team(kernels.perceive_backward, _rows(given), sized, grad_p, passed)
    if on and own.scale > 1:
        work = (own.scale, sized, own.shares, -1.0, passed, grad, grad)
        team(kernels.add_blocks, _rows(grad), *work)
    return [sum(part) for part in zip(*parts, strict=True)]


def _block_sums(planes: np.ndarray, scale: int) -> np.ndarray:
    """Do what ``blocks.block_sums`` does, without PyTorch's threads."""
    missing = [-length % scale for length in planes.shape[-2:]]
    whole = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, count) for count in missing])
    return sum(whole[..., y::scale, x::scale] for y in range(scale) for x in range(scale))


def _blocks(city: City, state: np.ndarray) -> np.ndarray:
    """Return zeros for the blocks of a state, (B, h, w, D)."""
    return np.zeros((*city.shape, state.shape[-1]), state.dtype)


def _means(team: Team, city: City, state: np.ndarray) -> np.ndarray:
    """Return the means of a state over the air of blocks, (B, h, w, D)."""
    means = _blocks(city, state)
    work = (city.scale, _sized(state), city.shares, state, means)
    team(kernels.sum_blocks, _rows(means), *work)
    return means


def _rows(state: np.ndarray) -> int:
    return state.shape[0] * state.shape[1]


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _triples(layers: list) -> list[tuple]:
    return [tuple(layers[first : first + 3]) for first in range(0, len(layers), 3)]


def _sized(dynamic: np.ndarray) -> tuple[int, ...]:
    """Return a tuple with an entry for each channel: its length is a constant to the compiler."""
    return (0,) * dynamic.shape[-1]
