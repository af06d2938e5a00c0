"""The compiled inner loops over whole grids, of a CPU: what filters and blocks add up.

The work is rows first…last of all samples. ``sized`` is a tuple of D entries: its length is a
constant to the compiler.
"""

import numpy as np
from numba import njit

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

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


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
