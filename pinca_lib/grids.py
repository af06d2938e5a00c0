"""The compiled inner loops over whole grids, of a CPU: what filters and blocks add up.

The work is rows first…last of all samples.
"""

import numpy as np
from numba import njit

TWO, TWELVE = np.float32(2), np.float32(12)  # doubles would make all slower

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


@_compiled
def perceive_backward(first, last, grad_p, grad):
    """Add to the gradient of each cell what its neighbours' filters saw of it."""
    _, height, width, _ = grad.shape
    for row in range(first, last):
        b, y = divmod(row, height)
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        for x in range(width):
            left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
            unlook(grad_p, (b, up, y, down, left, x, right), grad)


@_compiled
def unlook(grad_p, place, grad):
    """Add what the filters of the neighbours saw of a cell: each through the opposite tap."""
    b, up, y, down, left, x, right = place
    count = grad.shape[3]
    for c in range(count):
        i, j, k = count + c, 2 * count + c, 3 * count + c  # slopes along x and y, Laplacian
        west = grad_p[b, up, left, i] + TWO * grad_p[b, y, left, i] + grad_p[b, down, left, i]
        east = grad_p[b, up, right, i] + TWO * grad_p[b, y, right, i] + grad_p[b, down, right, i]
        above = grad_p[b, up, left, j] + TWO * grad_p[b, up, x, j] + grad_p[b, up, right, j]
        below = grad_p[b, down, left, j] + TWO * grad_p[b, down, x, j] + grad_p[b, down, right, j]
        near = grad_p[b, up, x, k] + grad_p[b, y, left, k]
        near += grad_p[b, y, right, k] + grad_p[b, down, x, k]
        far = grad_p[b, up, left, k] + grad_p[b, up, right, k]
        far += grad_p[b, down, left, k] + grad_p[b, down, right, k]
        slopes = west - east + above - below
        curvature = far + TWO * near - TWELVE * grad_p[b, y, x, k]
        grad[b, y, x, c] += grad_p[b, y, x, c] + slopes + curvature


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
