"""The compiled inner loops of the automaton's step on a CPU, and of its derivative.

Numba compiles them; its ``np.dot`` is SciPy's BLAS. Each works on the cells (or rows) first…last,
``most`` at a time, which stay in a core's cache, without Python's lock.

Arrays: ``cells`` (N, 3) are sample, row and column, ``air`` (N,) what multiplies their increments;
``dynamic``, ``old``, ``new``, ``seen`` and ``grad`` are (B, H, W, D), and ``grad_p`` is (B, H, W,
4 D), what the filters see, filter by filter. ``sized`` has D entries, ``blocks`` are (B, h, w, D).

What a cell perceives in the frame of the wind has two *halves*: an even one, which its mirror image
across the wind has alike, and an odd one, which changes its sign there. With e and o what the first
layer makes of them, the hidden layers of the two images are relu(e + o) and relu(e - o), and of
their sum and difference the second layer makes the halves of the increment. So the two take no more
products than one does, and all winds the same layers. Channels are in the order of
``frames.halves``: M even ones, then N odd ones. ``frame`` is (evens, odds, vectors, wind): tuples
of M and N entries, how many vectors begin the two, and the winds, (B, 2), as unit vectors. A rule
that does not follow the wind has even channels alone, and the wind (1, 0).

Lengths of tuples are constants to the compiler, which lays such loops out in full; of one whose end
it is not told, ``min(d, …)``, it takes several channels at a time. Cutting rows out is slow.
"""

import numpy as np
from numba import njit

U, FLUX, SPEED, TKE = range(4)  # of the dynamic channels; V is the first of the odd ones
MEMORY = 5  # the first of the others that hold nothing known
TWO, TWELVE = np.float32(2), np.float32(12)  # doubles would make all slower
MARGIN = 1e-6  # of ``physics``
MEMORY_LIMIT = np.float32(3)  # of ``automaton``; a double would make the clamp 3 times as slow

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


@_compiled
def turned(cos, sin, x, y):
    """Turn a vector."""
    return cos * x - sin * y, sin * x + cos * y


@_compiled
def turn(frame, cos, sin, row):
    """Turn the vectors among the channels of a cell, or of what filters see of it, in place."""
    m, n, vectors = len(frame[0]), len(frame[1]), frame[2]
    for first in range(0, row.shape[1], m + n):
        for x in range(first, first + vectors):
            row[0, x], row[0, m + x] = turned(cos, sin, row[0, x], row[0, m + x])


@_compiled
def split(row, start, first, p, second, q, i, frame):
    """Copy the channels of a row, from ``start`` on, to two halves, from p and q on."""
    for c in range(len(frame[0])):
        first[i, p + c] = row[0, start + c]
    for c in range(len(frame[1])):
        second[i, q + c] = row[0, start + len(frame[0]) + c]


@_compiled
def join(row, start, first, p, second, q, i, frame):
    """Copy them back."""
    for c in range(len(frame[0])):
        row[0, start + c] = first[i, p + c]
    for c in range(len(frame[1])):
        row[0, start + len(frame[0]) + c] = second[i, q + c]


@_compiled
def around(cells, i, dynamic):
    """Return the sample of a cell, and the rows and columns that its filters see."""
    _, height, width, _ = dynamic.shape
    b, y, x = cells[i]
    up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
    left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
    return b, up, y, down, left, x, right


@_compiled
def look(dynamic, place, cos, sin, c):
    """Return what the filters see of a channel: it, slope along the wind, Laplacian, and across."""
    b, up, y, down, left, x, right = place
    own, west, east = dynamic[b, y, x, c], dynamic[b, y, left, c], dynamic[b, y, right, c]
    above = dynamic[b, up, left, c] + TWO * dynamic[b, up, x, c] + dynamic[b, up, right, c]
    below = dynamic[b, down, left, c] + TWO * dynamic[b, down, x, c] + dynamic[b, down, right, c]
    laplacian = above + below + TWO * (west + east) - TWELVE * own
    west = dynamic[b, up, left, c] + TWO * west + dynamic[b, down, left, c]
    east = dynamic[b, up, right, c] + TWO * east + dynamic[b, down, right, c]
    along, across = turned(cos, -sin, east - west, below - above)
    return own, along, laplacian, across


@_compiled
def perceive(cells, frame, dynamic, seen):
    """Write what the filters see of ``dynamic``, as ``look`` says it, (n, 4 D)."""
    evens, odds, _, wind = frame
    d = len(evens) + len(odds)
    for i in range(len(cells)):
        place = around(cells, i, dynamic)
        cos, sin = wind[place[0], 0], wind[place[0], 1]
        for c in range(min(d, dynamic.shape[3])):
            found = look(dynamic, place, cos, sin, c)
            seen[i, c], seen[i, d + c], seen[i, 2 * d + c], seen[i, 3 * d + c] = found


@_compiled
def perceive_halves(cells, frame, dynamic, even, odd):
    """Write it in halves, (n, 3 M + N) and (n, 3 N + M): slopes across are the other half's."""
    evens, odds, _, wind = frame
    m, n, d = len(evens), len(odds), len(evens) + len(odds)
    row = np.empty((1, 4 * d), dynamic.dtype)
    for i in range(len(cells)):
        place = around(cells, i, dynamic)
        cos, sin = wind[place[0], 0], wind[place[0], 1]
        for c in range(min(d, dynamic.shape[3])):
            found = look(dynamic, place, cos, sin, c)
            row[0, c], row[0, d + c], row[0, 2 * d + c], row[0, 3 * d + c] = found
        turn(frame, cos, -sin, row)
        for f in range(3):
            split(row, f * d, even, f * m, odd, f * n, i, frame)
        split(row, 3 * d, odd, 3 * n, even, 3 * m, i, frame)


@_compiled
def unperceive(cells, frame, even, odd, grad_p):
    """Write the gradient of what the filters see, in the frame of the grid, from its halves."""
    evens, odds, _, wind = frame
    m, n, d = len(evens), len(odds), len(evens) + len(odds)
    row = np.empty((1, 4 * d), grad_p.dtype)
    for i in range(len(cells)):
        b, y, x = cells[i]
        cos, sin = wind[b, 0], wind[b, 1]
        if n > 0:
            for f in range(3):
                join(row, f * d, even, f * m, odd, f * n, i, frame)
            join(row, 3 * d, odd, 3 * n, even, 3 * m, i, frame)
            turn(frame, cos, sin, row)
        source, j = (row, 0) if n > 0 else (even, i)
        for c in range(min(d, grad_p.shape[3])):
            slope_x, slope_y = turned(cos, sin, source[j, d + c], source[j, 3 * d + c])
            grad_p[b, y, x, c], grad_p[b, y, x, d + c] = source[j, c], slope_x
            grad_p[b, y, x, 2 * d + c], grad_p[b, y, x, 3 * d + c] = slope_y, source[j, 2 * d + c]


@_compiled
def add(new, old, b, y, x, share, rows, i):
    """Write the channels of a cell: what they were, and a share of what is added."""
    for c in range(rows.shape[1]):
        new[b, y, x, c] = old[b, y, x, c] + share * rows[i, c]


@_compiled
def take(rows, i, share, grad, b, y, x):
    """Write a share of the channels of a cell."""
    for c in range(rows.shape[1]):
        rows[i, c] = share * grad[b, y, x, c]


@_compiled
def first_layer(cells, frame, w1, seen, even, odd, even_hidden, odd_hidden):
    """Write what the cells perceive, and what W1 makes of it, in halves."""
    if len(frame[1]) > 0:
        perceive_halves(cells, frame, seen, even, odd)
        np.dot(odd, w1[1], odd_hidden)
    else:
        perceive(cells, frame, seen, even)
    np.dot(even, w1[0], even_hidden)


@_compiled
def step(first, last, most, cells, air, frame, rule, alpha, seen, old, new):
    """Write the next state of the cells: ``old`` and what the rule makes of ``seen``.

    ``rule`` is W1, of the dynamic channels, and W2, both in halves, and what base channels and bias
    add to the halves of the hidden layer, (1 or 2, N, hidden); ``alpha`` is of its bounds, or -1.
    """
    (evens, odds, _, wind), (w1, w2, constant) = frame, rule
    m, n, hidden, dtype = len(evens), len(odds), constant.shape[2], old.dtype
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    added_even, added_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    row = np.empty((1, m + n), dtype)
    for start in range(first, last, most):
        stop = min(start + most, last)
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
            if n == 0:
                add(new, old, b, y, x, air[start + i], added_even, i)
            else:
                join(row, 0, added_even, 0, added_odd, 0, i, frame)
                turn(frame, wind[b, 0], wind[b, 1], row)
                add(new, old, b, y, x, air[start + i], row, 0)
            if alpha >= 0:
                realise(evens + odds, new, b, y, x, alpha)


@_compiled
def place_of_v(count):
    """Return how many of so many dynamic channels are even: V is the first that is not."""
    return count - 1 if count <= 6 else count - 2 - (count - 6) // 2


@_compiled
def realise(sized, new, b, y, x, alpha):
    """Do to one cell what ``automaton.bounded`` does to all."""
    v = place_of_v(len(sized))
    square = new[b, y, x, U] * new[b, y, x, U] + new[b, y, x, v] * new[b, y, x, v]
    new[b, y, x, SPEED] = np.maximum(new[b, y, x, SPEED], (1 + MARGIN) * np.sqrt(square))
    new[b, y, x, TKE] = np.maximum(new[b, y, x, TKE], 0)
    most = (1 - MARGIN) * alpha * new[b, y, x, TKE]
    new[b, y, x, FLUX] = np.minimum(np.maximum(new[b, y, x, FLUX], -most), most)
    for c in range(MEMORY, len(sized)):
        if c != v:
            new[b, y, x, c] = min(max(new[b, y, x, c], -MEMORY_LIMIT), MEMORY_LIMIT)


@_compiled
def update_backward(first, last, most, cells, air, frame, rule, seen, grad, grad_p, by_constant):
    """Write the gradient of what the filters saw; return this share's by W1 and W2, in halves.

    ``rule`` is as for ``step``; the gradient by its third part is added to ``by_constant``.
    """
    (evens, odds, _, wind), (w1, w2, constant) = frame, rule
    m, n, hidden, dtype = len(evens), len(odds), constant.shape[2], seen.dtype
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    by_even, by_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    row = np.empty((1, m + n), dtype)
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
            if n == 0:
                take(by_even, i, air[start + i], grad, b, y, x)
                continue
            take(row, 0, air[start + i], grad, b, y, x)
            turn(frame, wind[b, 0], -wind[b, 1], row)
            split(row, 0, by_even, 0, by_odd, 0, i, frame)
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


@_compiled
def add_blocks(first, last, scale, sized, weights, alpha, blocks, old, new):
    """Write ``old`` plus ``weights`` (B, H, W) times its block, realised; work is rows of cells."""
    _, height, width, channels = old.shape
    for row in range(first, last):
        b, y, i = row // height, row % height, row % height // scale
        for j in range(blocks.shape[2]):
            for x in range(j * scale, min((j + 1) * scale, width)):
                for c in range(channels):
                    new[b, y, x, c] = old[b, y, x, c] + weights[b, y, x] * blocks[b, i, j, c]
                if alpha >= 0 and weights[b, y, x] != 0:
                    realise(sized, new, b, y, x, alpha)
