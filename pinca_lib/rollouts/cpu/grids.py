"""The compiled inner loops over whole grids, of a CPU: what filters and blocks add up.

The work is rows first…last of all samples; ``sized`` has an entry for each channel (``lanes``).
"""

import numpy as np

from pinca_lib.rollouts.cpu.lanes import load, store, within
from pinca_lib.rollouts.cpu.native import native


@native
def perceive_backward(first, last, sized, grad_p, grad):
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
            slope = column(sized, grad_p, b, up, y, down, x, count)
            curvature = column(sized, grad_p, b, up, y, down, x, 3 * count)
            above = load(sized, grad_p, (b, up, x, 2 * count))
            below = load(sized, grad_p, (b, down, x, 2 * count))
            store(opposite, (x,), slope)
            store(alike, (x,), curvature + above - below)
        for x in range(width):
            left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
            own = load(sized, grad_p, (b, y, x)) - 16 * load(sized, grad_p, (b, y, x, 3 * count))
            both = load(sized, alike, (left,)) + 2 * load(sized, alike, (x,))
            both = both + load(sized, alike, (right,))
            one = load(sized, opposite, (left,)) - load(sized, opposite, (right,))
            store(grad, (b, y, x), load(sized, grad, (b, y, x)) + own + both + one)


@native
def column(sized, grad_p, b, up, y, down, x, at):
    """Return the sum of three cells of a column, the middle one twice, of channels from one on."""
    above, own = load(sized, grad_p, (b, up, x, at)), load(sized, grad_p, (b, y, x, at))
    return above + 2 * own + load(sized, grad_p, (b, down, x, at))


@native
def cut(first, last, sized, limit, new, grad):
    """Cut the gradient where ``new`` is at a channel's limit.

    In buildings, too: nothing that a rule does depends on what comes through them.
    """
    _, height, width, _ = new.shape
    limits = load(sized, limit, (0,))
    for row in range(first, last):
        b, y = divmod(row, height)
        for x in range(width):
            lanes, value = load(sized, grad, (b, y, x)), load(sized, new, (b, y, x))
            store(grad, (b, y, x), within(lanes, value, limits))


@native
def sum_blocks(first, last, scale, sized, weights, cells, blocks):
    """Write sums of ``weights`` times ``cells`` over blocks; the work is rows of blocks."""
    _, height, width, channels = cells.shape
    _, rows, columns, _ = blocks.shape
    nothing = np.zeros(channels, cells.dtype)
    for row in range(first, last):
        b, i = divmod(row, rows)
        for j in range(columns):
            total = load(sized, nothing, (0,))
            for y in range(i * scale, min((i + 1) * scale, height)):
                for x in range(j * scale, min((j + 1) * scale, width)):
                    total = total + weights[b, y, x] * load(sized, cells, (b, y, x))
            store(blocks, (b, i, j), total)


@native
def copy(first, last, old, new):
    """Write one state to another."""
    for row in range(first, last):
        b, y = divmod(row, old.shape[1])
        new[b, y] = old[b, y]
