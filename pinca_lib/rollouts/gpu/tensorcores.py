"""Triton kernels for the step of a rule on an NVIDIA GPU, which ``fused`` launches.

Channels are stored in *slots*. Even channels (see ``wind_frame``) are in the slots before
FIRST_ODD: u, <u'w'>, speed, TKE, dw/dz and hidden channels. Odd channels are in the slots from
FIRST_ODD on: v, <v'w'> and hidden channels. In the wind frame, layers have an even and an odd part,
as in the compiled loops of a CPU (``cpu.kernels``).

Arguments of the kernels:

own, new           states (B, H, W, STRIDE). On coarse cells ``new`` of ``step`` holds increments
                   of blocks instead, one for each chunk of hidden units: (chunks, B, h, w, STRIDE)
first, second,     as in ``fused.RuleOnGPU``
constant, air
winds              (B, 2)
FOLLOWS            whether the rule uses the wind frame
ADDS               whether ``new`` is the next state; it is bounded unless ALPHA is -1
STAYS              whether a program keeps the layers on the chip for all of its cells
GROUP              number of channels that are perceived at a time
"""

import triton
import triton.language as tl

from pinca_lib.automaton import HIDDEN_LIMIT
from pinca_lib.physics import MARGIN

_FLUX, _SPEED, _TKE, _DWDZ = (tl.constexpr(slot) for slot in range(1, 5))  # u is 0, v FIRST_ODD
# (u, v) and (<u'w'>, <v'w'>): x components are the first even slots, y components the first odd.
_VECTORS = tl.constexpr(2)
# TF32 keeps the bits KEPT of a float32. Adding half of the last kept bit first rounds to nearest.
KEPT, HALF_KEPT = -(2**13), 2**12
_KEPT, _HALF_KEPT = tl.constexpr(KEPT), tl.constexpr(HALF_KEPT)
_MARGIN, _HIDDEN_LIMIT = tl.constexpr(MARGIN), tl.constexpr(HIDDEN_LIMIT)


@triton.jit
def _as_tf32(values):
    bits = values.to(tl.int32, bitcast=True) + _HALF_KEPT
    return (bits & _KEPT).to(tl.float32, bitcast=True)


@triton.jit
def _product(values, weights, sums):
    large = _as_tf32(values)
    # The hardware cuts the difference off to TF32. The product of both remainders is negligible.
    sums = tl.dot(values - large, weights[0], sums, input_precision="tf32")
    sums = tl.dot(large, weights[1], sums, input_precision="tf32")
    return tl.dot(large, weights[0], sums, input_precision="tf32")


@triton.jit
def _load_first(
    weights, part: tl.constexpr, group: tl.constexpr, start: tl.constexpr,
    SEEN: tl.constexpr, PADDED: tl.constexpr, UNITS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    units = start + tl.arange(0, min(UNITS, PADDED - start))
    seen = 4 * group + tl.arange(0, 4 * GROUP)
    place = weights + part * (2 * SEEN * PADDED) + units[None, :] * SEEN + seen[:, None]
    return tl.load(place), tl.load(place + SEEN * PADDED)  # rounded to TF32, and the remainder


@triton.jit
def _load_second(
    weights, part: tl.constexpr, start: tl.constexpr,
    PADDED: tl.constexpr, UNITS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    units = start + tl.arange(0, min(UNITS, PADDED - start))
    place = weights + part * (2 * TILE * PADDED) + tl.arange(0, TILE)[None, :] * PADDED
    return tl.load(place + units[:, None]), tl.load(place + TILE * PADDED + units[:, None])


@triton.jit
def _filtered(own, rows, columns, slot, is_real, STRIDE: tl.constexpr):
    up, y, down = rows
    left, x, right = columns
    west = tl.load(own + (up + left) * STRIDE + slot, is_real, 0.0)
    centre = tl.load(own + (up + x) * STRIDE + slot, is_real, 0.0)
    east = tl.load(own + (up + right) * STRIDE + slot, is_real, 0.0)
    sobel_x, above = east - west, west + 2 * centre + east
    west = tl.load(own + (down + left) * STRIDE + slot, is_real, 0.0)
    centre = tl.load(own + (down + x) * STRIDE + slot, is_real, 0.0)
    east = tl.load(own + (down + right) * STRIDE + slot, is_real, 0.0)
    sobel_x, below = sobel_x + (east - west), west + 2 * centre + east
    west = tl.load(own + (y + left) * STRIDE + slot, is_real, 0.0)
    centre = tl.load(own + (y + x) * STRIDE + slot, is_real, 0.0)
    east = tl.load(own + (y + right) * STRIDE + slot, is_real, 0.0)
    sobel_x, sobel_y = sobel_x + 2 * (east - west), below - above
    return centre, sobel_x, sobel_y, above + below + 2 * (west + 2 * centre + east) - 16 * centre


@triton.jit
def _side_by_side(a, b, c, d):
    joined = tl.join(tl.join(a, c), tl.join(b, d))  # a, b, c and d of each slot side by side
    return joined.reshape(a.shape[0], 4 * a.shape[1])


@triton.jit
def _rotated(cos, sin, x, y):
    return cos * x - sin * y, sin * x + cos * y


@triton.jit
def _rotated_where(is_vector, cos, sin, x, y):
    rotated_x, rotated_y = _rotated(cos, sin, x, y)
    return tl.where(is_vector, rotated_x, x), tl.where(is_vector, rotated_y, y)


@triton.jit
def _parts(own, rows, columns, group: tl.constexpr, wind, is_cell, FIRST_ODD: tl.constexpr,
            STRIDE: tl.constexpr, GROUP: tl.constexpr):  # fmt: skip
    cos, sin = wind
    slot = group + tl.arange(0, GROUP)[None, :]
    is_vector, is_real = slot < _VECTORS, is_cell & (FIRST_ODD + slot < STRIDE)
    even, even_x, even_y, even_laplacian = _filtered(own, rows, columns, slot, is_cell, STRIDE)
    odd, odd_x, odd_y, odd_laplacian = _filtered(
        own, rows, columns, FIRST_ODD + slot, is_real, STRIDE
    )
    if group < _VECTORS:
        even, odd = _rotated_where(is_vector, cos, -sin, even, odd)
        even_x, odd_x = _rotated_where(is_vector, cos, -sin, even_x, odd_x)
        even_y, odd_y = _rotated_where(is_vector, cos, -sin, even_y, odd_y)
        even_laplacian, odd_laplacian = _rotated_where(
            is_vector, cos, -sin, even_laplacian, odd_laplacian
        )
    even_along, even_across = _rotated(cos, -sin, even_x, even_y)
    odd_along, odd_across = _rotated(cos, -sin, odd_x, odd_y)
    return (
        _side_by_side(even, even_along, even_laplacian, odd_across),
        _side_by_side(odd, odd_along, odd_laplacian, even_across),
    )


@triton.jit
def _column(values, slot, which: tl.constexpr):
    return tl.sum(tl.where(slot == which, values, 0.0), 1)[:, None]


@triton.jit
def _at_least(values, low):
    return tl.maximum(values, low, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _bounded(values, slot, u, v, tke, is_air, FIRST_ODD: tl.constexpr, ALPHA: tl.constexpr):
    largest = (1 - _MARGIN) * ALPHA * _at_least(tke, 0.0)
    is_hidden = (slot > _DWDZ) & (slot != FIRST_ODD)
    low = tl.where(is_hidden, -_HIDDEN_LIMIT, float("-inf"))
    low = tl.where(slot == _SPEED, (1 + _MARGIN) * tl.sqrt(u * u + v * v), low)
    low = tl.where(slot == _FLUX, -largest, tl.where(slot == _TKE, 0.0, low))
    high = tl.where(is_hidden, _HIDDEN_LIMIT, float("inf"))
    high = tl.where(slot == _FLUX, largest, high)
    bounded = tl.minimum(_at_least(values, low), high, propagate_nan=tl.PropagateNan.ALL)
    return tl.where(is_air, bounded, values)


# Apply a rule to the cells of a state.
@triton.jit
def step(
    own, new, constant, first, second, air, winds, height, width,
    FIRST_ODD: tl.constexpr, STRIDE: tl.constexpr, HIDDEN: tl.constexpr, PADDED: tl.constexpr,
    TILE: tl.constexpr, CELLS: tl.constexpr, UNITS: tl.constexpr, GROUP: tl.constexpr,
    STAYS: tl.constexpr, ADDS: tl.constexpr, FOLLOWS: tl.constexpr, ALPHA: tl.constexpr,
):  # fmt: skip
    size, sample, chunk = height * width, tl.program_id(1).to(tl.int64), tl.program_id(2)
    PARTS: tl.constexpr = 2 if FOLLOWS else 1
    SEEN: tl.constexpr = 4 * (FIRST_ODD if FOLLOWS else STRIDE)
    own += sample * size * STRIDE
    new += (chunk * tl.num_programs(1) + sample) * size * STRIDE
    constant += sample * size * (PARTS * HIDDEN)
    first += chunk * (PARTS * 2 * SEEN * PADDED)
    second += chunk * (PARTS * 2 * TILE * PADDED)
    air += sample * size
    wind = tl.load(winds + 2 * sample), tl.load(winds + 2 * sample + 1)

    slot = tl.arange(0, TILE)[None, :]
    w1 = ()
    w2 = ()
    if STAYS:
        for part in tl.static_range(PARTS):
            for start in tl.static_range(0, PADDED, UNITS):
                w2 += (_load_second(second, part, start, PADDED, UNITS, TILE),)
        for group in tl.static_range(0, SEEN // 4, GROUP):
            for part in tl.static_range(PARTS):
                for start in tl.static_range(0, PADDED, UNITS):
                    w1 += (_load_first(first, part, group, start, SEEN, PADDED, UNITS, GROUP),)
    TILES: tl.constexpr = (PADDED + UNITS - 1) // UNITS

    for tile in range(tl.program_id(0), tl.cdiv(size, CELLS), tl.num_programs(0)):
        cell = tile * CELLS + tl.arange(0, CELLS)
        is_cell = (cell < size)[:, None]
        y, x = (cell // width)[:, None], (cell % width)[:, None]
        rows = (y + height - 1) % height * width, y * width, (y + 1) % height * width
        columns = (x + width - 1) % width, x, (x + 1) % width

        hidden = ()
        for part in tl.static_range(PARTS):
            for start in tl.static_range(0, PADDED, UNITS):
                unit = (start + tl.arange(0, min(UNITS, PADDED - start)))[None, :]
                unit += chunk * PADDED
                place = constant + cell.to(tl.int64)[:, None] * (PARTS * HIDDEN) + part * HIDDEN
                hidden += (tl.load(place + unit, is_cell & (unit < HIDDEN), 0.0),)
        for group in tl.static_range(0, SEEN // 4, GROUP):
            if FOLLOWS:
                seen = _parts(own, rows, columns, group, wind, is_cell, FIRST_ODD, STRIDE, GROUP)
            else:
                filtered = _filtered(
                    own, rows, columns, group + tl.arange(0, GROUP)[None, :], is_cell, STRIDE
                )
                seen = (_side_by_side(filtered[0], filtered[1], filtered[2], filtered[3]),)
            sums = ()
            for part in tl.static_range(PARTS):
                for start in tl.static_range(0, PADDED, UNITS):
                    if STAYS:
                        layer = w1[(group // GROUP * PARTS + part) * TILES + start // UNITS]
                    else:
                        layer = _load_first(first, part, group, start, SEEN, PADDED, UNITS, GROUP)
                    sums += (_product(seen[part], layer, hidden[part * TILES + start // UNITS]),)
            hidden = sums

        increment = tl.zeros([CELLS, TILE], tl.float32)
        odd_increment = tl.zeros([CELLS, TILE], tl.float32)
        for start in tl.static_range(0, PADDED, UNITS):
            active = hidden[start // UNITS]
            if FOLLOWS:
                odd = hidden[TILES + start // UNITS]
                in_mirror = _at_least(active - odd, 0.0)
                active = _at_least(active + odd, 0.0)
                layer = (
                    w2[TILES + start // UNITS]
                    if STAYS
                    else _load_second(second, 1, start, PADDED, UNITS, TILE)
                )
                odd_increment = _product(active - in_mirror, layer, odd_increment)
                active += in_mirror
            else:
                active = _at_least(active, 0.0)
            layer = (
                w2[start // UNITS] if STAYS else _load_second(second, 0, start, PADDED, UNITS, TILE)
            )
            increment = _product(active, layer, increment)

        share = tl.load(air + cell, cell < size, 0.0)[:, None]
        place = cell[:, None] * STRIDE + slot
        if FOLLOWS:
            increment, odd_increment = _rotated_where(
                slot < _VECTORS, wind[0], wind[1], increment, odd_increment
            )
            is_real, is_odd = is_cell & (slot < FIRST_ODD), is_cell & (FIRST_ODD + slot < STRIDE)
            values, odd_values = share * increment, share * odd_increment
            if ADDS:
                values += tl.load(own + place, is_real, 0.0)
                odd_values += tl.load(own + place + FIRST_ODD, is_odd, 0.0)
                if ALPHA >= 0:
                    u, tke = _column(values, slot, 0), _column(values, slot, _TKE)
                    v = _column(odd_values, slot, 0)
                    values = _bounded(values, slot, u, v, tke, share > 0, FIRST_ODD, ALPHA)
                    odd_values = _bounded(
                        odd_values, FIRST_ODD + slot, u, v, tke, share > 0, FIRST_ODD, ALPHA
                    )
            tl.store(new + place + FIRST_ODD, odd_values, is_odd)
        else:
            is_real = is_cell & (slot < STRIDE)
            values = share * increment
            if ADDS:
                values += tl.load(own + place, is_real, 0.0)
                if ALPHA >= 0:
                    u, v = _column(values, slot, 0), _column(values, slot, FIRST_ODD)
                    values = _bounded(
                        values, slot, u, v, _column(values, slot, _TKE), share > 0, FIRST_ODD, ALPHA
                    )
        tl.store(new + place, values, is_real)


# Average a state over the air of each block.
@triton.jit
def average(
    own, means, shares, height, width, blocks_high, blocks_wide, scale,
    STRIDE: tl.constexpr, TILE: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    sample, slot = tl.program_id(1).to(tl.int64), tl.arange(0, TILE)[None, :]
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    is_block = block < blocks_high * blocks_wide
    own += sample * height * width * STRIDE
    shares += sample * height * width
    sums = tl.zeros([BLOCKS, TILE], tl.float32)
    for cell in range(scale * scale):
        y = block // blocks_wide * scale + cell // scale
        x = block % blocks_wide * scale + cell % scale
        is_cell = is_block & (y < height) & (x < width)
        share = tl.load(shares + y * width + x, is_cell, 0.0)[:, None]
        place = (y * width + x)[:, None] * STRIDE + slot
        sums += share * tl.load(own + place, is_cell[:, None] & (slot < STRIDE), 0.0)
    place = (sample * blocks_high * blocks_wide + block[:, None]) * STRIDE + slot
    tl.store(means + place, sums, is_block[:, None] & (slot < STRIDE))


# Add the increments of blocks to the air cells of a state, and bound the result.
@triton.jit
def spread_and_add(
    own, new, blocks, air, height, width, blocks_high, blocks_wide, scale,
    CHUNKS: tl.constexpr, FIRST_ODD: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr,
    CELLS: tl.constexpr, ALPHA: tl.constexpr,
):  # fmt: skip
    size, sample = height * width, tl.program_id(1).to(tl.int64)
    cell, slot = tl.program_id(0) * CELLS + tl.arange(0, CELLS), tl.arange(0, TILE)[None, :]
    is_real = (cell < size)[:, None] & (slot < STRIDE)
    is_air = tl.load(air + sample * size + cell, cell < size, 0.0)[:, None] > 0
    block = cell // width // scale * blocks_wide + cell % width // scale
    place = sample * size * STRIDE + cell[:, None] * STRIDE + slot
    increment = tl.zeros([CELLS, TILE], tl.float32)
    for chunk in tl.static_range(CHUNKS):
        rows = (chunk * tl.num_programs(1) + sample) * blocks_high * blocks_wide + block
        increment += tl.load(blocks + rows[:, None] * STRIDE + slot, is_real, 0.0)
    values = tl.load(own + place, is_real, 0.0) + is_air * increment
    if ALPHA >= 0:
        u, v = _column(values, slot, 0), _column(values, slot, FIRST_ODD)
        values = _bounded(values, slot, u, v, _column(values, slot, _TKE), is_air, FIRST_ODD, ALPHA)
    tl.store(new + place, values, is_real)
