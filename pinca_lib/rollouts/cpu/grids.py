"""Compiled loops over whole grids: many steps, sums over blocks, gradients through the filters.

But for ``march``, a loop works on rows first to last, where the rows of all samples are numbered
consecutively.
"""

import numpy as np

from pinca_lib.automaton.rule import HIDDEN_LIMIT
from pinca_lib.rollouts.cpu.barriers import meet, share
from pinca_lib.rollouts.cpu.kernels import HIDDEN_AT, neighbours, put, step
from pinca_lib.rollouts.cpu.lanes import load, store
from pinca_lib.rollouts.cpu.native import native


@native
def march(member, first, last, rules, states):
    """Apply rules in turn, from application ``first`` to ``last``: the work of one thread.

    Application i applies rule i to state i and writes state i + 1. Both are counted modulo the
    number of rules and of states (S, B, H, W, D). The rules must be of the same type for the
    compiler. One of scale 1 writes only air, so all states must have the buildings.
    """
    for i in range(first, last):
        old, new = states[i % len(states)], states[(i + 1) % len(states)]
        _apply(member, rules[i % len(rules)], old, new)


@native
def _apply(member, rule, old, new):
    """Write the state after a rule. Threads meet before one reads what another one wrote."""
    city = rule.city
    first, last = share(member, len(city.cells))
    if city.scale == 1:
        step(first, last, rule, old, new)
        meet(member)
        return
    top, bottom = share(member, rule.means.shape[0] * rule.means.shape[1])
    sum_blocks(top, bottom, rule, city.shares, old, rule.means)
    meet(member)
    step(first, last, rule, rule.means, rule.increments)
    meet(member)
    top, bottom = share(member, new.shape[0] * new.shape[1])
    add_blocks(top, bottom, rule, city.has_air, rule.alpha, rule.increments, old, new)
    meet(member)


@native
def sum_blocks(first, last, rule, weights, state, blocks):
    """Write the sums of ``weights`` (B, H, W) times a state over blocks. Rows are of blocks."""
    _, height, width, channels = state.shape
    scale, sized, zeros = rule.city.scale, rule.frame.channels, np.zeros(channels, state.dtype)
    for row in range(first, last):
        b, i = divmod(row, blocks.shape[1])
        for j in range(blocks.shape[2]):
            total = load(sized, zeros, (0,))
            for y in range(i * scale, min((i + 1) * scale, height)):
                for x in range(j * scale, min((j + 1) * scale, width)):
                    total = total + weights[b, y, x] * load(sized, state, (b, y, x))
            store(blocks, (b, i, j), total)


@native
def add_blocks(first, last, rule, weights, alpha, blocks, old, new):
    """Write ``old`` plus ``weights`` (B, H, W) times the value of the block, bounded by ``alpha``.

    Cells of weight 0 are not bounded.
    """
    _, height, width, _ = old.shape
    scale, sized = rule.city.scale, rule.frame.channels
    for row in range(first, last):
        b, y = divmod(row, height)
        for j in range(blocks.shape[2]):
            block = load(sized, blocks, (b, y // scale, j))
            for x in range(j * scale, min((j + 1) * scale, width)):
                lanes = load(sized, old, (b, y, x)) + weights[b, y, x] * block
                put(rule, alpha if weights[b, y, x] != 0 else -1.0, lanes, new, b, y, x)


@native
def cut(first, last, rule, new, grad):
    """Set the gradient of a hidden channel to zero where ``new`` is at its limit.

    This includes buildings, where it makes no difference to the gradient of any layer.
    """
    limit = new.dtype.type(HIDDEN_LIMIT)
    for row in range(first, last):
        b, y = divmod(row, new.shape[1])
        for x in range(new.shape[2]):
            cell, by_cell = new[b, y, x], grad[b, y, x]
            by_v = by_cell[rule.v_at]
            for c in range(HIDDEN_AT, len(rule.frame.channels)):
                by_cell[c] = 0 if np.abs(cell[c]) >= limit else by_cell[c]
            by_cell[rule.v_at] = by_v


@native
def perceive_backward(first, last, rule, by_seen, grad):
    """Add the gradient with respect to what the filters see to that with respect to the state.

    This is the transpose of the filters. The weighted sums over a column of three cells are
    computed once and used by the cells to their left and right: ``symmetric`` with the same sign,
    ``antisymmetric`` with opposite signs.
    """
    _, height, width, count = grad.shape
    sized = rule.frame.channels
    symmetric, antisymmetric = np.empty((2, width, count), grad.dtype)
    for row in range(first, last):
        b, y = divmod(row, height)
        up, down = neighbours(y, height)
        for x in range(width):
            slope = column(sized, by_seen, b, up, y, down, x, count)
            curvature = column(sized, by_seen, b, up, y, down, x, 3 * count)
            above = load(sized, by_seen, (b, up, x, 2 * count))
            below = load(sized, by_seen, (b, down, x, 2 * count))
            store(antisymmetric, (x,), slope)
            store(symmetric, (x,), curvature + above - below)
        for x in range(width):
            left, right = neighbours(x, width)
            own = load(sized, by_seen, (b, y, x)) - 16 * load(sized, by_seen, (b, y, x, 3 * count))
            even = load(sized, symmetric, (left,)) + 2 * load(sized, symmetric, (x,))
            even = even + load(sized, symmetric, (right,))
            odd = load(sized, antisymmetric, (left,)) - load(sized, antisymmetric, (right,))
            store(grad, (b, y, x), load(sized, grad, (b, y, x)) + own + even + odd)


@native
def column(sized, by_seen, b, up, y, down, x, at):
    """Return the sum over three cells in a column, with weights 1, 2, 1, of channels ``at`` on."""
    above, own = load(sized, by_seen, (b, up, x, at)), load(sized, by_seen, (b, y, x, at))
    return above + 2 * own + load(sized, by_seen, (b, down, x, at))
