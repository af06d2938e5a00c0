"""Rollouts in Triton kernels on an NVIDIA GPU, for steps that need no gradient.

One kernel applies the filters and both layers, adds the increment and applies the bounds. What a
cell perceives and its hidden layer never leave the chip. The weights stay on the chip, too, if they
fit. A float32 matrix product is the sum of three TF32 products, which tensor cores offer from
Ampere on. Its error is a few float32 roundings. On Linux, PyTorch for CUDA brings Triton along.
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
from pinca_lib.rollouts.gpu.tensorcores import HALF_KEPT, KEPT, average, spread_and_add, step
from pinca_lib.rollouts.trial import Kind, fault, kind_of

CELLS = 64  # cells at a time in a program: the widest product of a tensor core
UNITS = 64  # hidden units at a time
BLOCKS = 16  # coarse cells that a program averages
CHUNK = 64  # hidden units per program for coarse cells: with all units, too few programs would run
GROUP = 4  # channels at a time: with four filters 16 numbers, the smallest size of a product
SCRATCH = 24 * 2**10  # bytes that a program needs in addition to the weights
LEAST_GRAPHED = 16  # steps from which a CUDA graph saves more time than its capture takes
MOST_HIDDEN = 384  # hidden units; a kernel for more takes minutes to compile
TOLERANCE = 1e-5  # relative error of a trial; TF32 alone would give about 1e-3

_compiled: set[tuple] = set()  # kinds of rollouts that are compiled, as graph capture requires


@dataclass(frozen=True, eq=False)
class RuleOnGPU:
    """A rule for given cities.

    The state has (B, H, W) cells, and the rule (B, h, w) coarse cells. N is the number of hidden
    units. Layers have one part, or an even and an odd part in the wind frame. Their axis of length
    2 holds the weights rounded to TF32, and the remainder.
    """

    first: Tensor  # (chunks, 1 or 2 parts, 2, PADDED, 4 slots)
    second: Tensor  # (chunks, 1 or 2 parts, 2, TILE, PADDED)
    constant: Tensor  # (B, h w, N or 2 N): contribution of base channels and bias
    air: Tensor  # (B, h, w): share of air, 0 to 1
    wind: Tensor  # (B, 2), unit vectors
    city_air: Tensor  # (B, 1, H, W): air mask
    shares: Tensor  # (B, 1, H, W), as ``shares_of_air`` returns them; not used at scale 1
    scale: int
    alpha: float  # bound of |<u'w'>| / TKE; -1 for no bounds

    @classmethod
    @torch.no_grad()
    def over(cls, rule: CA, base: Tensor, wind: Tensor) -> "RuleOnGPU":
        """Prepare a rule for the kernels.

        Parameters
        ----------
        rule : CA
        base : Tensor of shape (B, 6, H, W)
            Base channels of the cities.
        wind : Tensor of shape (B, 2)
            ``heading`` of the cities.
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

    def apply(self, own: Tensor, new: Tensor, first_odd: int) -> None:
        """Apply the rule to ``own`` and write the result to ``new``, both (B, H, W, STRIDE).

        ``first_odd`` is the first slot of odd channels.
        """
        if self.scale == 1:
            return self._launch(own, new, first_odd)
        batch, height, width, stride = own.shape
        shape = self.air.shape[1:]
        where = (height, width, *shape, self.scale)
        tile, chunks = triton.next_power_of_2(stride), len(self.first)
        means, increments = own.new_empty(1 + chunks, batch, *shape, stride).split([1, chunks])
        average[triton.cdiv(math.prod(shape), BLOCKS), batch](
            own, means, self.shares, *where, STRIDE=stride, TILE=tile, BLOCKS=BLOCKS,
        )  # fmt: skip
        self._launch(means[0], increments, first_odd)
        spread_and_add[triton.cdiv(height * width, CELLS), batch](
            own, new, increments, self.city_air, *where,
            CHUNKS=chunks, FIRST_ODD=first_odd, STRIDE=stride, TILE=tile, CELLS=CELLS,
            ALPHA=self.alpha,
        )  # fmt: skip

    def _launch(self, own: Tensor, new: Tensor, first_odd: int) -> None:
        batch, height, width, stride = own.shape
        chunks, parts, _, padded, _ = self.first.shape
        programs, room = _capacity(own.device)
        stays = chunks == 1 and self.first.nbytes + self.second.nbytes + SCRATCH <= room
        tiles = triton.cdiv(height * width, CELLS)
        step[min(tiles, max(1, programs // batch)) if stays else tiles, batch, chunks](
            own, new, self.constant, self.first, self.second, self.air, self.wind, height, width,
            FIRST_ODD=first_odd, STRIDE=stride, HIDDEN=self.constant.shape[2] // parts,
            PADDED=padded, TILE=self.second.shape[3], CELLS=CELLS, UNITS=UNITS, GROUP=GROUP,
            STAYS=stays, ADDS=self.scale == 1, FOLLOWS=parts == 2, ALPHA=self.alpha, num_stages=1,
        )  # fmt: skip


def over(rules: Sequence[CA], base: Tensor) -> list[RuleOnGPU]:
    """Prepare rules for the kernels, for cities with base channels (B, 6, H, W)."""
    wind = heading(base)
    return [RuleOnGPU.over(rule, base, wind) for rule in rules]


@dataclass(frozen=True, eq=False)
class Places:
    """How the slots of the kernels map to the channels of a rule.

    Slots are in the order of ``wind_frame.even_and_odd``. Even and odd channels are each padded to
    a multiple of ``GROUP``.

    Attributes
    ----------
    slots : Tensor of shape (D,)
        Slot of each dynamic channel.
    first_odd : int
        First slot of odd channels.
    stride : int
        Number of slots.
    first : Tensor of shape (1 or 2, 4 slots)
        For each part, the column of W1 (hidden, 4 C) for each slot and filter; 4 C for none.
    base : Tensor of shape (1 or 2, 24)
        For each part, the column of W1 for each base channel and filter; 4 C where the product of
        channel and filter belongs to the other part.
    second : Tensor of shape (1 or 2, TILE)
        For each part, the row of W2 (C, hidden) for each slot; C for none.
    """

    slots: Tensor
    first_odd: int
    stride: int
    first: Tensor
    base: Tensor
    second: Tensor


@cache
def _places(channels: int, follows_wind: bool, device: torch.device) -> Places:
    even_odd = even_and_odd(channels, DYNAMIC)
    first_odd, rest = (-(-len(part) // GROUP) * GROUP for part in even_odd)
    evens, odds = (part + [channels] * (first_odd - len(part)) for part in even_odd)
    stride = first_odd + rest
    slots, filters = (evens + odds)[:stride], torch.arange(len(FILTERS))
    entries = torch.arange(len(FILTERS) * channels).view(channels, -1)
    entries = F.pad(entries, [0, 0, 0, 1], value=entries.numel())  # last row: for empty slots
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
    return Places(
        slots=torch.tensor(order, device=device),
        first_odd=first_odd,
        stride=stride,
        first=torch.stack(first).flatten(1).to(device),
        base=torch.stack(of_base).flatten(1).to(device),
        second=torch.tensor(second, device=device),
    )


def _in_two(weights: Tensor) -> Tensor:
    """Return weights rounded to TF32, and the remainder, stacked along axis 2."""
    large = _as_tf32(weights)
    return torch.stack([large, _as_tf32(weights - large)], dim=2)


def _as_tf32(values: Tensor) -> Tensor:
    bits = values.contiguous().view(torch.int32)
    return ((bits + HALF_KEPT) & KEPT).view(torch.float32)


@cache
def _capacity(device: torch.device) -> tuple[int, int]:
    """Return how many programs run at once, two per multiprocessor, and the memory of each."""
    if device.type != "cuda":  # Triton interprets the kernels, in tests
        return 2, 2**17
    about = torch.cuda.get_device_properties(device)
    return 2 * about.multi_processor_count, about.shared_memory_per_multiprocessor // 2 - 1024


def advance(dynamic: Tensor, rules: Sequence[RuleOnGPU], steps: int) -> Tensor:
    """Advance dynamic channels (B, D, H, W) by steps, each of which applies all rules in turn."""
    batch, channels, height, width = dynamic.shape
    places = _places(BASE_COUNT + channels, False, dynamic.device)
    states = dynamic.new_zeros(2, batch, height, width, places.stride)
    states[0, ..., places.slots] = dynamic.movedim(1, -1)

    def launch(count: int) -> int:
        """Launch a number of steps from state 0; return which state holds the result."""
        for number in range(count * len(rules)):
            own, new = states[number % 2], states[1 - number % 2]
            rules[number % len(rules)].apply(own, new, places.first_odd)
        return count * len(rules) % 2

    with torch.cuda.device_of(dynamic):
        if dynamic.is_cuda and steps >= LEAST_GRAPHED:
            kinds = [(rule.first.shape, rule.constant.shape[2], rule.scale, rule.alpha)
                     for rule in rules]  # fmt: skip
            if (known := (dynamic.device, states.shape, *kinds)) not in _compiled:
                steps -= 2
                launch(2)
                _compiled.add(known)
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                launch(2)  # an even number of applications, so the result is in state 0 again
                graph.capture_end()
            torch.cuda.current_stream().wait_stream(stream)
            for _ in range(steps // 2):
                graph.replay()
            steps %= 2
        last = launch(steps)
    return states[last][..., places.slots].movedim(-1, 1)


def runs_on(state: Tensor, rule: CA) -> bool:
    """Return whether the kernels can apply a rule to states (B, C, H, W) like this.

    They need float32 and an NVIDIA GPU with TF32. For each kind of rule they must once give the
    same result as the rule itself.
    """
    is_float32_on_nvidia = (
        state.is_cuda and torch.version.hip is None and state.dtype == torch.float32
    )
    if not is_float32_on_nvidia or rule.w1.out_channels > MOST_HIDDEN:
        return False
    has_tf32 = torch.cuda.get_device_capability(state.device) >= (8, 0)
    return has_tf32 and _is_trusted(state.device, kind_of(rule))


@cache
def _is_trusted(device: torch.device, kind: Kind) -> bool:
    """Return whether the kernels pass their trial; if not, warn with the reason."""

    def over_kernels(rules: Sequence[CA], state: Tensor, steps: int) -> Tensor:
        base, dynamic = split_base(state)
        return torch.cat([base, advance(dynamic, over(rules, base), steps)], dim=1)

    reason = fault(over_kernels, [kind], device, torch.float32, LEAST_GRAPHED, TOLERANCE)
    if reason:
        warnings.warn(
            f"no kernel for {device} ({reason}): using plain PyTorch, which is slower", stacklevel=3
        )
    return not reason
