"""Cities and rules as arrays for the compiled loops, split into even and odd part (``kernels``)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import ACROSS, CA, FILTERS, even_and_odd, heading
from pinca_lib.channels import BASE, BASE_COUNT, DYNAMIC, GEO_MASK, VECTORS, V
from pinca_lib.rollouts.cpu import kernels
from pinca_lib.rollouts.cpu.kernels import City, Frame, Parts, Rule
from pinca_lib.rollouts.cpu.teams import Team

ROWS = 512  # cells at a time, whose hidden layer fits into the cache of a core
# Cells times hidden units of a block: 96 cells for a rule of 96 hidden units. With two threads,
# matrix products of more than about a million multiplications (128³) ran no faster than with one
# thread; 96³ stays below that.
BLOCK = 96 * 96


class Layers(NamedTuple):
    """The layers of a rule, for gradients: W1 for dynamic and base channels, bias and W2."""

    w1_even: Tensor  # (3 M + N, hidden)
    w1_odd: Tensor  # (3 N + M, hidden)
    base_even: Tensor  # (K, hidden)
    base_odd: Tensor  # (24 - K, hidden)
    bias: Tensor  # (hidden,), of the even part
    w2_even: Tensor  # (hidden, M)
    w2_odd: Tensor  # (hidden, N)


class LayerGradient(NamedTuple):
    """Gradient with respect to the layers of a rule, summed over the steps of a rollout."""

    rule: Rule
    w1: Parts
    w2: Parts
    constant: np.ndarray  # with respect to ``rule.constant``
    seen: np.ndarray  # (B, h, w, 4 D), of one step at a time: with respect to what the filters see

    @classmethod
    def of(cls, rule: Rule) -> "LayerGradient":
        """Return a gradient of zeros."""
        width = len(FILTERS) * len(rule.frame.channels)
        seen = np.zeros((*rule.city.shape, width), rule.constant.dtype)
        w1, w2 = (Parts(*map(np.zeros_like, layer)) for layer in (rule.w1, rule.w2))
        return cls(rule, w1, w2, np.zeros_like(rule.constant), seen)

    def add(self, shares: Iterable[tuple[Parts, Parts]]) -> None:
        """Add the gradients with respect to W1 and W2 that each thread found for its share."""
        for share in shares:
            for total, layer in zip((self.w1, self.w2), share, strict=True):
                for part, added in zip(total, layer, strict=True):
                    part += added

    def layers(self) -> list[np.ndarray]:
        """Return the gradients in the order of ``Layers``."""
        perceived, even, odd = self.rule.city.perceived, self.constant[0], self.constant[-1]
        bias = np.ones(len(even), even.dtype) @ even
        return [*self.w1, perceived.even.T @ even, perceived.odd.T @ odd, bias, *self.w2]


def prepared_city(team: Team, base: Tensor, scale: int, follows_wind: bool) -> City:
    """Return cities with base channels (B, 6, H, W) as arrays for rules of a kind."""
    fine = base.numpy()
    sums = _block_sums(fine, scale)
    blocks = sums / _block_sums(np.ones_like(fine[:1, :1]), scale)
    air = blocks[:, GEO_MASK]
    has_air = (fine[:, GEO_MASK] > 0).astype(fine.dtype, order="C")  # as the trial has it
    total = sums[:, GEO_MASK].repeat(scale, 1).repeat(scale, 2)
    total = total[:, : fine.shape[2], : fine.shape[3]]
    shares = np.divide(fine[:, GEO_MASK], total, out=np.zeros_like(total), where=total > 0)
    cells = np.argwhere(air).astype(np.int32, order="C")
    along_x = base.new_tensor([[1.0, 0.0]]).repeat(len(base), 1)
    wind = (heading(base) if follows_wind else along_x).contiguous().numpy()

    evens, odds = _even_and_odd(BASE_COUNT, BASE, follows_wind)
    frame = _frame(evens, odds, wind)
    planes = np.ascontiguousarray(np.moveaxis(blocks, 1, -1)[..., evens + odds])
    width = 3 * len(evens) + len(odds or evens)
    even = np.empty((len(cells), width), planes.dtype)
    odd = np.empty((len(cells), len(FILTERS) * planes.shape[-1] - width), planes.dtype)

    def work(first: int, last: int) -> None:
        some = slice(first, last)
        kernels.perceive(cells[some], frame, planes, Parts(even[some], odd[some]))

    team(work, len(cells))
    return City(scale, air.shape, cells, air[air != 0], wind, Parts(even, odd), shares, has_air)


def prepared_rule(team: Team, city: City, rule: CA) -> tuple[Rule, Layers]:
    """Return a rule over cities at its scale as arrays, and the layers that they come from."""
    w1, b1, w2 = rule.layers()  # (hidden, C, 4), (hidden,), (C, hidden)
    evens, odds = _even_and_odd(rule.channels, DYNAMIC, rule.follows_wind)
    base_evens, base_odds = _even_and_odd(rule.channels, BASE, rule.follows_wind)
    # In the wind frame the increment is the mean of two, for the city and its mirror image.
    w2 = w2 / (2 if rule.follows_wind else 1)
    layers = Layers(
        w1_even=_perceived(w1, evens, odds),
        w1_odd=_perceived(w1, odds, evens),
        base_even=_perceived(w1, base_evens, base_odds),
        base_odd=_perceived(w1, base_odds, base_evens),
        bias=b1,
        w2_even=w2[evens].mT,
        w2_odd=w2[odds].mT,
    )
    arrays = [layer.detach().contiguous().numpy() for layer in layers]
    w1_even, w1_odd, base_even, base_odd, bias, w2_even, w2_odd = arrays
    blocks = city.shape if city.scale > 1 else (0, 0, 0)
    means, increments = np.zeros((2, *blocks, len(evens + odds)), bias.dtype)
    over_city = Rule(
        city=city,
        frame=_frame(evens, odds, city.wind),
        w1=Parts(w1_even, w1_odd),
        w2=Parts(w2_even, w2_odd),
        constant=_constant(team, city, Parts(base_even, base_odd), bias),
        alpha=-1.0 if rule.alpha is None else float(rule.alpha),
        v_at=(evens + odds).index(V),
        most=max(BLOCK // len(bias), 1),
        means=means,
        increments=increments,
    )
    return over_city, layers


def _even_and_odd(count: int, part: slice, follows_wind: bool) -> tuple[list[int], list[int]]:
    """Return the even and the odd channels; without the wind frame, all count as even."""
    evens, odds = even_and_odd(count, part)
    return (evens, odds) if follows_wind else (evens + odds, [])


def _perceived(w1: Tensor, own: list[int], others: list[int]) -> Tensor:
    """Return W1 for one part, (K, hidden), in the order of ``kernels.perceive``.

    ``own`` are the channels of this part, ``others`` those of the other part.
    """
    parts = [w1[:, own, f] for f in range(len(FILTERS)) if f != ACROSS]
    across = others if own and others else own  # slopes cross over if there are two parts
    return torch.cat([*parts, w1[:, across, ACROSS]], dim=1).mT


def _constant(team: Team, city: City, base: Parts, bias: np.ndarray) -> np.ndarray:
    """Return ``Rule.constant``: what base channels and bias add to the hidden layer."""
    parts = [(seen, layer) for seen, layer in zip(city.perceived, base, strict=True) if len(layer)]
    constant = np.empty((len(parts), len(city.cells), len(bias)), bias.dtype)

    def work(start: int, stop: int) -> None:
        for first in range(start, stop, ROWS):
            some = slice(first, min(first + ROWS, stop))
            for (seen, layer), result in zip(parts, constant, strict=True):
                np.matmul(seen[some], layer, out=result[some])
            constant[0, some] += bias

    team(work, len(city.cells))
    return constant


def _frame(evens: list[int], odds: list[int], wind: np.ndarray) -> Frame:
    vectors = sum(y in odds for _, y in VECTORS)
    return Frame(
        channels=(0,) * len(evens + odds),
        evens=(0,) * len(evens),
        odds=(0,) * len(odds),
        vectors=(0,) * vectors,
        wind=wind,
    )


def _block_sums(planes: np.ndarray, scale: int) -> np.ndarray:
    """Sum planes (…, H, W) over blocks as ``coarse.block_sums`` does, without PyTorch's threads."""
    if scale == 1:
        return planes
    missing = [-length % scale for length in planes.shape[-2:]]
    whole = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, count) for count in missing])
    cells = (whole[..., y::scale, x::scale] for y in range(scale) for x in range(scale))
    return sum(cells, np.zeros((), planes.dtype))
