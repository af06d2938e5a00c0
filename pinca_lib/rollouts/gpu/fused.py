"""Steps of rules as kernels of an NVIDIA GPU, for what no gradient flows through.

One kernel filters, applies both layers, adds and bounds; what a cell perceives and its hidden layer
never leave the chip, and where there is room the layers' weights stay on it from cell to cell.
Products of float32 are made of three of TF32, which the tensor cores have from Ampere on; what is
lost is a few roundings of float32. Triton compiles it; PyTorch for CUDA brings Triton along on
Linux.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import (
    ACROSS,
    CA,
    FILTERS,
    block_means,
    even_and_odd,
    heading,
    is_odd,
    perceive,
    reverse,
    rotated_perception,
    shares_of_air,
)
from pinca_lib.channels import BASE, BASE_COUNT, DYNAMIC, GEO_MASK, split_base
from pinca_lib.errors import first_line
from pinca_lib.physics import ALPHA
from pinca_lib.rollouts.gpu.tensorcores import HALF_KEPT, KEPT, average, spread_and_add, step

CELLS = 64  # of a program at a time: a tensor core's widest product
UNITS = 64  # hidden units at a time
BLOCKS = 16  # of wider cells, averaged by a program
CHUNK = 64  # hidden units of a program, of rules of wider cells: else few programs would do all
PART = 4  # channels at a time: 16 numbers perceived, the least that a product takes
SCRATCH = 24 * 2**10  # bytes that a program needs beside the weights
LEAST_GRAPHED = 16  # steps from which a graph of launches repays its making
MOST_HIDDEN = 384  # units: a kernel of more takes minutes to compile
TOLERANCE = 1e-5  # relative; of TF32 alone it would be some 1e-3

_compiled: set[tuple] = set()  # kinds of rollouts that graphs can be made of: it compiles nothing


@dataclass(frozen=True, eq=False)
class RuleOnGPU:
    """A rule over some cities, its layers in two parts: as TF32 has them, and what is left over."""

    first: Tensor  # (chunks, 1 or 2 halves, 2, PADDED, 4 slots)
    second: Tensor  # (chunks, 1 or 2 halves, 2, TILE, PADDED)
    constant: Tensor  # (B, H W, N or 2 N): what base channels and bias add to the hidden layer
    air: Tensor  # (B, H, W) of its cells, 0 to 1
    wind: Tensor  # (B, 2), as unit vectors
    city_air: Tensor  # (B, 1, H, W) of the state's cells, 0 or 1
    shares: Tensor  # of the air of its block that each cell of the state holds, likewise
    scale: int
    alpha: float  # -1: no bounds

    @classmethod
    @torch.no_grad()
    def over(cls, rule: CA, base: Tensor, wind: Tensor) -> "RuleOnGPU":
        """Bring a rule to the form of the kernels.

        Parameters
        ----------
        rule : CA
        base : Tensor of shape (B, 6, H, W)
            Cities.
        wind : Tensor of shape (B, 2)
            Their ``heading``.
        """
        scale, follows_wind = rule.scale, rule.follows_wind
        places = _places(rule.channels, follows_wind, base.device)
        w1, bias, w2 = rule.layers()
        chunks = 1 if scale == 1 else triton.cdiv(len(w1), CHUNK)
        more = -len(w1) % (32 * chunks)
        own = block_means(base, scale)
        air = own[:, GEO_MASK].contiguous()
        seen = perceive(own).unflatten(1, (-1, len(FILTERS)))
        if follows_wind:
            seen = rotated_perception(seen, reverse(wind), 1)
        w1 = F.pad(w1.flatten(1), [0, 1])  # a last column of zeros
        of_base = w1[:, places.base].movedim(1, 0).flatten(0, 1)  # (N or 2 N, 24)
        bias = F.pad(bias, [0, len(of_base) - len(bias)])
        first = F.pad(w1, [0, 0, 0, more])[:, places.first].unflatten(0, (chunks, -1)).movedim(2, 1)
        second = F.pad(w2, [0, more, 0, 1])[places.second].unflatten(2, (chunks, -1)).movedim(2, 0)
        return cls(
            _in_two(first),
            _in_two(second / len(places.second)),
            F.linear(seen.flatten(3).flatten(1, 2).mT, of_base, bias),
            air,
            wind,
            base[:, GEO_MASK].contiguous(),
            air if scale == 1 else shares_of_air(base[:, GEO_MASK, None], scale),
            scale,
            -1.0 if rule.alpha is None else float(rule.alpha),
        )

    def apply(self, own: Tensor, new: Tensor, half: int) -> None:
        """Advance ``own`` (B, H, W, STRIDE), whose odd slots start at ``half``, into ``new``."""
        if self.scale == 1:
            return self._launch(own, new, half)
        batch, height, width, stride = own.shape
        shape = self.air.shape[1:]
        where = (height, width, *shape, self.scale)
        tile, chunks = triton.next_power_of_2(stride), len(self.first)
        means, increments = own.new_empty(1 + chunks, batch, *shape, stride).split([1, chunks])
        average[triton.cdiv(math.prod(shape), BLOCKS), batch](
            own, means, self.shares, *where, STRIDE=stride, TILE=tile, BLOCKS=BLOCKS,
        )  # fmt: skip
        self._launch(means[0], increments, half)
        spread_and_add[triton.cdiv(height * width, CELLS), batch](
            own, new, increments, self.city_air, *where,
            CHUNKS=chunks, HALF=half, STRIDE=stride, TILE=tile, CELLS=CELLS, ALPHA=self.alpha,
        )  # fmt: skip

    def _launch(self, own: Tensor, new: Tensor, half: int) -> None:
        batch, height, width, stride = own.shape
        chunks, halves, _, padded, _ = self.first.shape
        programs, room = _capacity(own.device)
        stays = chunks == 1 and self.first.nbytes + self.second.nbytes + SCRATCH <= room
        tiles = triton.cdiv(height * width, CELLS)
        step[min(tiles, max(1, programs // batch)) if stays else tiles, batch, chunks](
            own, new, self.constant, self.first, self.second, self.air, self.wind, height, width,
            HALF=half, STRIDE=stride, HIDDEN=self.constant.shape[2] // halves, PADDED=padded,
            TILE=self.second.shape[3], CELLS=CELLS, UNITS=UNITS, PART=PART, STAYS=stays,
            ADDS=self.scale == 1, FOLLOWS=halves == 2, ALPHA=self.alpha, num_stages=1,
        )  # fmt: skip


def over(rules: Sequence[CA], base: Tensor) -> list[RuleOnGPU]:
    """Bring rules over cities, (B, 6, H, W), to the form of the kernels."""
    wind = heading(base)
    return [RuleOnGPU.over(rule, base, wind) for rule in rules]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the slots and filters of the kernels are among the channels and filters of a rule.

    Attributes
    ----------
    slots : Tensor of shape (D,)
        The slot of each dynamic channel: those of ``wind_frame.even_and_odd``, each filled up to whole parts.
    half, stride : int
        The first slot of odd channels, and how many slots there are.
    first : Tensor of shape (1 or 2, 4 slots)
        For each half, which entry of W1 (hidden, 4 C) each slot and filter takes; 4 C: none.
    base : Tensor of shape (1 or 2, 24)
        Likewise each base channel and filter, of which all are there in either half.
    second : Tensor of shape (1 or 2, TILE)
        Likewise which row of W2 (C, hidden) each slot takes; C: none.
    """

    slots: Tensor
    half: int
    stride: int
    first: Tensor
    base: Tensor
    second: Tensor


@cache
def _places(channels: int, follows_wind: bool, device: torch.device) -> Places:
    own = even_and_odd(channels, DYNAMIC)
    half, rest = (-(-len(part) // PART) * PART for part in own)
    evens, odds = (part + [channels] * (half - len(part)) for part in own)
    slots, filters = (evens + odds)[: half + rest], torch.arange(len(FILTERS))
    entries = torch.arange(len(FILTERS) * channels).view(channels, -1)
    entries = F.pad(entries, [0, 0, 0, 1], value=entries.numel())  # a last row: no channel's
    if follows_wind:
        own_filters = filters[filters != ACROSS]
        first = [torch.cat([entries[part][:, own_filters], entries[other][:, [ACROSS]]], dim=1)
                 for part, other in ((evens, odds), (odds, evens))]  # fmt: skip
        is_odd_one = torch.tensor(is_odd(BASE_COUNT))[:, None] ^ (filters == ACROSS)
        of_base = [entries[BASE].where(is_odd_one == part, entries[-1]) for part in (False, True)]
        second = [evens, odds]
    else:
        first, of_base, second = [entries[slots]], [entries[BASE]], [slots]
    tile = triton.next_power_of_2(max(len(second[0]), 16))
    second = [rows + [channels] * (tile - len(rows)) for rows in second]
    order = [slots.index(c) for c in range(channels)[DYNAMIC]]
    first, of_base = (torch.stack(of).flatten(1).to(device) for of in (first, of_base))
    order, second = (torch.tensor(of, device=device) for of in (order, second))
    return Places(order, half, half + rest, first, of_base, second)


def _in_two(weights: Tensor) -> Tensor:
    large = _as_tf32(weights)
    return torch.stack([large, _as_tf32(weights - large)], dim=2)


def _as_tf32(values: Tensor) -> Tensor:
    bits = values.contiguous().view(torch.int32)
    return ((bits + HALF_KEPT) & KEPT).view(torch.float32)


@cache
def _capacity(device: torch.device) -> tuple[int, int]:
    """Return how many programs run at once, two a multiprocessor, and the memory of each."""
    if device.type != "cuda":  # interpreted
        return 2, 2**17
    about = torch.cuda.get_device_properties(device)
    return 2 * about.multi_processor_count, about.shared_memory_per_multiprocessor // 2 - 1024


def advance(dynamic: Tensor, rules: Sequence[RuleOnGPU], steps: int) -> Tensor:
    """Apply rules in turn for some steps to dynamic channels (B, D, H, W); return them so."""
    batch, channels, height, width = dynamic.shape
    places = _places(BASE_COUNT + channels, False, dynamic.device)
    states = dynamic.new_zeros(2, batch, height, width, places.stride)
    states[0, ..., places.slots] = dynamic.movedim(1, -1)

    def turn(times: int) -> int:
        for number in range(times * len(rules)):
            own, new = states[number % 2], states[1 - number % 2]
            rules[number % len(rules)].apply(own, new, places.half)
        return times * len(rules) % 2

    with torch.cuda.device_of(dynamic):
        if dynamic.is_cuda and steps >= LEAST_GRAPHED:
            kinds = [(rule.first.shape, rule.constant.shape[2], rule.scale, rule.alpha)
                     for rule in rules]  # fmt: skip
            if (known := (dynamic.device, states.shape, *kinds)) not in _compiled:
                steps -= 2
                turn(2)
                _compiled.add(known)
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                turn(2)
                graph.capture_end()
            torch.cuda.current_stream().wait_stream(stream)
            for _ in range(steps // 2):
                graph.replay()
            steps %= 2
        side = turn(steps)
    return states[side][..., places.slots].movedim(-1, 1)


def runs_on(state: Tensor, rule: CA) -> bool:
    """Return whether the kernels are for states (B, C, H, W) like this: float32, a GPU with TF32.

    They are tried once for each kind of rule.
    """
    is_known = state.is_cuda and torch.version.hip is None and state.dtype == torch.float32
    if not is_known or rule.w1.out_channels > MOST_HIDDEN:
        return False
    is_bounded = rule.alpha is not None
    kind = rule.channels, rule.w1.out_channels, rule.follows_wind, rule.scale, is_bounded
    has_tf32 = torch.cuda.get_device_capability(state.device) >= (8, 0)
    return has_tf32 and _works(state.device, *kind)


@cache
def _works(
    device: torch.device,
    channels: int,
    hidden: int,
    follows_wind: bool,
    scale: int,
    is_bounded: bool,
) -> bool:
    """Compare a rollout with the rule itself; Triton wants a C compiler and a GPU that it knows."""
    random = torch.Generator().manual_seed(0)
    alpha = ALPHA if is_bounded else None
    rule = CA(channels, hidden, alpha=alpha, follows_wind=follows_wind, scale=scale)
    rule.requires_grad_(False)
    for weights, size in ((rule.w1.weight, 1 / channels), (rule.w2.weight, 0.1 / hidden)):
        weights.copy_(size * torch.randn(weights.shape, generator=random))
    rule = rule.to(device)
    state = torch.randn(1, channels, 5, 7, generator=random).to(device)
    state[:, GEO_MASK] = 1
    base, own = split_base(state)
    try:
        with torch.backends.cudnn.flags(allow_tf32=False):
            for _ in range(LEAST_GRAPHED):
                state = rule(state)
        kernels = RuleOnGPU.over(rule, base, heading(base))
        expected, found = state[:, DYNAMIC], advance(own, [kernels], LEAST_GRAPHED)
        if (error := ((found - expected).norm() / expected.norm()).item()) < TOLERANCE:
            return True
        reason = f"it is off by {error:.1g} of the rule itself"
    except Exception as error:  # of Triton, of a compiler, of the driver: all have their own
        reason = first_line(error)
    warnings.warn(f"no kernel for {device} ({reason}): plain PyTorch, slower", stacklevel=3)
    return False
