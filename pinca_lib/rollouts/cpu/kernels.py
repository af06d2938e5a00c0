"""Compiled loops for the automaton's step on a CPU, and for its gradient.

Numba compiles them, and ``np.dot`` calls SciPy's BLAS. A loop works on the cells (or rows) first to
last, or on blocks of at most ``most`` cells from ``work_stealing``, which fit into the cache of a
core. All channels of a cell are one SIMD vector (``lanes``).

Arrays:

cells                           (A, 3): sample, row and column of the A air cells
air                             (A,): factor of the increment of each cell
dynamic, old, new, seen, grad   (B, H, W, D): dynamic channels, or their gradient
grad_p                          (B, H, W, 4 D): gradient with respect to what the filters see,
                                filter by filter
blocks                          (B, h, w, D): dynamic channels of coarse cells
sized                           D entries (see ``lanes``)

In the wind frame, what a cell perceives has an *even part*, which is the same in the mirror image,
and an *odd part*, which changes its sign there. Let e be what W1 makes of the even part, together
with the bias, and o what it makes of the odd part. The hidden layer is then relu(e + o) for the
city and relu(e - o) for its mirror image. W2 turns their sum into the even channels of the
increment, and their difference into the odd ones. (``prepared`` has already divided W2 by two.) So
a city and its mirror image need no more matrix products than a city alone, and all winds use the
same weights.

Channels are in the order of ``wind_frame.even_and_odd``: M even channels, then N odd channels, with
D = M + N. A rule that does not use the wind frame treats all channels as even, and its wind is
(1, 0).
"""

from typing import NamedTuple

import numpy as np

from pinca_lib.automaton.rule import HIDDEN_LIMIT
from pinca_lib.channels import BASE_COUNT, KNOWN_COUNT
from pinca_lib.physics import MARGIN
from pinca_lib.rollouts.cpu.lanes import clamped, head, joined, load, store, tail
from pinca_lib.rollouts.cpu.native import native
from pinca_lib.rollouts.cpu.work_stealing import block

U, FLUX, SPEED, TKE = range(4)  # places of even channels; V is the first odd channel
HIDDEN = KNOWN_COUNT - BASE_COUNT - 1  # place of the first even hidden channel


class Frame(NamedTuple):
    """The numbers of even and odd channels, as ``sized`` tuples, and the directions of the wind."""

    evens: tuple[int, ...]  # M entries
    odds: tuple[int, ...]  # N entries
    vectors: tuple[int, ...]  # one entry per vector: x is in the even part, y in the odd part
    wind: np.ndarray  # (B, 2), unit vectors


class Weights(NamedTuple):
    """The layers of a rule for the dynamic channels, each as its even and its odd part."""

    w1: tuple[np.ndarray, np.ndarray]  # (3 M + N, hidden), (3 N + M, hidden)
    w2: tuple[np.ndarray, np.ndarray]  # (hidden, M), (hidden, N)
    constant: np.ndarray  # (1 or 2, A, hidden): contribution of base channels and bias


@native
def rotated(cos, sin, x, y):
    """Rotate a vector by the angle with this cosine and sine."""
    return cos * x - sin * y, sin * x + cos * y


@native
def store_parts(frame, cos, sin, lanes, even, even_place, odd, odd_place):
    """Rotate channels to the wind frame; store their even part and their odd part."""
    evens, _, vectors, _ = frame
    even_part, odd_part = head(lanes, evens), tail(lanes, evens)
    x, y = rotated(cos, -sin, head(even_part, vectors), head(odd_part, vectors))
    store(even, even_place, joined(x, tail(even_part, vectors)))
    store(odd, odd_place, joined(y, tail(odd_part, vectors)))


@native
def load_parts(frame, cos, sin, even, even_place, odd, odd_place):
    """Load the even and the odd part of channels; return the channels, rotated to the grid."""
    evens, odds, vectors, _ = frame
    even_part, odd_part = load(evens, even, even_place), load(odds, odd, odd_place)
    x, y = rotated(cos, sin, head(even_part, vectors), head(odd_part, vectors))
    return joined(joined(x, tail(even_part, vectors)), joined(y, tail(odd_part, vectors)))


@native
def around(cells, i, dynamic):
    """Return the sample of cell i, three rows and three columns around it, with periodic edges."""
    _, height, width, _ = dynamic.shape
    b, y, x = cells[i]
    up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
    left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
    return b, up, y, down, left, x, right


@native
def three(sized, dynamic, b, y, left, x, right):
    """Return the channels of the western neighbour, of the cell, and of the eastern neighbour."""
    own, west = load(sized, dynamic, (b, y, x)), load(sized, dynamic, (b, y, left))
    return west, own, load(sized, dynamic, (b, y, right))


@native
def look(sized, dynamic, place, cos, sin):
    """Return the filtered channels of a cell: itself, slope along the wind, Laplacian, across."""
    b, up, y, down, left, x, right = place
    west, own, east = three(sized, dynamic, b, y, left, x, right)
    above_west, above, above_east = three(sized, dynamic, b, up, left, x, right)
    below_west, below, below_east = three(sized, dynamic, b, down, left, x, right)
    above = above_west + 2 * above + above_east
    below = below_west + 2 * below + below_east
    laplacian = above + below + 2 * (west + east) - 12 * own
    slope = above_east + 2 * east + below_east - (above_west + 2 * west + below_west)
    along, across = rotated(cos, -sin, slope, below - above)
    return own, along, laplacian, across


@native
def perceive(cells, frame, dynamic, even, odd):
    """Write the even part (n, 3 M + N) and the odd part (n, 3 N + M) of what n cells perceive.

    The slope across the wind of an odd channel is even, and that of an even channel is odd. Without
    odd channels everything is written to the even part, (n, 4 M).
    """
    evens, odds, _, wind = frame
    m, n = len(evens), len(odds)
    others, last = (odd, 3 * n) if n > 0 else (even, 3 * m)
    for i in range(len(cells)):
        place = around(cells, i, dynamic)
        cos, sin = wind[place[0], 0], wind[place[0], 1]
        own, along, laplacian, across = look(evens + odds, dynamic, place, cos, sin)
        store_parts(frame, cos, sin, own, even, (i, 0), odd, (i, 0))
        store_parts(frame, cos, sin, along, even, (i, m), odd, (i, n))
        store_parts(frame, cos, sin, laplacian, even, (i, 2 * m), odd, (i, 2 * n))
        store_parts(frame, cos, sin, across, others, (i, last), even, (i, 3 * m))


@native
def perception_gradient(cells, frame, even, odd, grad_p):
    """Write the gradient with respect to perception, on the grid, from its even and odd part."""
    evens, odds, _, wind = frame
    m, n, d = len(evens), len(odds), len(evens) + len(odds)
    others, last = (odd, 3 * n) if n > 0 else (even, 3 * m)
    for i in range(len(cells)):
        b, y, x = cells[i]
        cos, sin = wind[b, 0], wind[b, 1]
        own = load_parts(frame, cos, sin, even, (i, 0), odd, (i, 0))
        along = load_parts(frame, cos, sin, even, (i, m), odd, (i, n))
        laplacian = load_parts(frame, cos, sin, even, (i, 2 * m), odd, (i, 2 * n))
        across = load_parts(frame, cos, sin, others, (i, last), even, (i, 3 * m))
        slope_x, slope_y = rotated(cos, sin, along, across)
        store(grad_p, (b, y, x, 0), own)
        store(grad_p, (b, y, x, d), slope_x)
        store(grad_p, (b, y, x, 2 * d), slope_y)
        store(grad_p, (b, y, x, 3 * d), laplacian)


@native
def first_layer(cells, frame, w1, seen, even, odd, even_hidden, odd_hidden):
    """Write what the cells perceive, and the product with W1, each as even and odd part."""
    perceive(cells, frame, seen, even, odd)
    np.dot(even, w1[0], even_hidden)
    if len(frame[1]) > 0:
        np.dot(odd, w1[1], odd_hidden)


@native
def step(own, queues, most, cells, air, frame, rule, alpha, seen, old, new):
    """Write the next state of the cells to ``new``: ``old`` plus the increment from ``seen``.

    ``rule`` is a ``Weights``. ``alpha`` is the bound of |<u'w'>| / TKE, or -1 for no bounds.
    """
    (evens, odds, _, wind), (w1, w2, constant) = frame, rule
    m, n, hidden, dtype = len(evens), len(odds), constant.shape[2], old.dtype
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    added_even, added_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    limit = limits(evens + odds, dtype)
    start, stop = block(own, queues, most)
    while start < stop:
        here, k = cells[start:stop], stop - start
        first_layer(here, frame, w1, seen, even[:k], odd[:k], even_hidden[:k], odd_hidden[:k])
        for i in range(k):
            for j in range(hidden):
                e = even_hidden[i, j] + constant[0, start + i, j]
                if n > 0:
                    o = odd_hidden[i, j] + constant[1, start + i, j]
                    plain, image = np.maximum(e + o, 0), np.maximum(e - o, 0)
                    even_hidden[i, j], odd_hidden[i, j] = plain + image, plain - image
                else:
                    even_hidden[i, j] = np.maximum(e, 0)
        np.dot(even_hidden[:k], w2[0], added_even[:k])
        if n > 0:
            np.dot(odd_hidden[:k], w2[1], added_odd[:k])
        for i in range(k):
            b, y, x = here[i]
            cos, sin = wind[b, 0], wind[b, 1]
            added = load_parts(frame, cos, sin, added_even, (i, 0), added_odd, (i, 0))
            lanes = load(evens + odds, old, (b, y, x)) + air[start + i] * added
            put(evens + odds, lanes, limit, alpha, new, b, y, x)
        start, stop = block(own, queues, most)


@native
def place_of_v(count):
    """Return the place of V among ``count`` dynamic channels, which is the number of even ones."""
    return count - 1 if count <= 6 else count - 2 - (count - 6) // 2


@native
def limits(sized, dtype):
    """Return the largest absolute value of each channel, (D,); NaN where there is no limit."""
    limit = np.full(len(sized), np.nan, dtype)
    limit[HIDDEN:] = HIDDEN_LIMIT
    limit[place_of_v(len(sized))] = np.nan
    return limit


@native
def put(sized, lanes, limit, alpha, new, b, y, x):
    """Write the channels of a cell, bounded as by ``automaton.bounded`` unless ``alpha`` is -1."""
    if alpha < 0:
        store(new, (b, y, x), lanes)
        return
    store(new, (b, y, x), clamped(lanes, load(sized, limit, (0,))))
    v = place_of_v(len(sized))
    square = new[b, y, x, U] * new[b, y, x, U] + new[b, y, x, v] * new[b, y, x, v]
    new[b, y, x, SPEED] = np.maximum(new[b, y, x, SPEED], (1 + MARGIN) * np.sqrt(square))
    new[b, y, x, TKE] = np.maximum(new[b, y, x, TKE], 0)
    largest = (1 - MARGIN) * alpha * new[b, y, x, TKE]
    new[b, y, x, FLUX] = np.minimum(np.maximum(new[b, y, x, FLUX], -largest), largest)


@native
def update_backward(first, last, most, cells, air, frame, rule, seen, grad, grad_p, by_constant):
    """Write the gradient with respect to perception; return those with respect to W1 and W2.

    ``rule`` is a ``Weights``. Names that start with ``by_`` are gradients with respect to the rest
    of the name. The gradient with respect to ``constant`` is added to ``by_constant``. The returned
    gradients (W1 even, W1 odd, W2 even, W2 odd) are sums over the cells first to last.
    """
    (evens, odds, _, wind), (w1, w2, constant) = frame, rule
    m, n, hidden, dtype = len(evens), len(odds), constant.shape[2], seen.dtype
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    by_even, by_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    by_even_hidden, by_odd_hidden = np.empty_like(even_hidden), np.zeros_like(odd_hidden)
    w1_even, w1_odd = np.zeros_like(w1[0]), np.zeros_like(w1[1])
    w2_even, w2_odd = np.zeros_like(w2[0]), np.zeros_like(w2[1])
    even_w1, odd_w1 = (
        np.ascontiguousarray(w1[0].T),
        np.ascontiguousarray(w1[1].T),
    )  # faster than a view
    even_w2, odd_w2 = np.ascontiguousarray(w2[0].T), np.ascontiguousarray(w2[1].T)
    for start in range(first, last, most):
        stop = min(start + most, last)
        here, k = cells[start:stop], stop - start
        first_layer(here, frame, w1, seen, even[:k], odd[:k], even_hidden[:k], odd_hidden[:k])
        for i in range(k):
            b, y, x = here[i]
            own = air[start + i] * load(evens + odds, grad, (b, y, x))
            store_parts(frame, wind[b, 0], wind[b, 1], own, by_even, (i, 0), by_odd, (i, 0))
        np.dot(by_even[:k], even_w2, by_even_hidden[:k])
        if n > 0:
            np.dot(by_odd[:k], odd_w2, by_odd_hidden[:k])
        for i in range(k):
            for j in range(hidden):
                e, by_e = even_hidden[i, j] + constant[0, start + i, j], by_even_hidden[i, j]
                if n > 0:
                    o, by_o = odd_hidden[i, j] + constant[1, start + i, j], by_odd_hidden[i, j]
                    plain, image = np.maximum(e + o, 0), np.maximum(e - o, 0)
                    by_plain = by_e + by_o if plain > 0 else 0
                    by_image = by_e - by_o if image > 0 else 0
                    even_hidden[i, j], odd_hidden[i, j] = plain + image, plain - image
                    by_even_hidden[i, j] = by_plain + by_image
                    by_odd_hidden[i, j] = by_plain - by_image
                    by_constant[1, start + i, j] += by_odd_hidden[i, j]
                else:
                    even_hidden[i, j] = np.maximum(e, 0)
                    by_even_hidden[i, j] = by_e if e > 0 else 0
                by_constant[0, start + i, j] += by_even_hidden[i, j]
        w2_even += np.dot(even_hidden[:k].T, by_even[:k])
        w1_even += np.dot(even[:k].T, by_even_hidden[:k])
        np.dot(by_even_hidden[:k], even_w1, even[:k])
        if n > 0:
            w2_odd += np.dot(odd_hidden[:k].T, by_odd[:k])
            w1_odd += np.dot(odd[:k].T, by_odd_hidden[:k])
            np.dot(by_odd_hidden[:k], odd_w1, odd[:k])
        perception_gradient(here, frame, even, odd, grad_p)
    return w1_even, w1_odd, w2_even, w2_odd


@native
def add_blocks(first, last, scale, sized, weights, alpha, blocks, old, new):
    """Write ``old`` plus ``weights`` (B, H, W) times the value of the block, bounded.

    The rows first to last are rows of cells. Cells of weight 0 are not bounded.
    """
    _, height, width, _ = old.shape
    limit = limits(sized, old.dtype)
    for row in range(first, last):
        b, y, i = row // height, row % height, row % height // scale
        for j in range(blocks.shape[2]):
            block = load(sized, blocks, (b, i, j))
            for x in range(j * scale, min((j + 1) * scale, width)):
                lanes = load(sized, old, (b, y, x)) + weights[b, y, x] * block
                kept = alpha if weights[b, y, x] != 0 else -1.0
                put(sized, lanes, limit, kept, new, b, y, x)
