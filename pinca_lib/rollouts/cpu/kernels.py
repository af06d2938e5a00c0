"""The compiled inner loops of the automaton's step on a CPU, and of its derivative.

Numba compiles them; its ``np.dot`` is SciPy's BLAS. Each works on the cells (or rows) first…last,
or on those that it takes in ``turns``, ``most`` at a time, which stay in a core's cache.

Arrays: ``cells`` (N, 3) are sample, row and column, ``air`` (N,) what multiplies their increments;
``dynamic``, ``old``, ``new``, ``seen`` and ``grad`` are (B, H, W, D), and ``grad_p`` is (B, H, W,
4 D), what the filters see, filter by filter. ``sized`` has D entries, ``blocks`` are (B, h, w, D).

What a cell perceives in the frame of the wind has two *halves*: an even one, which its mirror image
across the wind has alike, and an odd one, which changes its sign there. With e and o what the first
layer makes of them, the hidden layers of the two images are relu(e + o) and relu(e - o), and of
their sum and difference the second layer makes the halves of the increment. So the two take no more
products than one does, and all winds the same layers. Channels are in the order of
``wind_frame.halves``: M even ones, then N odd ones. A rule that does not follow the wind has even
channels alone, and the wind (1, 0).

All channels of a cell are taken at once, as ``lanes``.
"""

from typing import NamedTuple

import numpy as np

from pinca_lib.automaton.rule import HIDDEN_LIMIT
from pinca_lib.channels import BASE_COUNT, KNOWN_COUNT
from pinca_lib.physics import MARGIN
from pinca_lib.rollouts.cpu.lanes import clamped, head, joined, load, store, tail
from pinca_lib.rollouts.cpu.native import native
from pinca_lib.rollouts.cpu.turns import block

U, FLUX, SPEED, TKE = range(4)  # of the dynamic channels; V is the first of the odd ones
HIDDEN = KNOWN_COUNT - BASE_COUNT - 1  # the first hidden channel


class Frame(NamedTuple):
    """Which channels are even and odd, as lanes, and the winds whose frame they are seen in."""

    evens: tuple[int, ...]  # M entries
    odds: tuple[int, ...]  # N entries
    vectors: tuple[int, ...]  # as many as vectors begin either half
    wind: np.ndarray  # (B, 2), unit vectors


class Weights(NamedTuple):
    """The layers of a rule, of its dynamic channels, in even and odd halves."""

    w1: tuple[np.ndarray, np.ndarray]  # (3 M + N, hidden), (3 N + M, hidden)
    w2: tuple[np.ndarray, np.ndarray]  # (hidden, M), (hidden, N)
    constant: np.ndarray  # (1 or 2, N, hidden): what base channels and bias add


@native
def rotated(cos, sin, x, y):
    """Turn a vector."""
    return cos * x - sin * y, sin * x + cos * y


@native
def put_halves(frame, cos, sin, lanes, even, at, odd, beside):
    """Write a cell's channels, or what a filter sees of them, in halves, to two places."""
    evens, _, vectors, _ = frame
    some, others = head(lanes, evens), tail(lanes, evens)
    x, y = rotated(cos, -sin, head(some, vectors), head(others, vectors))
    store(even, at, joined(x, tail(some, vectors)))
    store(odd, beside, joined(y, tail(others, vectors)))


@native
def get_halves(frame, cos, sin, even, at, odd, beside):
    """Return what the halves from two places are of, in the frame of the grid."""
    evens, odds, vectors, _ = frame
    some, others = load(evens, even, at), load(odds, odd, beside)
    x, y = rotated(cos, sin, head(some, vectors), head(others, vectors))
    return joined(joined(x, tail(some, vectors)), joined(y, tail(others, vectors)))


@native
def around(cells, i, dynamic):
    """Return the sample of a cell, and the rows and columns that its filters see."""
    _, height, width, _ = dynamic.shape
    b, y, x = cells[i]
    up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
    left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
    return b, up, y, down, left, x, right


@native
def three(sized, dynamic, b, y, left, x, right):
    """Return a cell and its neighbours in a row."""
    own, west = load(sized, dynamic, (b, y, x)), load(sized, dynamic, (b, y, left))
    return west, own, load(sized, dynamic, (b, y, right))


@native
def look(sized, dynamic, place, cos, sin):
    """Return what the filters see of a cell: it, slopes along the wind, Laplacians, and across."""
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
    """Write what the filters see, as ``look`` says it, in halves (n, 3 M + N) and (n, 3 N + M).

    Slopes across are the other half's. Without odd channels all is in the even half, (n, 4 M).
    """
    evens, odds, _, wind = frame
    m, n = len(evens), len(odds)
    others, last = (odd, 3 * n) if n > 0 else (even, 3 * m)
    for i in range(len(cells)):
        place = around(cells, i, dynamic)
        cos, sin = wind[place[0], 0], wind[place[0], 1]
        own, along, laplacian, across = look(evens + odds, dynamic, place, cos, sin)
        put_halves(frame, cos, sin, own, even, (i, 0), odd, (i, 0))
        put_halves(frame, cos, sin, along, even, (i, m), odd, (i, n))
        put_halves(frame, cos, sin, laplacian, even, (i, 2 * m), odd, (i, 2 * n))
        put_halves(frame, cos, sin, across, others, (i, last), even, (i, 3 * m))


@native
def unperceive(cells, frame, even, odd, grad_p):
    """Write the gradient of what the filters see, in the frame of the grid, from its halves."""
    evens, odds, _, wind = frame
    m, n, d = len(evens), len(odds), len(evens) + len(odds)
    others, last = (odd, 3 * n) if n > 0 else (even, 3 * m)
    for i in range(len(cells)):
        b, y, x = cells[i]
        cos, sin = wind[b, 0], wind[b, 1]
        own = get_halves(frame, cos, sin, even, (i, 0), odd, (i, 0))
        along = get_halves(frame, cos, sin, even, (i, m), odd, (i, n))
        laplacian = get_halves(frame, cos, sin, even, (i, 2 * m), odd, (i, 2 * n))
        across = get_halves(frame, cos, sin, others, (i, last), even, (i, 3 * m))
        slope_x, slope_y = rotated(cos, sin, along, across)
        store(grad_p, (b, y, x, 0), own)
        store(grad_p, (b, y, x, d), slope_x)
        store(grad_p, (b, y, x, 2 * d), slope_y)
        store(grad_p, (b, y, x, 3 * d), laplacian)


@native
def first_layer(cells, frame, w1, seen, even, odd, even_hidden, odd_hidden):
    """Write what the cells perceive, and what W1 makes of it, in halves."""
    perceive(cells, frame, seen, even, odd)
    np.dot(even, w1[0], even_hidden)
    if len(frame[1]) > 0:
        np.dot(odd, w1[1], odd_hidden)


@native
def step(own, turns, most, cells, air, frame, rule, alpha, seen, old, new):
    """Write the next state of the cells: ``old`` and what the rule makes of ``seen``.

    ``rule`` is W1, of the dynamic channels, and W2, both in halves, and what base channels and bias
    add to the halves of the hidden layer, (1 or 2, N, hidden); ``alpha`` is of its bounds, or -1.
    """
    (evens, odds, _, wind), (w1, w2, constant) = frame, rule
    m, n, hidden, dtype = len(evens), len(odds), constant.shape[2], old.dtype
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    added_even, added_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    limit = limits(evens + odds, dtype)
    start, stop = block(own, turns, most)
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
            added = get_halves(frame, cos, sin, added_even, (i, 0), added_odd, (i, 0))
            lanes = load(evens + odds, old, (b, y, x)) + air[start + i] * added
            put(evens + odds, lanes, limit, alpha, new, b, y, x)
        start, stop = block(own, turns, most)


@native
def place_of_v(count):
    """Return how many of so many dynamic channels are even: V is the first that is not."""
    return count - 1 if count <= 6 else count - 2 - (count - 6) // 2


@native
def limits(sized, dtype):
    """Return how large each channel may be at most, (D,): no number where there is no limit."""
    limit = np.full(len(sized), np.nan, dtype)
    limit[HIDDEN:] = HIDDEN_LIMIT
    limit[place_of_v(len(sized))] = np.nan
    return limit


@native
def put(sized, lanes, limit, alpha, new, b, y, x):
    """Write the channels of a cell; unless ``alpha`` is -1, as ``automaton.bounded`` does."""
    if alpha < 0:
        store(new, (b, y, x), lanes)
        return
    store(new, (b, y, x), clamped(lanes, load(sized, limit, (0,))))
    v = place_of_v(len(sized))
    square = new[b, y, x, U] * new[b, y, x, U] + new[b, y, x, v] * new[b, y, x, v]
    new[b, y, x, SPEED] = np.maximum(new[b, y, x, SPEED], (1 + MARGIN) * np.sqrt(square))
    new[b, y, x, TKE] = np.maximum(new[b, y, x, TKE], 0)
    flux = (1 - MARGIN) * alpha * new[b, y, x, TKE]
    new[b, y, x, FLUX] = np.minimum(np.maximum(new[b, y, x, FLUX], -flux), flux)


@native
def update_backward(first, last, most, cells, air, frame, rule, seen, grad, grad_p, by_constant):
    """Write the gradient of what the filters saw; return this share's by W1 and W2, in halves.

    ``rule`` is as for ``step``; the gradient by its third part is added to ``by_constant``.
    """
    (evens, odds, _, wind), (w1, w2, constant) = frame, rule
    m, n, hidden, dtype = len(evens), len(odds), constant.shape[2], seen.dtype
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    by_even, by_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    by_even_hidden, by_odd_hidden = np.empty_like(even_hidden), np.zeros_like(odd_hidden)
    w1_even, w1_odd = np.zeros_like(w1[0]), np.zeros_like(w1[1])
    w2_even, w2_odd = np.zeros_like(w2[0]), np.zeros_like(w2[1])
    even_w1, odd_w1 = np.ascontiguousarray(w1[0].T), np.ascontiguousarray(w1[1].T)  # faster so
    even_w2, odd_w2 = np.ascontiguousarray(w2[0].T), np.ascontiguousarray(w2[1].T)
    for start in range(first, last, most):
        stop = min(start + most, last)
        here, k = cells[start:stop], stop - start
        first_layer(here, frame, w1, seen, even[:k], odd[:k], even_hidden[:k], odd_hidden[:k])
        for i in range(k):
            b, y, x = here[i]
            own = air[start + i] * load(evens + odds, grad, (b, y, x))
            put_halves(frame, wind[b, 0], wind[b, 1], own, by_even, (i, 0), by_odd, (i, 0))
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
        unperceive(here, frame, even, odd, grad_p)
    return w1_even, w1_odd, w2_even, w2_odd


@native
def add_blocks(first, last, scale, sized, weights, alpha, blocks, old, new):
    """Write ``old`` plus ``weights`` (B, H, W) times its block, bounded; work is rows of cells."""
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
