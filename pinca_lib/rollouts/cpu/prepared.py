"""Cities and rules as arrays for the compiled loops, split into even and odd part (``kernels``)."""

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

ROWS = 512  # cells at a time, whose hidden layer fits into the cache of a core
# Cells times hidden units of a block: 96 cells for a rule of 96 hidden units. With two threads,
# matrix products of more than about a million multiplications (128³) ran no faster than with one
# thread; 96³ stays below that.
BLOCK = 96 * 96


@dataclass(frozen=True, eq=False)
class CityArrays:
    """Base channels of cities, at the A cells with air of one scale.

    The state has (B, H, W) cells, and a rule of this scale has (B, h, w) coarse cells.

    Attributes
    ----------
    scale : int
        Width of a coarse cell, in cells of the state.
    shape : tuple of int
        B, h, w.
    cells : ndarray of shape (A, 3), int32
        Sample, row and column of each coarse cell with air.
    air : ndarray of shape (A,)
        Share of air of these cells, above 0 and up to 1, by which increments are multiplied.
    wind : ndarray of shape (B, 2)
        ``heading`` for a rule in the wind frame, otherwise (1, 0).
    perceived : (ndarray of shape (A, K), ndarray of shape (A, 24 - K))
        Even and odd part of what the cells perceive of the base channels.
    shares : ndarray of shape (B, H, W)
        As ``shares_of_air`` returns them.
    has_air : ndarray of shape (B, H, W)
        1 in each cell of the state with air, else 0.
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
        """Return the arrays of cities with base channels (B, 6, H, W)."""
        fine = base.numpy()
        blocks = _block_sums(fine, scale) / _block_sums(np.ones_like(fine[:1, :1]), scale)
        air, has_air = blocks[:, GEO_MASK], (fine[:, GEO_MASK] > 0).astype(fine.dtype)
        total = _block_sums(fine[:, GEO_MASK], scale).repeat(scale, 1).repeat(scale, 2)
        total = total[:, : fine.shape[2], : fine.shape[3]]
        shares = np.divide(fine[:, GEO_MASK], total, out=np.zeros_like(total), where=total > 0)
        cells = np.argwhere(air).astype(np.int32, order="C")
        along_x = base.new_tensor([[1.0, 0.0]])
        directions = heading(base) if follows_wind else along_x.repeat(len(base), 1)
        wind = directions.contiguous().numpy()
        evens, odds = _even_and_odd(BASE_COUNT, BASE, follows_wind)
        planes = np.ascontiguousarray(np.moveaxis(blocks, 1, -1)[..., evens + odds])
        width = 3 * len(evens) + len(odds or evens)
        even = np.empty((len(cells), width), planes.dtype)
        odd = np.empty((len(cells), len(FILTERS) * planes.shape[-1] - width), planes.dtype)
        frame = _frame(evens, odds, wind)

        def work(first: int, last: int) -> None:
            some = slice(first, last)
            kernels.perceive(cells[some], frame, planes, even[some], odd[some])

        with gathered() as team:
            team(work, len(cells))
        return cls(scale, air.shape, cells, air[air != 0], wind, (even, odd), shares, has_air)


@dataclass(frozen=True, eq=False)
class RuleArrays:
    """A rule for given cities.

    Attributes
    ----------
    layers : (W1 even, W1 odd, bias, W2 even, W2 odd)
        W1 even and odd (K, hidden) have the rows of the dynamic channels first, then those of the
        base channels. W2 even and odd are (hidden, M) and (hidden, N).
    constant : ndarray of shape (1 or 2, A, hidden)
        Contribution of base channels and bias to the even and the odd part of the hidden layer,
        before the ReLU. The bias is in the even part. Without the wind frame there is no odd part.
    alpha : float
        Bound of |<u'w'>| / TKE; -1 for a rule without bounds.
    city : CityArrays
        The cities, at the scale of the rule.
    frame : Frame
        Even and odd dynamic channels, and the wind.
    """

    layers: tuple[Tensor, ...]
    constant: np.ndarray
    alpha: float
    city: CityArrays
    frame: Frame

    @classmethod
    def over(cls, city: CityArrays, rule: CA) -> "RuleArrays":
        """Prepare a rule for cities at its scale, once per rollout."""
        w1, bias, w2 = rule.layers()  # (hidden, C, 4), (hidden,), (C, hidden)
        (even, odd), (base_even, base_odd) = (
            _even_and_odd(rule.channels, part, rule.follows_wind) for part in (DYNAMIC, BASE)
        )
        first = [
            torch.cat([_perceived(w1, even, odd), _perceived(w1, base_even, base_odd)], dim=1).mT,
            torch.cat([_perceived(w1, odd, even), _perceived(w1, base_odd, base_even)], dim=1).mT,
        ]
        # In the wind frame the increment is the mean of two, for the city and its mirror image.
        second = [w2[part].mT / (2 if rule.follows_wind else 1) for part in (even, odd)]
        constant = _constant(city, first, bias)
        alpha = -1.0 if rule.alpha is None else float(rule.alpha)
        frame = _frame(even, odd, city.wind)
        return cls((*first, bias, *second), constant, alpha, city, frame)

    @property
    def follows_wind(self) -> bool:
        """Whether the rule uses the wind frame, and so has an odd part."""
        return len(self.constant) > 1

    @property
    def most(self) -> int:
        """Largest number of cells that ``kernels`` compute at a time."""
        return max(BLOCK // len(self.layers[2]), 1)

    def weights(self, layers: Sequence[np.ndarray]) -> Weights:
        """Return these five layers as ``kernels`` use them: W1 without the base channels."""
        w1_even, w1_odd, _, w2_even, w2_odd = layers
        base_even, base_odd = (perceived.shape[1] for perceived in self.city.perceived)
        w1 = w1_even[: len(w1_even) - base_even], w1_odd[: len(w1_odd) - base_odd]
        return Weights(w1, (w2_even, w2_odd), self.constant)


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """Gradient with respect to the layers of a rule, summed over the steps of a rollout.

    Attributes
    ----------
    dynamic : (W1 even, W1 odd, W2 even, W2 odd)
        Gradients with respect to the layers, as ``RuleArrays.weights`` returns these.
    constant : ndarray of shape (1 or 2, A, hidden)
        Gradient with respect to ``RuleArrays.constant``.
    seen : ndarray of shape (B, h, w, 4 D)
        Gradient with respect to perception, for one step at a time; zero in buildings.
    """

    dynamic: tuple[np.ndarray, ...]
    constant: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, rule: RuleArrays, layers: Sequence[np.ndarray]) -> "LayerGradient":
        """Return a gradient of zeros for a rule with these layers."""
        first, second, constant = rule.weights(layers)
        dynamic = tuple(np.zeros_like(layer) for layer in (*first, *second))
        width = len(FILTERS) * sum(layer.shape[1] for layer in second)
        seen = np.zeros((*rule.city.shape, width), constant.dtype)
        return cls(dynamic, np.zeros_like(constant), seen)

    def add(self, shares: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Add the gradients with respect to W1 and W2 that each thread found for its share."""
        for share in shares:
            for total, layer in zip(self.dynamic, share, strict=True):
                total += layer

    def layers(self, city: CityArrays) -> list[np.ndarray]:
        """Return the gradient with respect to ``RuleArrays.layers``."""
        w1_even, w1_odd, *second = self.dynamic
        base = [seen.T @ part for seen, part in zip(city.perceived, self.constant, strict=False)]
        bias = np.ones(len(city.cells), base[0].dtype) @ self.constant[0]
        odd = np.concatenate([w1_odd, *base[1:]])
        return [np.concatenate([w1_even, base[0]]), odd, bias, *second]


def _even_and_odd(count: int, part: slice, follows_wind: bool) -> tuple[list[int], list[int]]:
    """Return the even and the odd channels; without the wind frame, all count as even."""
    evens, odds = even_and_odd(count, part)
    return (evens, odds) if follows_wind else (evens + odds, [])


def _perceived(w1: Tensor, own: list[int], others: list[int]) -> Tensor:
    """Return the columns of W1 for one part, (hidden, K), in the order of ``kernels.perceive``.

    ``own`` are the channels of this part, ``others`` those of the other part.
    """
    parts = [w1[:, own, f] for f in range(len(FILTERS)) if f != ACROSS]
    return torch.cat([*parts, w1[:, others if own and others else own, ACROSS]], dim=1)


def _constant(city: CityArrays, first: Sequence[Tensor], bias: Tensor) -> np.ndarray:
    """Return the contribution of base channels and bias to the hidden layer, (1 or 2, A, hidden).

    The products are NumPy's, for the reason given in ``compiled``.
    """
    weights = [w1.detach().numpy() for w1 in first if len(w1)]
    constant = np.empty((len(weights), len(city.cells), len(bias)), weights[0].dtype)
    even_bias = bias.detach().numpy()

    def work(start: int, stop: int) -> None:
        for first in range(start, stop, ROWS):
            rows = slice(first, min(first + ROWS, stop))
            for seen, w1, part in zip(city.perceived, weights, constant, strict=False):
                np.matmul(seen[rows], w1[len(w1) - seen.shape[1] :], out=part[rows])
            constant[0, rows] += even_bias

    with gathered() as team:
        team(work, len(city.cells))
    return constant


def _frame(evens: list[int], odds: list[int], wind: np.ndarray) -> Frame:
    vectors = sum(y in odds for _, y in VECTORS)
    return Frame((0,) * len(evens), (0,) * len(odds), (0,) * vectors, wind)


def _block_sums(planes: np.ndarray, scale: int) -> np.ndarray:
    """Sum planes (…, H, W) over blocks as ``coarse.block_sums`` does, without PyTorch's threads."""
    if scale == 1:
        return planes
    missing = [-length % scale for length in planes.shape[-2:]]
    whole = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, count) for count in missing])
    cells = (whole[..., y::scale, x::scale] for y in range(scale) for x in range(scale))
    return sum(cells, np.zeros((), planes.dtype))
