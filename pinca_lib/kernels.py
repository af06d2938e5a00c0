"""The compiled inner loops of the automaton's step on a CPU, and of its derivative.

Numba compiles them; its ``np.dot`` is SciPy's BLAS. Each works on the cells (or rows) first…last,
a block at a time that stays in a core's cache, without Python's lock.

Arrays: ``cells`` (N, 3) are sample, row and column, ``air`` (N,) what multiplies their increments;
``dynamic``, ``old``, ``new`` and ``grad`` are (B, H, W, D), and ``grad_p`` is (B, H, W, 4 D), what
the filters see being ordered filter by filter. ``blocks`` are (B, h, w, D), each of scale × scale
cells, and ``weights`` are (B, H, W). ``sized`` is a tuple of D entries: its length is a constant to
the compiler.

What a cell perceives in the frame of the wind has two *halves*: an even one, which its mirror image
across the wind has alike, and an odd one, which changes its sign there. With e and o what the first
layer makes of them, the hidden layers of the two images are relu(e + o) and relu(e - o), and of
their sum and difference the second layer makes the halves of the increment. So the two take no more
products than one does, and all winds the same layers. Channels are in the order of
``frames.halves``, the even ones first. ``frame`` is (evens, odds, vectors, wind): a tuple of as
many entries as channels are even, another for the odd ones, how many vectors begin the two, and
the winds, (B, 2), as unit vectors. A rule that does not follow the wind has even channels alone,
and the wind (1, 0).
"""

import numpy as np
from numba import njit

# Cells times hidden units of a block: 96 cells of the usual rule. On two threads, products of more
# than about a million multiplications (128³) ran no faster than on one; 96³ stays below.
BLOCK = 96 * 96
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
def turn(vectors, cos, sin, even, odd):
    """Turn the first so many vectors of two halves, in place."""
    for i in range(vectors):
        even[i], odd[i] = turned(cos, sin, even[i], odd[i])


@_compiled
def turn_seen(frame, cos, sin, even, odd):
    """Turn the vectors in what the filters see of a cell."""
    evens, odds, vectors, _ = frame
    m, n = len(evens), len(odds)
    for f in range(3):
        turn(vectors, cos, sin, even[f * m :], odd[f * n :])
    turn(vectors, cos, sin, odd[3 * n :], even[3 * m :])  # the slopes across, in the other half


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
def perceive(cells, frame, dynamic, even, odd):
    """Write what the filters see of ``dynamic``: the halves (n, 3 m + n) and (n, 3 n + m).

    A half is what ``look`` says of its own channels, but for their slopes across: in the wind's
    frame these belong to the other half.
    """
    _, height, width, _ = dynamic.shape
    evens, odds, _, wind = frame
    m, n = len(evens), len(odds)
    for i in range(len(cells)):
        b, y, x = cells[i]
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
        place, cos, sin = (b, up, y, down, left, x, right), wind[b, 0], wind[b, 1]
        for c in range(m):
            own, along, laplacian, across = look(dynamic, place, cos, sin, c)
            even[i, c], even[i, m + c], even[i, 2 * m + c] = own, along, laplacian
            if n > 0:
                odd[i, 3 * n + c] = across
            else:
                even[i, 3 * m + c] = across
        for c in range(n):
            own, along, laplacian, across = look(dynamic, place, cos, sin, m + c)
            odd[i, c], odd[i, n + c], odd[i, 2 * n + c] = own, along, laplacian
            even[i, 3 * m + c] = across
        if n > 0:
            turn_seen(frame, cos, -sin, even[i], odd[i])


@_compiled
def unperceive(cells, frame, even, odd, grad_p):
    """Write the gradient of what the filters see, in the frame of the grid, from its halves."""
    evens, odds, _, wind = frame
    m, n = len(evens), len(odds)
    for i in range(len(cells)):
        b, y, x = cells[i]
        cos, sin, grad = wind[b, 0], wind[b, 1], grad_p[b, y, x]
        if n > 0:
            turn_seen(frame, cos, sin, even[i], odd[i])
        for c in range(m):
            across = odd[i, 3 * n + c] if n > 0 else even[i, 3 * m + c]
            grad[c], grad[3 * (m + n) + c] = even[i, c], even[i, 2 * m + c]
            grad[m + n + c], grad[2 * (m + n) + c] = turned(cos, sin, even[i, m + c], across)
        for c in range(n):
            k = m + c
            grad[k], grad[3 * (m + n) + k] = odd[i, c], odd[i, 2 * n + c]
            grad[m + n + k], grad[2 * (m + n) + k] = turned(
                cos, sin, odd[i, n + c], even[i, 3 * m + c]
            )


@_compiled
def size_of_block(hidden):
    """Return the cells of a block, for so many hidden units."""
    return max(BLOCK // hidden, 1)


@_compiled
def first_layer(cells, frame, w1, seen, even, odd, even_hidden, odd_hidden):
    """Write what the cells perceive, and what W1 makes of it, in halves."""
    perceive(cells, frame, seen, even, odd)
    np.dot(even, w1[0], even_hidden)
    if len(frame[1]) > 0:
        np.dot(odd, w1[1], odd_hidden)


@_compiled
def step(first, last, cells, air, frame, rule, alpha, seen, old, new):
    """Write the next state of the cells: ``old`` and what the rule makes of ``seen``.

    ``rule`` is W1, of the dynamic channels, and W2, both in halves, and what base channels and bias
    add to the halves of the hidden layer, (1 or 2, N, hidden); ``alpha`` is of its bounds, or -1.
    """
    (evens, odds, vectors, wind), (w1, w2, constant) = frame, rule
    m, n, hidden = len(evens), len(odds), constant.shape[2]
    most, dtype = size_of_block(hidden), old.dtype
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    added_even, added_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
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
            if n > 0:
                turn(vectors, wind[b, 0], wind[b, 1], added_even[i], added_odd[i])
            for c in range(m):
                new[b, y, x, c] = old[b, y, x, c] + air[start + i] * added_even[i, c]
            for c in range(n):
                new[b, y, x, m + c] = old[b, y, x, m + c] + air[start + i] * added_odd[i, c]
            if alpha >= 0:
                realise(evens + odds, new[b, y, x], alpha)


@_compiled
def place_of_v(count):
    """Return how many of so many dynamic channels are even: V is the first that is not."""
    return count - 1 if count <= 6 else count - 2 - (count - 6) // 2


@_compiled
def realise(sized, cell, alpha):
    """Do to one cell what ``automaton.bounded`` does to all."""
    v = place_of_v(len(sized))
    speed, tke, flux = cell[SPEED], cell[TKE], cell[FLUX]
    cell[SPEED] = np.maximum(speed, (1 + MARGIN) * np.sqrt(cell[U] * cell[U] + cell[v] * cell[v]))
    cell[TKE] = np.maximum(tke, 0)
    most = (1 - MARGIN) * alpha * cell[TKE]
    cell[FLUX] = np.minimum(np.maximum(flux, -most), most)
    for c in range(MEMORY, v):
        cell[c] = min(max(cell[c], -MEMORY_LIMIT), MEMORY_LIMIT)
    for c in range(v + 1, len(sized)):
        cell[c] = min(max(cell[c], -MEMORY_LIMIT), MEMORY_LIMIT)


@_compiled
def realise_backward(first, last, sized, new, grad):
    """Cut the gradient where ``new`` is at the limit; the work is rows of cells.

    In buildings, too: nothing that a rule does depends on what comes through them.
    """
    _, height, width, _ = new.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        for x in range(width):
            for c in range(MEMORY, len(sized)):
                is_full = abs(new[b, y, x, c]) >= MEMORY_LIMIT and c != place_of_v(len(sized))
                grad[b, y, x, c] = 0 if is_full else grad[b, y, x, c]


@_compiled
def update_backward(first, last, cells, air, perceived, frame, rule, seen, grad, grad_p):
    """Write the gradient of what the filters saw; return this share's of the layers.

    ``rule`` is as for ``step``, ``perceived`` the filtered base channels in halves, (N, K). The
    gradients are those of W1, whose rows of base channels come last, in halves, of the bias, and of
    W2 in halves.
    """
    (evens, odds, vectors, wind), (w1, w2, constant) = frame, rule
    m, n, hidden = len(evens), len(odds), constant.shape[2]
    most, dtype = size_of_block(hidden), seen.dtype
    even, odd = np.empty((most, len(w1[0])), dtype), np.empty((most, len(w1[1])), dtype)
    even_hidden, odd_hidden = np.empty((most, hidden), dtype), np.empty((most, hidden), dtype)
    by_even, by_odd = np.empty((most, m), dtype), np.empty((most, n), dtype)
    by_even_hidden, by_odd_hidden = np.empty_like(even_hidden), np.zeros_like(odd_hidden)
    w1_even = np.zeros((len(w1[0]) + perceived[0].shape[1], hidden), dtype)
    w1_odd = np.zeros((len(w1[1]) + perceived[1].shape[1], hidden), dtype)
    bias, w2_even, w2_odd = np.zeros_like(w1_even[0]), np.zeros_like(w2[0]), np.zeros_like(w2[1])
    for start in range(first, last, most):
        stop = min(start + most, last)
        here, k = cells[start:stop], stop - start
        first_layer(here, frame, w1, seen, even[:k], odd[:k], even_hidden[:k], odd_hidden[:k])
        for i in range(k):
            b, y, x = here[i]
            for c in range(m):
                by_even[i, c] = air[start + i] * grad[b, y, x, c]
            for c in range(n):
                by_odd[i, c] = air[start + i] * grad[b, y, x, m + c]
            if n > 0:
                turn(vectors, wind[b, 0], -wind[b, 1], by_even[i], by_odd[i])
        np.dot(by_even[:k], w2[0].T, by_even_hidden[:k])
        if n > 0:
            np.dot(by_odd[:k], w2[1].T, by_odd_hidden[:k])
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
                else:
                    even_hidden[i, j] = np.maximum(e, 0)
                    by_even_hidden[i, j] = by_e if e > 0 else 0
                bias[j] += by_even_hidden[i, j]
        w2_even += np.dot(even_hidden[:k].T, by_even[:k])
        w1_even[: len(w1[0])] += np.dot(even[:k].T, by_even_hidden[:k])
        w1_even[len(w1[0]) :] += np.dot(perceived[0][start:stop].T, by_even_hidden[:k])
        np.dot(by_even_hidden[:k], w1[0].T, even[:k])
        if n > 0:
            w2_odd += np.dot(odd_hidden[:k].T, by_odd[:k])
            w1_odd[: len(w1[1])] += np.dot(odd[:k].T, by_odd_hidden[:k])
            w1_odd[len(w1[1]) :] += np.dot(perceived[1][start:stop].T, by_odd_hidden[:k])
            np.dot(by_odd_hidden[:k], w1[1].T, odd[:k])
        unperceive(here, frame, even, odd, grad_p)
    return w1_even, w1_odd, bias, w2_even, w2_odd


@_compiled
def add_blocks(first, last, scale, sized, weights, alpha, blocks, old, new):
    """Write ``old`` plus ``weights`` times its block, realised; the work is rows of cells."""
    _, height, width, _ = old.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        for x in range(width):
            for c in range(len(sized)):
                added = weights[b, y, x] * blocks[b, y // scale, x // scale, c]
                new[b, y, x, c] = old[b, y, x, c] + added
            if alpha >= 0 and weights[b, y, x] != 0:
                realise(sized, new[b, y, x], alpha)
