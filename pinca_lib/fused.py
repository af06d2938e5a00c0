"""Steps of rules as kernels of an NVIDIA GPU, for what no gradient flows through.

One kernel filters, applies both layers, adds and bounds; what a cell perceives and its hidden layer
never leave the chip, and where there is room the layers' weights stay on it from cell to cell.
Products of float32 are made of three of TF32, which the tensor cores have from Ampere on; what is
lost is a few roundings of float32. Triton compiles it; PyTorch for CUDA brings Triton along on
Linux.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import FILTERS, MEMORY_LIMIT
from pinca_lib.blocks import block_sums
from pinca_lib.channels import BASE_COUNT, DWDZ, FLUX, SPEED, TKE
from pinca_lib.errors import first_line
from pinca_lib.physics import MARGIN

CELLS = 64  # of a program at a time: a tensor core's widest product
UNITS = 64  # hidden units at a time
PART = 4  # channels at a time: 16 numbers perceived, the least that a product takes
SCRATCH = 24 * 2**10  # bytes that a program needs beside the weights
LEAST_GRAPHED = 16  # steps from which a graph of launches repays its making
TOLERANCE = 1e-5  # relative; of TF32 alone it would be some 1e-3

_SPEED, _TKE, _FLUX, _DWDZ = (tl.constexpr(c - BASE_COUNT) for c in (SPEED, TKE, FLUX, DWDZ))
_MARGIN, _MEMORY_LIMIT = tl.constexpr(MARGIN), tl.constexpr(MEMORY_LIMIT)


@triton.jit
def _large(values):
    return (values.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)  # as TF32


@triton.jit
def _product(values, weights, sums):
    large = _large(values)
    sums = tl.dot(values - large, weights[0], sums, input_precision="tf32")
    sums = tl.dot(large, weights[1], sums, input_precision="tf32")
    return tl.dot(large, weights[0], sums, input_precision="tf32")


@triton.jit
def _weights(place, count):
    return tl.load(place), tl.load(place + count)  # as TF32, and the rest


@triton.jit
def _perceived(own, rows, columns, channel, is_real, STRIDE: tl.constexpr):
    up, y, down = rows
    left, x, right = columns
    west = tl.load(own + (up + left) * STRIDE + channel, is_real, 0.0)
    centre = tl.load(own + (up + x) * STRIDE + channel, is_real, 0.0)
    east = tl.load(own + (up + right) * STRIDE + channel, is_real, 0.0)
    sobel_x, above = east - west, west + 2 * centre + east
    west = tl.load(own + (down + left) * STRIDE + channel, is_real, 0.0)
    centre = tl.load(own + (down + x) * STRIDE + channel, is_real, 0.0)
    east = tl.load(own + (down + right) * STRIDE + channel, is_real, 0.0)
    sobel_x, below = sobel_x + (east - west), west + 2 * centre + east
    west = tl.load(own + (y + left) * STRIDE + channel, is_real, 0.0)
    centre = tl.load(own + (y + x) * STRIDE + channel, is_real, 0.0)
    east = tl.load(own + (y + right) * STRIDE + channel, is_real, 0.0)
    sobel_x, sobel_y = sobel_x + 2 * (east - west), below - above
    laplacian = above + below + 2 * (west + 2 * centre + east) - 16 * centre
    seen = tl.join(tl.join(centre, sobel_y), tl.join(sobel_x, laplacian))  # filter by filter
    return seen.reshape(west.shape[0], 4 * west.shape[1])


@triton.jit
def _column(values, channel, which: tl.constexpr):
    return tl.sum(tl.where(channel == which, values, 0.0), 1)[:, None]


@triton.jit
def _bounded(values, channel, air, ALPHA: tl.constexpr):
    u, v = _column(values, channel, 0), _column(values, channel, 1)
    most = (1 - _MARGIN) * ALPHA * tl.maximum(_column(values, channel, _TKE), 0.0)
    low = tl.where(channel > _DWDZ, -_MEMORY_LIMIT, float("-inf"))
    low = tl.where(channel == _SPEED, (1 + _MARGIN) * tl.sqrt(u * u + v * v), low)
    low = tl.where(channel == _FLUX, -most, tl.where(channel == _TKE, 0.0, low))
    high = tl.where(channel > _DWDZ, _MEMORY_LIMIT, float("inf"))
    high = tl.where(channel == _FLUX, most, high)
    bounded = tl.maximum(values, low, propagate_nan=tl.PropagateNan.ALL)
    bounded = tl.minimum(bounded, high, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(air > 0, bounded, values)


@triton.jit
def _step(
    own, new, constant, first, second, air, height, width, layers_a_sample,
    CHANNELS: tl.constexpr, STRIDE: tl.constexpr, HIDDEN: tl.constexpr, PADDED: tl.constexpr,
    TILE: tl.constexpr, CELLS: tl.constexpr, UNITS: tl.constexpr, PART: tl.constexpr,
    STAYS: tl.constexpr, ADDS: tl.constexpr, ALPHA: tl.constexpr,
):  # fmt: skip
    size, sample = height * width, tl.program_id(1).to(tl.int64)
    own += sample * size * STRIDE
    new += sample * size * STRIDE
    constant += sample * size * HIDDEN
    air += sample * size
    first += sample * layers_a_sample * (2 * 4 * STRIDE * PADDED)
    second += sample * layers_a_sample * (2 * PADDED * TILE)

    channel = tl.arange(0, TILE)[None, :]
    w1 = ()
    w2 = ()
    if STAYS:
        for start in tl.static_range(0, PADDED, UNITS):
            units = start + tl.arange(0, min(UNITS, PADDED - start))
            w2 += (_weights(second + channel * PADDED + units[:, None], TILE * PADDED),)
        for part in tl.static_range(0, STRIDE, PART):
            seen_here = 4 * part + tl.arange(0, 4 * PART)
            for start in tl.static_range(0, PADDED, UNITS):
                units = start + tl.arange(0, min(UNITS, PADDED - start))
                weights = first + units[None, :] * (4 * STRIDE) + seen_here[:, None]
                w1 += (_weights(weights, 4 * STRIDE * PADDED),)

    for tile in range(tl.program_id(0), tl.cdiv(size, CELLS), tl.num_programs(0)):
        cell = tile * CELLS + tl.arange(0, CELLS)
        is_cell = (cell < size)[:, None]
        y, x = (cell // width)[:, None], (cell % width)[:, None]
        rows = (y + height - 1) % height * width, y * width, (y + 1) % height * width
        columns = (x + width - 1) % width, x, (x + 1) % width

        hidden = ()
        for start in tl.static_range(0, PADDED, UNITS):
            unit = (start + tl.arange(0, min(UNITS, PADDED - start)))[None, :]
            place = constant + cell.to(tl.int64)[:, None] * HIDDEN + unit
            hidden += (tl.load(place, is_cell & (unit < HIDDEN), 0.0),)
        for part in tl.static_range(0, STRIDE, PART):
            channels = part + tl.arange(0, PART)[None, :]
            seen = _perceived(own, rows, columns, channels, is_cell, STRIDE)
            sums = ()
            for start in tl.static_range(0, PADDED, UNITS):
                if STAYS:
                    layer = w1[part // PART * ((PADDED + UNITS - 1) // UNITS) + start // UNITS]
                else:
                    units = start + tl.arange(0, min(UNITS, PADDED - start))
                    here = (4 * part + tl.arange(0, 4 * PART))[:, None]
                    layer = _weights(
                        first + units[None, :] * (4 * STRIDE) + here, 4 * STRIDE * PADDED
                    )
                sums += (_product(seen, layer, hidden[start // UNITS]),)
            hidden = sums

        increment = tl.zeros([CELLS, TILE], tl.float32)
        for start in tl.static_range(0, PADDED, UNITS):
            if STAYS:
                layer = w2[start // UNITS]
            else:
                units = start + tl.arange(0, min(UNITS, PADDED - start))
                layer = _weights(second + channel * PADDED + units[:, None], TILE * PADDED)
            active = tl.maximum(hidden[start // UNITS], 0.0, propagate_nan=tl.PropagateNan.ALL)
            increment = _product(active, layer, increment)
        is_air = tl.load(air + cell, cell < size, 0.0)[:, None]
        values, is_real = increment * is_air, is_cell & (channel < CHANNELS)
        place = cell[:, None] * STRIDE + channel
        if ADDS:
            values += tl.load(own + place, is_real, 0.0)
            if ALPHA >= 0:
                values = _bounded(values, channel, is_air, ALPHA)
        tl.store(new + place, values, is_real)


@triton.jit
def _spread(
    own, new, blocks, air, height, width, blocks_high, blocks_wide, scale,
    CHANNELS: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr, CELLS: tl.constexpr,
    ALPHA: tl.constexpr,
):  # fmt: skip
    size, sample = height * width, tl.program_id(1).to(tl.int64)
    cell, channel = tl.program_id(0) * CELLS + tl.arange(0, CELLS), tl.arange(0, TILE)[None, :]
    is_real = (cell < size)[:, None] & (channel < CHANNELS)
    is_air = tl.load(air + sample * size + cell, cell < size, 0.0)[:, None]
    block = cell // width // scale * blocks_wide + cell % width // scale
    blocks += sample * blocks_high * blocks_wide * STRIDE
    place = sample * size * STRIDE + cell[:, None] * STRIDE + channel
    increment = tl.load(blocks + block[:, None] * STRIDE + channel, is_real, 0.0)
    values = tl.load(own + place, is_real, 0.0) + (is_air > 0) * increment
    if ALPHA >= 0:
        values = _bounded(values, channel, is_air, ALPHA)
    tl.store(new + place, values, is_real)


@dataclass(frozen=True)
class Rule:
    """A rule over some cities, its layers in two parts: as TF32 has them, and what is left over."""

    first: Tensor  # (G, 2, PADDED, 4 STRIDE)
    second: Tensor  # (G, 2, TILE, PADDED)
    constant: Tensor  # (B, N, H, W), channels-last
    air: Tensor  # (B, H, W) of its cells, 0 to 1
    city_air: Tensor  # (B, 1, H, W) of the state's cells, 0 or 1
    shares: Tensor  # of the air of its cell that each cell of the state holds
    scale: int
    alpha: float  # -1: no bounds

    @classmethod
    def over(
        cls,
        layers: tuple[Tensor, Tensor, Tensor],
        air: Tensor,
        city: tuple[Tensor, Tensor],
        scale: int = 1,
        alpha: float | None = None,
    ) -> "Rule":
        """Bring a rule to the form of the kernels.

        Parameters
        ----------
        layers : (G, N, D, 4), (G, D, N), (B, N, h, w)
            What each hidden unit takes of the filtered dynamic channels, what those take of it, and
            what base channels and bias add to it; G is B, or 1.
        air : Tensor of shape (B, 1, h, w)
            Of the rule's cells, 0 to 1.
        city : (B, 1, H, W), (B, 1, H, W)
            Air of the state's cells, and their shares of that of their block (``blocks``).
        scale, alpha
            As of ``CA``.
        """
        first, second, constant = layers
        channels, hidden = second.shape[1:]
        more = -hidden % 32
        tile = triton.next_power_of_2(max(channels, 16))
        first = F.pad(first, [0, 0, 0, -channels % PART, 0, more]).flatten(2)
        return cls(
            _in_two(first),
            _in_two(F.pad(second, [0, more, 0, tile - channels])),
            constant.contiguous(memory_format=torch.channels_last),
            air[:, 0].contiguous(),
            city[0].float().contiguous(),
            city[1],
            scale,
            -1.0 if alpha is None else alpha,
        )

    def apply(self, own: Tensor, new: Tensor, channels: int) -> None:
        """Advance ``own`` (B, H, W, STRIDE), of so many channels, by a step, into ``new``."""
        if self.scale == 1:
            return self._launch(own, new, channels)
        means = block_sums(self.shares * own.movedim(-1, 1), self.scale).movedim(1, -1).contiguous()
        increments = torch.empty_like(means)
        self._launch(means, increments, channels)
        batch, height, width, stride = own.shape
        _spread[triton.cdiv(height * width, CELLS), batch](
            own, new, increments, self.city_air, height, width, *means.shape[1:3], self.scale,
            CHANNELS=channels, STRIDE=stride, TILE=self.second.shape[2], CELLS=CELLS,
            ALPHA=self.alpha,
        )  # fmt: skip

    def _launch(self, own: Tensor, new: Tensor, channels: int) -> None:
        batch, height, width, stride = own.shape
        programs, room = _capacity(own.device)
        stays = self.first[0].nbytes + self.second[0].nbytes + SCRATCH <= room
        tiles = triton.cdiv(height * width, CELLS)
        _step[min(tiles, max(1, programs // batch)) if stays else tiles, batch](
            own, new, self.constant, self.first, self.second, self.air,
            height, width, int(len(self.first) > 1),
            CHANNELS=channels, STRIDE=stride, HIDDEN=self.constant.shape[1],
            PADDED=self.first.shape[2], TILE=self.second.shape[2], CELLS=CELLS, UNITS=UNITS,
            PART=PART, STAYS=stays, ADDS=self.scale == 1, ALPHA=self.alpha, num_stages=1,
        )  # fmt: skip


def _in_two(weights: Tensor) -> Tensor:
    large = (weights.contiguous().view(torch.int32) & -8192).view(torch.float32)
    return torch.stack([large, weights - large], dim=1).contiguous()


@cache
def _capacity(device: torch.device) -> tuple[int, int]:
    """Return how many programs run at once, two a multiprocessor, and the memory of each."""
    if device.type != "cuda":  # interpreted
        return 2, 2**17
    about = torch.cuda.get_device_properties(device)
    return 2 * about.multi_processor_count, about.shared_memory_per_multiprocessor // 2 - 1024


def advance(dynamic: Tensor, rules: Sequence[Rule], steps: int) -> Tensor:
    """Apply rules in turn for some steps to dynamic channels (B, D, H, W); return them so."""
    batch, channels, height, width = dynamic.shape
    states = dynamic.new_zeros(2, batch, height, width, triton.cdiv(channels, PART) * PART)
    states[0, ..., :channels] = dynamic.movedim(1, -1)

    def turn(times: int) -> int:
        for number in range(times * len(rules)):
            own, new = states[number % 2], states[1 - number % 2]
            rules[number % len(rules)].apply(own, new, channels)
        return times * len(rules) % 2

    with torch.cuda.device_of(dynamic):
        if dynamic.is_cuda and steps >= LEAST_GRAPHED:
            turn(2)  # which compiles
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                turn(2)
                graph.capture_end()
            torch.cuda.current_stream().wait_stream(stream)
            for _ in range(steps // 2 - 1):
                graph.replay()
            steps %= 2
        side = turn(steps)
    return states[side, ..., :channels].movedim(-1, 1)


def runs_on(state: Tensor, channels: int, hidden: int) -> bool:
    """Return whether the kernels are for states (B, C, H, W) like this: float32, an NVIDIA GPU.

    They are tried once for each number of dynamic channels and of hidden units.
    """
    is_known = state.is_cuda and torch.version.hip is None and state.dtype == torch.float32
    return is_known and _works(state.device, channels, hidden)


@cache
def _works(device: torch.device, channels: int, hidden: int) -> bool:
    """Compare a rollout with plain PyTorch; Triton wants a C compiler and a GPU that it knows."""
    random = torch.Generator().manual_seed(0)
    first, second, constant, own = (
        torch.randn(shape, generator=random).to(device)
        for shape in ((hidden, channels, 4), (channels, hidden), (hidden, 5, 7), (channels, 5, 7))
    )
    first, second = first / channels, 0.1 * second / hidden
    kernel = torch.einsum("hcf,fij->hcij", first, FILTERS.to(device))
    expected = own = own[None]
    try:
        with torch.backends.cudnn.flags(allow_tf32=False):
            for _ in range(LEAST_GRAPHED):
                seen = F.pad(expected, [1, 1, 1, 1], mode="circular")
                active = torch.relu(F.conv2d(seen, kernel) + constant)
                expected = expected + F.conv2d(active, second[..., None, None])
        air = torch.ones_like(own[:, :1])
        rule = Rule.over((first[None], second[None], constant[None]), air, (air, air))
        found = advance(own, [rule], LEAST_GRAPHED)
        if (error := ((found - expected).norm() / expected.norm()).item()) < TOLERANCE:
            return True
        reason = f"it is off by {error:.1g} of plain PyTorch's result"
    except Exception as error:  # of Triton, of a compiler, of the driver: all have their own
        reason = first_line(error)
    warnings.warn(f"no kernel for {device} ({reason}): plain PyTorch, slower", stacklevel=3)
    return False
