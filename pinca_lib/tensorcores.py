"""The kernels of a rule's step on an NVIDIA GPU, in Triton: what ``fused`` launches."""

import triton
import triton.language as tl

from pinca_lib.automaton import MEMORY_LIMIT
from pinca_lib.channels import BASE_COUNT, DWDZ, FLUX, SPEED, TKE
from pinca_lib.physics import MARGIN

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
def _first(
    weights, part: tl.constexpr, start: tl.constexpr,
    STRIDE: tl.constexpr, PADDED: tl.constexpr, UNITS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    units = start + tl.arange(0, min(UNITS, PADDED - start))
    seen = 4 * part + tl.arange(0, 4 * PART)
    place = weights + units[None, :] * (4 * STRIDE) + seen[:, None]
    return _weights(place, 4 * STRIDE * PADDED)


@triton.jit
def _second(
    weights, start: tl.constexpr, PADDED: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr
):
    units = start + tl.arange(0, min(UNITS, PADDED - start))
    place = weights + tl.arange(0, TILE)[None, :] * PADDED + units[:, None]
    return _weights(place, TILE * PADDED)


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
    tke = tl.maximum(_column(values, channel, _TKE), 0.0, propagate_nan=tl.PropagateNan.ALL)
    most = (1 - _MARGIN) * ALPHA * tke
    low = tl.where(channel > _DWDZ, -_MEMORY_LIMIT, float("-inf"))
    low = tl.where(channel == _SPEED, (1 + _MARGIN) * tl.sqrt(u * u + v * v), low)
    low = tl.where(channel == _FLUX, -most, tl.where(channel == _TKE, 0.0, low))
    high = tl.where(channel > _DWDZ, _MEMORY_LIMIT, float("inf"))
    high = tl.where(channel == _FLUX, most, high)
    bounded = tl.maximum(values, low, propagate_nan=tl.PropagateNan.ALL)
    bounded = tl.minimum(bounded, high, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(air > 0, bounded, values)


@triton.jit
def step(
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
            w2 += (_second(second, start, PADDED, UNITS, TILE),)
        for part in tl.static_range(0, STRIDE, PART):
            for start in tl.static_range(0, PADDED, UNITS):
                w1 += (_first(first, part, start, STRIDE, PADDED, UNITS, PART),)

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
                    layer = _first(first, part, start, STRIDE, PADDED, UNITS, PART)
                sums += (_product(seen, layer, hidden[start // UNITS]),)
            hidden = sums

        increment = tl.zeros([CELLS, TILE], tl.float32)
        for start in tl.static_range(0, PADDED, UNITS):
            layer = w2[start // UNITS] if STAYS else _second(second, start, PADDED, UNITS, TILE)
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
def spread_and_add(
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
