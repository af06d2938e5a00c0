"""The compiled inner loops over whole grids, of a CPU: what filters and blocks add up.

The work is rows first…last of all samples.
"""

import numpy as np
from numba import njit

TWO, SIXTEEN = np.float32(2), np.float32(16)  # doubles would make all slower

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


@_compiled
def perceive_backward(first, last, grad_p, grad):
    """Add to the gradient of each cell what its neighbours' filters saw of it.

    Of three cells in a column the sum is taken once for all that it touches: ``alike`` comes to the
    cells on both sides alike, ``opposite`` with opposite signs.
    """
    _, height, width, count = grad.shape
    alike, opposite = np.empty((2, width, count), grad.dtype)
    for row in range(first, last):
        b, y = divmod(row, height)
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        for x in range(width):
            for c in range(count):
                i, j, k = count + c, 2 * count + c, 3 * count + c  # slopes along x, y, Laplacian
                slope = grad_p[b, up, x, j] - grad_p[b, down, x, j]
                curvature = grad_p[b, up, x, k] + TWO * grad_p[b, y, x, k] + grad_p[b, down, x, k]
                alike[x, c] = slope + curvature
                opposite[x, c] = grad_p[b, up, x, i] + TWO * grad_p[b, y, x, i]
                opposite[x, c] += grad_p[b, down, x, i]
        for x in range(width):
            left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
            for c in range(count):
                own = grad_p[b, y, x, c] - SIXTEEN * grad_p[b, y, x, 3 * count + c]
                beside = alike[left, c] + TWO * alike[x, c] + alike[right, c]
                grad[b, y, x, c] += own + beside + opposite[left, c] - opposite[right, c]


@_compiled
def cut(first, last, memory, v, limit, new, grad):
    """Cut the gradient where ``new`` is at a limit, in channels from ``memory`` on but for v.

    In buildings, too: nothing that a rule does depends on what comes through them.
    """
    _, height, width, channels = new.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        for x in range(width):
            for c in range(memory, channels):
                if c != v and abs(new[b, y, x, c]) >= limit:
                    grad[b, y, x, c] = 0


@_compiled
def sum_blocks(first, last, scale, weights, cells, blocks):
    """Write sums of ``weights`` times ``cells`` over blocks; the work is rows of blocks."""
    _, height, width, channels = cells.shape
    _, rows, columns, _ = blocks.shape
    for row in range(first, last):
        b, i = divmod(row, rows)
        for j in range(columns):
            for c in range(channels):
                blocks[b, i, j, c] = 0
            for y in range(i * scale, min((i + 1) * scale, height)):
                for x in range(j * scale, min((j + 1) * scale, width)):
                    for c in range(channels):
                        blocks[b, i, j, c] += weights[b, y, x] * cells[b, y, x, c]
