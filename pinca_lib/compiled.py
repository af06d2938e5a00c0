"""The automaton's step compiled for CPUs: air cells alone, block by block, on every core.

For a block of air cells, small enough to stay in a core's cache,

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air * (h W2)      (n, D), and onto the bounds if the rule keeps them

where D channels are dynamic, and ``constant`` is what the base channels and the bias add to the
hidden layer: computed once a rollout. Numba compiles the loops, and its ``np.dot`` is SciPy's BLAS.
Threads share the cells, and meet after every application of a rule. A rule of wider cells does the
same on blocks, and what it adds to a block is then added to all air in it.

Backward, p and h are computed again: a recorded step keeps its state and nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from threading import Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (what np.dot will call: loaded, so that it is limited)
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.autograd.function import once_differentiable

from pinca_lib import kernels, physics
from pinca_lib.automaton import FILTERS, MEMORY_LIMIT
from pinca_lib.blocks import block_means, shares_of_air
from pinca_lib.channels import BASE_COUNT, FIELDS, GEO_MASK, KNOWN_COUNT

if not np.array_equal(kernels.TAPS, FILTERS.flatten(1)):
    raise AssertionError("kernels.TAPS must be automaton.FILTERS, row by row")
if (FIELDS.start, kernels.MARGIN) != (BASE_COUNT, physics.MARGIN) or (
    (kernels.MEMORY, kernels.MEMORY_LIMIT) != (KNOWN_COUNT - BASE_COUNT, MEMORY_LIMIT)
):
    raise AssertionError("kernels.realise must do what automaton.bounded does")

Team = Callable[..., list]

_rollouts = Lock()  # one at a time: each uses every core


@dataclass(frozen=True)
class City:
    """What the automaton is given and never changes, at the N cells that do change.

    Attributes
    ----------
    shape : tuple of int
        B, H, W.
    cells : Tensor of shape (N, 3), int32
        Sample, row and column.
    air : Tensor of shape (N,)
        What their increments are multiplied by.
    perceived : Tensor of shape (N, 4 * 6)
        The base channels through the filters, filter by filter.
    """

    shape: tuple[int, int, int]
    cells: Tensor
    air: Tensor
    perceived: Tensor

    @classmethod
    def of(cls, base: Tensor) -> "City":
        """Return the city of base channels of shape (B, 6, H, W)."""
        air = base[:, GEO_MASK]
        cells = air.nonzero().int()
        planes = base.movedim(1, -1).contiguous().numpy()
        perceived = np.empty((len(cells), len(FILTERS) * planes.shape[-1]), planes.dtype)
        kernels.perceive(cells.numpy(), _sized(planes), planes, perceived)
        return cls(tuple(air.shape), cells, air[air != 0], torch.from_numpy(perceived))


@dataclass(frozen=True)
class Rule:
    """A rule over a city.

    Attributes
    ----------
    layers : (W1, bias, W2)
        W1 (4 C, hidden) has the rows of the dynamic channels first, filter by filter, then those
        of the base channels; bias is (hidden,), W2 (hidden, D).
    constant : ndarray of shape (N, hidden)
        What base channels and bias add to the hidden layer of the city's N cells.
    alpha : float
        As in ``CA``; -1 for None.
    city : City
        On the rule's own cells, ``scale`` times as wide as those of the state.
    scale : int
    shares : ndarray of shape (B, H, W)
        Which share of the air of its block each cell of the state holds.
    air : ndarray of shape (B, H, W)
        1 in each cell of the state that holds air, else 0.
    """

    layers: tuple[Tensor, Tensor, Tensor]
    constant: np.ndarray
    alpha: float
    city: City
    scale: int
    shares: np.ndarray
    air: np.ndarray

    @classmethod
    def over(cls, base: Tensor, layers: tuple, alpha: float, scale: int = 1) -> "Rule":
        """Prepare a rule for base channels, (B, 6, H, W), once for a rollout."""
        city = City.of(block_means(base, scale))
        air = base[:, GEO_MASK, None]
        planes = (shares_of_air(air, scale)[:, 0], (air > 0).to(air)[:, 0])
        perceived, w1, bias = _arrays(city.perceived, *layers[:2])
        constant = np.empty((len(perceived), len(bias)), w1.dtype)
        own = len(w1) - perceived.shape[1]  # rows of the dynamic channels
        with _team() as team:
            team(kernels.base_share, len(perceived), perceived, w1[own:], bias, constant)
        return cls(layers, constant, alpha, city, scale, *_arrays(*planes))


def advance(dynamic: Tensor, rules: Sequence[Rule], steps: int) -> Tensor:
    """Advance dynamic channels by a number of steps, each applying all rules in turn.

    Parameters
    ----------
    dynamic : Tensor of shape (B, H, W, D)
        On the CPU, of any floating type that BLAS knows. Not changed.
    rules : sequence of Rule
        Over the dynamic channels' city.
    steps : int

    Returns
    -------
    Tensor of shape (B, H, W, D)
        Differentiable by ``dynamic`` and the rules' layers. What is kept for that is ``dynamic``
        before each application of a rule.
    """
    recorded = torch.is_grad_enabled()
    layers = [layer for rule in rules for layer in rule.layers]
    return _Advance.apply(dynamic, rules, steps, recorded, *layers)


class _Advance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dynamic, rules, steps, recorded, *layers):
        old = dynamic.contiguous().numpy().copy()
        new = old.copy()
        before = []
        sequence = list(zip(rules, _triples(_arrays(*layers)), strict=True))
        with _team() as team:
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
        with _team() as team:
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
    seen = (rule.constant, w1[: len(FILTERS) * old.shape[-1]], w2)  # rows for dynamic channels
    cells, air = _arrays(own.cells, own.air)
    if rule.scale == 1:
        team(kernels.step, len(cells), cells, air, (*seen, rule.alpha), sized, old, old, new)
        return
    means, none = _means(team, rule, old), _blocks(rule, old)
    increments = none.copy()
    team(kernels.step, len(cells), cells, air, (*seen, -1.0), sized, means, none, increments)
    work = (rule.scale, sized, rule.air, rule.alpha, increments, old, new)
    team(kernels.add_blocks, _rows(new), *work)


def _step_backward(
    team: Team, rule: Rule, weights: tuple, states: Sequence, grad, grad_p, on: bool
) -> list[np.ndarray]:
    """Return the gradient by the layers, ``grad`` being that by the second of the ``states``.

    If it goes ``on`` from there, ``grad`` becomes that by the first.
    """
    old, new = states
    if rule.alpha >= 0:
        team(kernels.realise_backward, _rows(new), new, grad)
    sized, own = _sized(old), rule.city
    cells, air, perceived = _arrays(own.cells, own.air, own.perceived)
    seen, given, passed = old, grad, grad
    if rule.scale > 1:
        seen, given, passed = _means(team, rule, old), _blocks(rule, old), _blocks(rule, old)
        team(kernels.sum_blocks, _rows(given), rule.scale, sized, rule.air, grad, given)
    step = (cells, air, perceived, weights, sized, seen, given, grad_p)
    parts = team(kernels.update_backward, len(cells), *step)
    if on:
        team(kernels.perceive_backward, _rows(given), sized, grad_p, passed)
    if on and rule.scale > 1:
        work = (rule.scale, sized, rule.shares, -1.0, passed, grad, grad)
        team(kernels.add_blocks, _rows(grad), *work)
    return [sum(part) for part in zip(*parts, strict=True)]


def _blocks(rule: Rule, state: np.ndarray) -> np.ndarray:
    """Return zeros for the blocks of a state."""
    return np.zeros((*rule.city.shape, state.shape[-1]), state.dtype)


def _means(team: Team, rule: Rule, state: np.ndarray) -> np.ndarray:
    """Return the means of a state over blocks."""
    means = _blocks(rule, state)
    work = (rule.scale, _sized(state), rule.shares, state, means)
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


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def _team() -> Iterator[Team]:
    """Yield a function that calls ``work(first, last, *arguments)`` on torch's threads.

    Each call gets an equal share of 0…count; all results are returned. BLAS is kept to the thread
    that calls it.
    """
    threads = torch.get_num_threads()

    def team(work: Callable, count: int, *arguments) -> list:
        ends = [count * share // threads for share in range(threads + 1)]
        shares = [(*share, *arguments) for share in pairwise(ends)]
        others = [pool.submit(work, *share) for share in shares[1:]]
        return [work(*shares[0]), *(other.result() for other in others)]

    with (
        _rollouts,
        _blas().limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(max(threads - 1, 1)) as pool,
    ):
        yield team
