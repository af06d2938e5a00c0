"""The automaton's step compiled for CPUs: air cells alone, block by block, on every core.

For a block of air cells, small enough to stay in a core's cache,

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air * (h W2)      (n, D), and onto the bounds if the rule keeps them

where D channels are dynamic, and ``constant`` is what the base channels and the bias add to the
hidden layer: computed once a rollout. Numba compiles the loops, and its ``np.dot`` is SciPy's BLAS.
Threads share the cells, and meet after every application of a rule.

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
from pinca_lib.automaton import FILTERS
from pinca_lib.channels import BASE_COUNT, FIELDS, GEO_MASK

if not np.array_equal(kernels.TAPS, FILTERS.flatten(1)):
    raise AssertionError("kernels.TAPS must be automaton.FILTERS, row by row")
if (FIELDS.start, kernels.MARGIN) != (BASE_COUNT, physics.MARGIN):
    raise AssertionError("kernels.realise must do what physics.realisable does")

Team = Callable[..., list]

_rollouts = Lock()  # one at a time: each uses every core


@dataclass(frozen=True)
class City:
    """What the automaton is given and never changes, at the N cells that do change.

    Attributes
    ----------
    cells : Tensor of shape (N, 3), int32
        Sample, row and column.
    air : Tensor of shape (N,)
        What their increments are multiplied by.
    perceived : Tensor of shape (N, 4 * 6)
        The base channels through the filters, filter by filter.
    """

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
        return cls(cells, air[air != 0], torch.from_numpy(perceived))


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
    """

    layers: tuple[Tensor, Tensor, Tensor]
    constant: np.ndarray
    alpha: float

    @classmethod
    def over(cls, city: City, layers: tuple[Tensor, Tensor, Tensor], alpha: float) -> "Rule":
        """Prepare a rule for a city, once for a rollout."""
        perceived, w1, bias = _arrays(city.perceived, *layers[:2])
        constant = np.empty((len(perceived), len(bias)), w1.dtype)
        own = len(w1) - perceived.shape[1]  # rows of the dynamic channels
        with _team() as team:
            team(kernels.base_share, len(perceived), perceived, w1[own:], bias, constant)
        return cls(layers, constant, alpha)


def advance(dynamic: Tensor, city: City, rules: Sequence[Rule], steps: int) -> Tensor:
    """Advance dynamic channels by a number of steps, each applying all rules in turn.

    Parameters
    ----------
    dynamic : Tensor of shape (B, H, W, D)
        On the CPU, of any floating type that BLAS knows. Not changed.
    city : City
    rules : sequence of Rule
    steps : int

    Returns
    -------
    Tensor of shape (B, H, W, D)
        Differentiable by ``dynamic`` and the rules' layers. What is kept for that is ``dynamic``
        before each application of a rule.
    """
    recorded = torch.is_grad_enabled()
    layers = [layer for rule in rules for layer in rule.layers]
    return _Advance.apply(dynamic, city, rules, steps, recorded, *layers)


class _Advance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dynamic, city, rules, steps, recorded, *layers):
        cells, air = _arrays(city.cells, city.air)
        old = dynamic.contiguous().numpy().copy()
        new = old.copy()
        before, own = [], len(FILTERS) * old.shape[-1]  # rows of W1 that see dynamic channels
        weights = _triples(_arrays(*layers))
        seen = [(rule.constant, w1[:own], w2, rule.alpha)
                for rule, (w1, _, w2) in zip(rules, weights, strict=True)]  # fmt: skip
        with _team() as team:
            for rule in seen * steps:
                team(kernels.step, len(cells), cells, air, rule, _sized(old), old, new)
                if recorded:
                    before.append(torch.from_numpy(old))
                old, new = new, new.copy() if recorded else old
        ctx.city, ctx.count = city, len(layers)
        ctx.save_for_backward(*layers, *before)
        return torch.from_numpy(old)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        cells, air, perceived = _arrays(ctx.city.cells, ctx.city.air, ctx.city.perceived)
        saved = _arrays(*ctx.saved_tensors)
        layers, before = saved[: ctx.count], saved[ctx.count :]
        rules, grads = _triples(layers), [np.zeros_like(layer) for layer in layers]
        wanted = [any(needed) for needed in _triples(ctx.needs_input_grad[5:])]
        grad = grad.contiguous().numpy().copy()
        grad_p = np.zeros((*grad.shape[:3], len(FILTERS) * grad.shape[3]), grad.dtype)
        # Nothing before the first of these is to be differentiated.
        first = 0 if ctx.needs_input_grad[0] else wanted.index(True)
        with _team() as team:
            for i in reversed(range(first, len(before))):
                rule, totals = rules[i % len(rules)], _triples(grads)[i % len(rules)]
                seen = (perceived, rule, _sized(grad), before[i], grad, grad_p)
                for parts in team(kernels.update_backward, len(cells), cells, air, *seen):
                    for total, part in zip(totals, parts, strict=True):
                        total += part
                if i > first or ctx.needs_input_grad[0]:
                    rows = grad.shape[0] * grad.shape[1]
                    team(kernels.perceive_backward, rows, _sized(grad), grad_p, grad)
        return torch.from_numpy(grad), None, None, None, None, *map(torch.from_numpy, grads)


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
