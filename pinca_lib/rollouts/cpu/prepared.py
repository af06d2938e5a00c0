"""Cities, and rules over them, as the compiled loops of a CPU take them: in ``kernels``' halves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import ACROSS, CA, FILTERS, even_and_odd, heading
from pinca_lib.channels import BASE, BASE_COUNT, DYNAMIC, GEO_MASK, VECTORS
from pinca_lib.rollouts.cpu import kernels
from pinca_lib.rollouts.cpu.kernels import Frame, Weights
from pinca_lib.rollouts.cpu.teams import gathered

ROWS = 512  # of hidden layers, which stay in a core's cache
# Cells times hidden units of a block: 96 cells of the usual rule. On two threads, products of more
# than about a million multiplications (128³) ran no faster than on one; 96³ stays below.
BLOCK = 96 * 96


@dataclass(frozen=True, eq=False)
class CityArrays:
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
    wind : ndarray of shape (B, 2)
        The ``heading`` of a rule that follows it, else (1, 0).
    perceived : (ndarray of shape (N, K), ndarray of shape (N, 24 - K))
        The base channels through the filters, in halves.
    shares : ndarray of shape (B, H, W)
        Which share of the air of its block each cell of the state holds.
    has_air : ndarray of shape (B, H, W)
        1 in each cell of the state that holds air, else 0.
    """

    scale: int
    shape: tuple[int, int, int]
    cells: np.ndarray
    air: np.ndarray
    wind: np.ndarray
    perceived: tuple[np.ndarray, np.ndarray]
    shares: np.ndarray
    has_air: np.ndarray

    @classmethod
    def of(cls, base: Tensor, scale: int = 1, follows_wind: bool = False) -> "CityArrays":
        """Return the city of base channels of shape (B, 6, H, W)."""
        whole = base.numpy()
        blocks = _block_sums(whole, scale) / _block_sums(np.ones_like(whole[:1, :1]), scale)
        air, has_air = blocks[:, GEO_MASK], (whole[:, GEO_MASK] > 0).astype(whole.dtype)
        total = _block_sums(whole[:, GEO_MASK], scale).repeat(scale, 1).repeat(scale, 2)
        total = total[:, : whole.shape[2], : whole.shape[3]]
        shares = np.divide(whole[:, GEO_MASK], total, out=np.zeros_like(total), where=total > 0)
        cells = np.argwhere(air).astype(np.int32, order="C")
        wind = heading(base) if follows_wind else base.new_tensor([[1.0, 0.0]]).repeat(len(base), 1)
        wind = wind.contiguous().numpy()
        evens, odds = _even_and_odd(BASE_COUNT, BASE, follows_wind)
        planes = np.ascontiguousarray(np.moveaxis(blocks, 1, -1)[..., evens + odds])
        width = 3 * len(evens) + len(odds or evens)
        perceived = tuple(
            np.empty((len(cells), columns), planes.dtype)
            for columns in (width, len(FILTERS) * planes.shape[-1] - width)
        )
        frame = _frame(evens, odds, wind)

        def work(first: int, last: int) -> None:
            seen = (half[first:last] for half in perceived)
            kernels.perceive(cells[first:last], frame, planes, *seen)

        with gathered() as team:
            team(work, len(cells))
        return cls(scale, air.shape, cells, air[air != 0], wind, perceived, shares, has_air)


@dataclass(frozen=True, eq=False)
class RuleArrays:
    """A rule over a city.

    Attributes
    ----------
    layers : (W1 even, W1 odd, bias, W2 even, W2 odd)
        Halves of W1 (K, hidden), with the rows of the dynamic channels first, and of W2
        (hidden, channels).
    constant : ndarray of shape (1 or 2, N, hidden)
        What base channels and bias add to the halves of the hidden layer of the city's N cells.
    alpha : float
        As in ``CA``; -1 for None.
    city : CityArrays
    frame : Frame
    """

    layers: tuple[Tensor, ...]
    constant: np.ndarray
    alpha: float
    city: CityArrays
    frame: Frame

    @classmethod
    def over(cls, city: CityArrays, rule: CA) -> "RuleArrays":
        """Prepare a rule for a city of its cells, once for a rollout."""
        w1, bias, w2 = rule.layers()  # (hidden, C, 4), (hidden,), (C, hidden)
        (even, odd), (base_even, base_odd) = (
            _even_and_odd(rule.channels, part, rule.follows_wind) for part in (DYNAMIC, BASE)
        )
        first = [
            torch.cat([_perceived(w1, even, odd), _perceived(w1, base_even, base_odd)], dim=1).mT,
            torch.cat([_perceived(w1, odd, even), _perceived(w1, base_odd, base_even)], dim=1).mT,
        ]
        second = [w2[half].mT / (2 if rule.follows_wind else 1) for half in (even, odd)]
        constant = _base_share(city, first, bias)
        alpha = -1.0 if rule.alpha is None else float(rule.alpha)
        frame = _frame(even, odd, city.wind)
        return cls((*first, bias, *second), constant, alpha, city, frame)

    @property
    def follows_wind(self) -> bool:
        """Whether there are odd halves."""
        return len(self.constant) > 1

    @property
    def most(self) -> int:
        """How many cells ``kernels`` take at a time."""
        return max(BLOCK // len(self.layers[2]), 1)

    def weights(self, layers: Sequence[np.ndarray]) -> Weights:
        """Return these layers as ``kernels`` take them."""
        *first, _, even, odd = layers
        own = (
            w1[: len(w1) - seen.shape[1]]
            for w1, seen in zip(first, self.city.perceived, strict=True)
        )
        return Weights(tuple(own), (even, odd), self.constant)


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """What the gradient by the layers of a rule is summed up in, over the steps of a rollout.

    Attributes
    ----------
    own : four ndarrays
        By W1 of the dynamic channels, (K, hidden), and by W2, (hidden, channels), each in halves.
    constant : ndarray of shape (1 or 2, N, hidden)
        By the rule's.
    seen : ndarray of shape (B, h, w, 4 D)
        By what the filters see in a step, zero in buildings.
    """

    own: tuple[np.ndarray, ...]
    constant: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, rule: RuleArrays, layers: Sequence[np.ndarray]) -> "LayerGradient":
        """Return zeros."""
        first, second, constant = rule.weights(layers)
        own = tuple(np.zeros_like(layer) for layer in (*first, *second))
        width = len(FILTERS) * sum(layer.shape[1] for layer in second)
        seen = np.zeros((*rule.city.shape, width), constant.dtype)
        return cls(own, np.zeros_like(constant), seen)

    def add(self, shares: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Add what the threads found by W1 and W2."""
        for share in shares:
            for total, part in zip(self.own, share, strict=True):
                total += part

    def layers(self, city: CityArrays) -> list[np.ndarray]:
        """Return the gradient by a rule's ``layers``."""
        w1_even, w1_odd, *second = self.own
        base = [seen.T @ half for seen, half in zip(city.perceived, self.constant, strict=False)]
        bias = np.ones(len(city.cells), base[0].dtype) @ self.constant[0]
        odd = np.concatenate([w1_odd, *base[1:]])
        return [np.concatenate([w1_even, base[0]]), odd, bias, *second]


def _even_and_odd(count: int, part: slice, follows_wind: bool) -> tuple[list[int], list[int]]:
    """Return the even and odd channels, or all as even ones."""
    evens, odds = even_and_odd(count, part)
    return (evens, odds) if follows_wind else (evens + odds, [])


def _perceived(w1: Tensor, own: list[int], others: list[int]) -> Tensor:
    """Return what a hidden layer takes of a half, (hidden, K), as ``kernels.perceive`` has it."""
    parts = [w1[:, own, f] for f in range(len(FILTERS)) if f != ACROSS]
    return torch.cat([*parts, w1[:, others if own and others else own, ACROSS]], dim=1)


def _base_share(city: CityArrays, first: Sequence[Tensor], bias: Tensor) -> np.ndarray:
    """Return what base channels and bias add to the hidden layer, in halves (1 or 2, N, hidden)."""
    weights = [w1.detach().numpy() for w1 in first if len(w1)]
    share = np.empty((len(weights), len(city.cells), len(bias)), weights[0].dtype)
    even_bias = bias.detach().numpy()

    def work(start: int, stop: int) -> None:
        for first in range(start, stop, ROWS):
            rows = slice(first, min(first + ROWS, stop))
            for seen, w1, half in zip(city.perceived, weights, share, strict=False):
                np.matmul(seen[rows], w1[len(w1) - seen.shape[1] :], out=half[rows])
            share[0, rows] += even_bias

    with gathered() as team:
        team(work, len(city.cells))
    return share


def _frame(evens: list[int], odds: list[int], wind: np.ndarray) -> Frame:
    vectors = sum(y in odds for _, y in VECTORS)
    return Frame((0,) * len(evens), (0,) * len(odds), (0,) * vectors, wind)


def _block_sums(planes: np.ndarray, scale: int) -> np.ndarray:
    """Do what ``blocks.block_sums`` does, without PyTorch's threads."""
    if scale == 1:
        return planes
    missing = [-length % scale for length in planes.shape[-2:]]
    whole = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, count) for count in missing])
    return sum(whole[..., y::scale, x::scale] for y in range(scale) for x in range(scale))
