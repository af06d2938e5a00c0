"""Compiled loops over whole grids: the gradient through the filters, and sums over blocks.

A loop works on rows first to last, where the rows of all samples are numbered consecutively.
``sized`` has one entry per channel (see ``lanes``).
"""

import numpy as np

from pinca_lib.rollouts.cpu.lanes import load, store, within
from pinca_lib.rollouts.cpu.native import native


@native
def perceive_backward(first, last, sized, grad_p, grad):
    """Add the gradient with respect to perception, ``grad_p``, to that with respect to the state.

    This is the transpose of the filters. The weighted sums over a column of three cells are
    computed once and used by the cells to their left and right: ``symmetric`` with the same sign,
    ``antisymmetric`` with opposite signs.
    """
    _, height, width, count = grad.shape
    symmetric, antisymmetric = np.empty((2, width, count), grad.dtype)
    for row in range(first, last):
        b, y = divmod(row, height)
        up, down = y - 1 if y > 0 else height - 1, y + 1 if y < height - 1 else 0
        for x in range(width):
            slope = column(sized, grad_p, b, up, y, down, x, count)
            curvature = column(sized, grad_p, b, up, y, down, x, 3 * count)
            above = load(sized, grad_p, (b, up, x, 2 * count))
            below = load(sized, grad_p, (b, down, x, 2 * count))
            store(antisymmetric, (x,), slope)
            store(symmetric, (x,), curvature + above - below)
        for x in range(width):
            left, right = x - 1 if x > 0 else width - 1, x + 1 if x < width - 1 else 0
            own = load(sized, grad_p, (b, y, x)) - 16 * load(sized, grad_p, (b, y, x, 3 * count))
            even = load(sized, symmetric, (left,)) + 2 * load(sized, symmetric, (x,))
            even = even + load(sized, symmetric, (right,))
            odd = load(sized, antisymmetric, (left,)) - load(sized, antisymmetric, (right,))
            store(grad, (b, y, x), load(sized, grad, (b, y, x)) + own + even + odd)


@native
def column(sized, grad_p, b, up, y, down, x, at):
    """Return the sum over three cells in a column, with weights 1, 2, 1, of channels ``at`` on."""
    above, own = load(sized, grad_p, (b, up, x, at)), load(sized, grad_p, (b, y, x, at))
    return above + 2 * own + load(sized, grad_p, (b, down, x, at))


@native
def cut(first, last, sized, limit, new, grad):
    """Set the gradient to zero where ``new`` is at the limit of a channel (see ``kernels.limits``).

    This includes buildings, where it makes no difference to the gradient of any layer.
    """
    _, height, width, _ = new.shape
    limits = load(sized, limit, (0,))
    for row in range(first, last):
        b, y = divmod(row, height)
        for x in range(width):
            gradient, value = load(sized, grad, (b, y, x)), load(sized, new, (b, y, x))
            store(grad, (b, y, x), within(gradient, value, limits))


@native
def sum_blocks(first, last, scale, sized, weights, cells, blocks):
    """Write the sums of ``weights`` times ``cells`` over blocks. The rows are rows of blocks."""
    _, height, width, channels = cells.shape
    _, rows, columns, _ = blocks.shape
    zeros = np.zeros(channels, cells.dtype)
    for row in range(first, last):
        b, i = divmod(row, rows)
        for j in range(columns):
            total = load(sized, zeros, (0,))
            for y in range(i * scale, min((i + 1) * scale, height)):
                for x in range(j * scale, min((j + 1) * scale, width)):
                    total = total + weights[b, y, x] * load(sized, cells, (b, y, x))
            store(blocks, (b, i, j), total)


@native
def copy(first, last, old, new):
    """Copy rows of one state to another."""
    for row in range(first, last):
        b, y = divmod(row, old.shape[1])
        new[b, y] = old[b, y]
