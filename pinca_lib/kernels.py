"""The compiled inner loops of the automaton's step on a CPU, and of its derivative.

Numba compiles them; its ``np.dot`` is SciPy's BLAS. Each works on the cells (or rows) first…last,
a block at a time that stays in a core's cache, without Python's lock.

Arrays: ``cells`` (N, 3) are sample, row and column, ``air`` (N,) what their increments are times,
``perceived`` (N, 24) their filtered base channels; ``dynamic``, ``old``, ``new`` and ``grad`` are
(B, H, W, D), and ``grad_p`` is (B, H, W, 4 D), what the filters see being ordered filter by filter.
``sized`` is a tuple of D entries: its length is a constant to the compiler. ``blocks`` are
(B, h, w, D), each of scale × scale cells, and ``weights`` are (B, H, W).
Layers are those of G = B samples, or of all where G is 1.
"""

import numpy as np
from numba import njit

# Entries of a block's hidden layer: 96 cells of the usual rule, 48 of one with a mirror image.
# Blocks of 128 ran no faster on two threads than on one wherever a product had more than about a
# million multiplications; 96³ stays below.
BLOCK = 96 * 96
# The filters of ``automaton``, row by row: (4, 9). Written out, since they are constants to the
# compiler, whose cache knows of changes to this file alone; ``compiled`` compares the two.
TAPS = np.array(
    [
        [0, 0, 0, 0, 1, 0, 0, 0, 0],
        [-1, 0, 1, -2, 0, 2, -1, 0, 1],
        [-1, -2, -1, 0, 0, 0, 1, 2, 1],
        [1, 2, 1, 2, -12, 2, 1, 2, 1],
    ],
    np.float32,
)
U, V, SPEED, TKE, FLUX = range(5)  # of the dynamic channels
MEMORY = 6  # the first of those that hold nothing known
MARGIN = 1e-6  # of ``physics``
MEMORY_LIMIT = np.float32(3)  # of ``automaton``; a double would make the clamp 3 times as slow

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


@_compiled
def perceive(cells, sized, dynamic, p):
    """Write what the filters see of ``dynamic`` to the first 4 D columns of ``p``."""
    _, height, width, _ = dynamic.shape
    for i in range(len(cells)):
        b, y, x = cells[i]
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
        for c in range(len(sized)):
            near = (
                dynamic[b, up, left, c], dynamic[b, up, x, c], dynamic[b, up, right, c],
                dynamic[b, y, left, c], dynamic[b, y, x, c], dynamic[b, y, right, c],
                dynamic[b, down, left, c], dynamic[b, down, x, c], dynamic[b, down, right, c],
            )  # fmt: skip
            for f in range(len(TAPS)):
                seen = TAPS[f, 0] * near[0]
                for tap in range(1, 9):
                    seen += TAPS[f, tap] * near[tap]
                p[i, f * len(sized) + c] = seen


@_compiled
def size_of_block(hidden):
    """Return the cells of a block, for so many hidden units."""
    return max(BLOCK // hidden, 1)


@_compiled
def end_of_block(cells, start, last, hidden):
    """Return where the block that begins at ``start`` ends: its cells are of one sample."""
    stop = min(start + size_of_block(hidden), last)
    while cells[stop - 1, 0] != cells[start, 0]:
        stop -= 1
    return stop


@_compiled
def base_share(first, last, cells, perceived, w1, bias, constant):
    """Write what base channels and bias add to the hidden layer: (N, hidden)."""
    dynamic_rows = w1.shape[1] - perceived.shape[1]
    stop = first
    while stop < last:
        start, stop = stop, end_of_block(cells, stop, last, w1.shape[2])
        own = min(cells[start, 0], len(w1) - 1)
        np.dot(perceived[start:stop], w1[own][dynamic_rows:], constant[start:stop])
        constant[start:stop] += bias


@_compiled
def step(first, last, cells, air, rule, sized, seen, old, new):
    """Write the next state of the cells: ``old`` and what the rule makes of ``seen``.

    ``rule`` is constant, W1 (G, 4 C, hidden), its rows of dynamic channels first,
    W2 (G, hidden, D), and the alpha of its bounds, or -1.
    """
    constant, w1, w2, alpha = rule
    most = size_of_block(w1.shape[2])
    p = np.empty((most, len(TAPS) * len(sized)), old.dtype)
    h = np.empty((most, w1.shape[2]), old.dtype)
    increment = np.empty((most, len(sized)), old.dtype)
    stop = first
    while stop < last:
        start, stop = stop, end_of_block(cells, stop, last, w1.shape[2])
        n, own = stop - start, min(cells[start, 0], len(w1) - 1)
        perceive(cells[start:stop], sized, seen, p)
        np.dot(p[:n], w1[own][: p.shape[1]], h[:n])
        for i in range(n):
            for j in range(h.shape[1]):
                h[i, j] = np.maximum(h[i, j] + constant[start + i, j], 0)
        np.dot(h[:n], w2[own], increment[:n])
        for i in range(n):
            b, y, x = cells[start + i]
            for c in range(len(sized)):
                new[b, y, x, c] = old[b, y, x, c] + air[start + i] * increment[i, c]
            if alpha >= 0:
                realise(sized, new[b, y, x], alpha)


@_compiled
def realise(sized, cell, alpha):
    """Do to one cell what ``automaton.bounded`` does to all."""
    u, v, speed, tke, flux = cell[U], cell[V], cell[SPEED], cell[TKE], cell[FLUX]
    cell[SPEED] = np.maximum(speed, (1 + MARGIN) * np.sqrt(u * u + v * v))
    cell[TKE] = np.maximum(tke, 0)
    most = (1 - MARGIN) * alpha * cell[TKE]
    cell[FLUX] = np.minimum(np.maximum(flux, -most), most)
    for c in range(MEMORY, len(sized)):
        cell[c] = min(max(cell[c], -MEMORY_LIMIT), MEMORY_LIMIT)


@_compiled
def realise_backward(first, last, new, grad):
    """Cut the gradient where ``new`` is at the limit; the work is rows of cells.

    In buildings, too: nothing that a rule does depends on what comes through them.
    """
    _, height, width, channels = new.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        for x in range(width):
            for c in range(MEMORY, channels):
                is_full = abs(new[b, y, x, c]) >= MEMORY_LIMIT
                grad[b, y, x, c] = 0 if is_full else grad[b, y, x, c]


@_compiled
def update_backward(first, last, cells, air, perceived, rule, sized, old, grad, grad_p):
    """Write the gradient of what the filters saw; return this share's of W1, bias and W2.

    ``rule`` is W1 (G, 4 C, hidden), its rows of dynamic channels first, bias and
    W2 (G, hidden, D).
    """
    w1, bias, w2 = rule
    dynamic_rows = grad_p.shape[3]
    most = size_of_block(len(bias))
    p = np.empty((most, w1.shape[1]), old.dtype)
    h = np.empty((most, len(bias)), old.dtype)
    grad_h = np.empty((most, len(bias)), old.dtype)
    grad_p_block = np.empty((most, dynamic_rows), old.dtype)
    grad_increment = np.empty((most, len(sized)), old.dtype)
    grad_w1, grad_bias, grad_w2 = np.zeros_like(w1), np.zeros_like(bias), np.zeros_like(w2)
    block_w1, block_w2 = np.empty_like(w1[0]), np.empty_like(w2[0])
    stop = first
    while stop < last:
        start, stop = stop, end_of_block(cells, stop, last, w1.shape[2])
        n, own = stop - start, min(cells[start, 0], len(w1) - 1)
        for i in range(n):
            b, y, x = cells[start + i]
            for c in range(len(sized)):
                grad_increment[i, c] = air[start + i] * grad[b, y, x, c]
        perceive(cells[start:stop], sized, old, p)
        p[:n, dynamic_rows:] = perceived[start:stop]
        np.dot(p[:n], w1[own], h[:n])
        np.dot(grad_increment[:n], w2[own].T, grad_h[:n])
        for i in range(n):
            for j in range(len(bias)):
                h[i, j] = np.maximum(h[i, j] + bias[j], 0)
                grad_h[i, j] = grad_h[i, j] if h[i, j] > 0 else 0
                grad_bias[j] += grad_h[i, j]
        np.dot(h[:n].T, grad_increment[:n], block_w2)
        np.dot(p[:n].T, grad_h[:n], block_w1)
        own_w1, own_w2 = grad_w1[own], grad_w2[own]  # views: `grad_w1[own] +=` would copy them
        own_w1 += block_w1
        own_w2 += block_w2
        np.dot(grad_h[:n], w1[own][:dynamic_rows].T, grad_p_block[:n])
        for i in range(n):
            b, y, x = cells[start + i]
            for k in range(dynamic_rows):
                grad_p[b, y, x, k] = grad_p_block[i, k]
    return grad_w1, grad_bias, grad_w2


@_compiled
def perceive_backward(first, last, sized, grad_p, grad):
    """Add to the gradient of each cell what its neighbours' filters saw of it."""
    _, height, width, _ = grad.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        for x in range(width):
            left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
            for c in range(len(sized)):
                total = grad[b, y, x, c]
                for f in range(len(TAPS)):
                    k = f * len(sized) + c
                    near = (  # each sees this cell through the opposite tap
                        grad_p[b, down, right, k], grad_p[b, down, x, k], grad_p[b, down, left, k],
                        grad_p[b, y, right, k], grad_p[b, y, x, k], grad_p[b, y, left, k],
                        grad_p[b, up, right, k], grad_p[b, up, x, k], grad_p[b, up, left, k],
                    )  # fmt: skip
                    for tap in range(9):
                        total += TAPS[f, tap] * near[tap]
                grad[b, y, x, c] = total


@_compiled
def sum_blocks(first, last, scale, sized, weights, cells, blocks):
    """Write sums of ``weights`` times ``cells`` over blocks; the work is rows of blocks."""
    _, height, width, _ = cells.shape
    _, rows, columns, _ = blocks.shape
    for row in range(first, last):
        b, i = divmod(row, rows)
        for j in range(columns):
            for c in range(len(sized)):
                blocks[b, i, j, c] = 0
            for y in range(i * scale, min((i + 1) * scale, height)):
                for x in range(j * scale, min((j + 1) * scale, width)):
                    for c in range(len(sized)):
                        blocks[b, i, j, c] += weights[b, y, x] * cells[b, y, x, c]


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
