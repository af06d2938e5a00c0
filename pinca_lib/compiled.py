"""The automaton's step compiled for CPUs: air cells alone, block by block, on every core.

For a block of air cells, small enough to stay in a core's cache,

    p = filters * dynamic                  (n, 4 D)
    h = relu(p W1 + constant)              (n, hidden)
    dynamic <- dynamic + air * (h W2)      (n, D)

where D channels are dynamic, and ``constant`` is what base channels and bias add to the hidden
layer. Numba compiles the loops, and its ``np.dot`` is SciPy's BLAS. Threads share the cells, and
meet after every application of a rule.

Backward, p and h are computed again: a recorded step keeps its state and nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from threading import Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (what np.dot will call: loaded, so that it is limited)
import torch
from numba import njit
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.autograd.function import once_differentiable

from pinca_lib.automaton import FILTERS

BLOCK = 128  # cells: with 96 hidden units, 100 kB of float32
TAPS = FILTERS.flatten(1).numpy()  # (4, 9); constants to the compiler

Rule = tuple[Tensor, Tensor, Tensor]  # constant, W1, W2
Team = Callable[..., list[tuple]]

_rollouts = Lock()  # one at a time: each uses every core


def perceive(planes: Tensor, cells: Tensor) -> Tensor:
    """Apply the filters to planes (B, H, W, K), at some cells: (N, 4 K), filter by filter."""
    planes, cells = _arrays(planes, cells)
    p = np.empty((len(cells), len(TAPS) * planes.shape[-1]), planes.dtype)
    _perceive(cells, _sized(planes), planes, p)
    return torch.from_numpy(p)


def advance(
    dynamic: Tensor, cells: Tensor, air: Tensor, rules: Sequence[Rule], steps: int
) -> Tensor:
    """Advance dynamic channels by a number of steps, each applying all rules in turn.

    Parameters
    ----------
    dynamic : Tensor of shape (B, H, W, D)
        On the CPU, of any floating type that BLAS knows. Not changed.
    cells : Tensor of shape (N, 3), int32
        Sample, row and column of the cells that change.
    air : Tensor of shape (N,)
        What their increments are multiplied by.
    rules : sequence of (constant, W1, W2)
        ``constant`` is (N, hidden), W1 (4 D, hidden), filter by filter, W2 (hidden, D).
    steps : int

    Returns
    -------
    Tensor of shape (B, H, W, D)
        Differentiable by ``dynamic`` and ``rules``. What is kept for that is ``dynamic`` before
        each application of a rule.
    """
    recorded = torch.is_grad_enabled()
    layers = [layer for rule in rules for layer in rule]
    return _Advance.apply(dynamic, cells, air, steps, recorded, *layers)


class _Advance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dynamic, cells, air, steps, recorded, *layers):
        city, rules, before = _arrays(cells, air), _rules(layers), []
        old = dynamic.contiguous().numpy().copy()
        new = old.copy()
        with _team() as team:
            for rule in rules * steps:
                team(_step, len(cells), *city, rule, _sized(old), old, new)
                if recorded:
                    before.append(torch.from_numpy(old))
                old, new = new, new.copy() if recorded else old
        ctx.count = len(layers)
        ctx.save_for_backward(cells, air, *layers, *before)
        return torch.from_numpy(old)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        cells, air, *saved = ctx.saved_tensors
        layers, before = saved[: ctx.count], _arrays(*saved[ctx.count :])
        city, rules = _arrays(cells, air), _rules(layers)
        grads = [[np.zeros_like(layer) for layer in rule] for rule in rules]
        grad = grad.contiguous().numpy().copy()
        grad_p = np.zeros((*grad.shape[:3], len(TAPS) * grad.shape[3]), grad.dtype)
        with _team() as team:
            for i in reversed(range(len(before))):
                rule, (grad_constant, *grad_weights) = rules[i % len(rules)], grads[i % len(rules)]
                seen = (rule, _sized(grad), before[i], grad, grad_p, grad_constant)
                for parts in team(_update_backward, len(cells), *city, *seen):
                    for weights, part in zip(grad_weights, parts, strict=True):
                        weights += part
                if i or ctx.needs_input_grad[0]:
                    rows = grad.shape[0] * grad.shape[1]
                    team(_perceive_backward, rows, _sized(grad), grad_p, grad)
        layers = [torch.from_numpy(layer) for rule in grads for layer in rule]
        return torch.from_numpy(grad), None, None, None, None, *layers


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _rules(layers: Sequence[Tensor]) -> tuple[tuple[np.ndarray, ...], ...]:
    arrays = _arrays(*layers)
    return tuple(zip(arrays[0::3], arrays[1::3], arrays[2::3], strict=True))


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


_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


@_compiled
def _perceive(cells, sized, dynamic, p):
    _, height, width, _ = dynamic.shape
    for i in range(len(cells)):
        b, y, x = cells[i]
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
        for c in range(len(sized)):
            near = (
                dynamic[b, up, left, c], dynamic[b, up, x, c], dynamic[b, up, right, c],
                dynamic[b, y, left, c], dynamic[b, y, x, c], dynamic[b, y, right, c],
                dynamic[b, down, left, c], dynamic[b, down, x, c], dynamic[b, down, right, c],
            )  # fmt: skip
            for f in range(len(TAPS)):
                seen = TAPS[f, 0] * near[0]
                for tap in range(1, 9):
                    seen += TAPS[f, tap] * near[tap]
                p[i, f * len(sized) + c] = seen


@_compiled
def _hidden(p, constant, w1, h):
    np.dot(p, w1, h)
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = np.maximum(h[i, j] + constant[i, j], 0)


@_compiled
def _step(first, last, cells, air, rule, sized, old, new):
    constant, w1, w2 = rule
    p = np.empty((BLOCK, w1.shape[0]), old.dtype)
    h = np.empty((BLOCK, w1.shape[1]), old.dtype)
    increment = np.empty((BLOCK, len(sized)), old.dtype)
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        n = stop - start
        _perceive(cells[start:stop], sized, old, p)
        _hidden(p[:n], constant[start:stop], w1, h[:n])
        np.dot(h[:n], w2, increment[:n])
        for i in range(n):
            b, y, x = cells[start + i]
            for c in range(len(sized)):
                new[b, y, x, c] = old[b, y, x, c] + air[start + i] * increment[i, c]


@_compiled
def _update_backward(first, last, cells, air, rule, sized, old, grad, grad_p, grad_constant):
    """Set the gradient of p, add to that of the constant, return this share's of W1 and W2."""
    constant, w1, w2 = rule
    p = np.empty((BLOCK, w1.shape[0]), old.dtype)
    h = np.empty((BLOCK, w1.shape[1]), old.dtype)
    grad_h, block_p = np.empty_like(h), np.empty_like(p)
    grad_increment = np.empty((BLOCK, len(sized)), old.dtype)
    grad_w1, grad_w2 = np.zeros_like(w1), np.zeros_like(w2)
    block_w1, block_w2 = np.empty_like(w1), np.empty_like(w2)
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        n = stop - start
        for i in range(n):
            b, y, x = cells[start + i]
            for c in range(len(sized)):
                grad_increment[i, c] = air[start + i] * grad[b, y, x, c]
        _perceive(cells[start:stop], sized, old, p)
        _hidden(p[:n], constant[start:stop], w1, h[:n])
        np.dot(grad_increment[:n], w2.T, grad_h[:n])
        for i in range(n):
            for j in range(h.shape[1]):
                grad_h[i, j] = grad_h[i, j] if h[i, j] > 0 else 0
                grad_constant[start + i, j] += grad_h[i, j]
        np.dot(h[:n].T, grad_increment[:n], block_w2)
        np.dot(p[:n].T, grad_h[:n], block_w1)
        grad_w1 += block_w1
        grad_w2 += block_w2
        np.dot(grad_h[:n], w1.T, block_p[:n])
        for i in range(n):
            b, y, x = cells[start + i]
            for k in range(w1.shape[0]):
                grad_p[b, y, x, k] = block_p[i, k]
    return grad_w1, grad_w2


@_compiled
def _perceive_backward(first, last, sized, grad_p, grad):
    """Add to the gradient of the rows first…last what their neighbours perceived of them."""
    _, height, width, _ = grad.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        for x in range(width):
            left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
            for c in range(len(sized)):
                total = grad[b, y, x, c]
                for f in range(len(TAPS)):
                    k = f * len(sized) + c
                    near = (  # each sees this cell through the opposite tap
                        grad_p[b, down, right, k], grad_p[b, down, x, k], grad_p[b, down, left, k],
                        grad_p[b, y, right, k], grad_p[b, y, x, k], grad_p[b, y, left, k],
                        grad_p[b, up, right, k], grad_p[b, up, x, k], grad_p[b, up, left, k],
                    )  # fmt: skip
                    for tap in range(9):
                        total += TAPS[f, tap] * near[tap]
                grad[b, y, x, c] = total
