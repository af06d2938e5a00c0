"""Many steps in one compiled call.

Threads wait for each other at barriers (``work_stealing.meet``) wherever one reads what another one
wrote.
"""

from typing import NamedTuple

import numpy as np

from pinca_lib.rollouts.cpu.grids import copy, sum_blocks
from pinca_lib.rollouts.cpu.kernels import Frame, Weights, add_blocks, step
from pinca_lib.rollouts.cpu.native import native
from pinca_lib.rollouts.cpu.work_stealing import meet


class Application(NamedTuple):
    """A rule, its cities and work arrays, for the compiled loops. A is the number of air cells."""

    ends: np.ndarray  # (threads,): where the share of each thread ends, for ``work_stealing``
    most: int  # largest number of cells in a block of work
    cells: np.ndarray  # (A, 3): sample, row and column
    air: np.ndarray  # (A,): factor of the increment
    frame: Frame
    weights: Weights
    alpha: float  # bound of |<u'w'>| / TKE; -1 for a rule without bounds
    scale: int
    shares: np.ndarray  # (B, H, W): as ``shares_of_air`` returns them
    has_air: np.ndarray  # (B, H, W): 1 in cells with air, else 0
    blocks: np.ndarray  # (3, B, h, w, D): means of the state, zeros, increments; empty at scale 1


@native
def march(own, meeting, first, begins, rules, states):
    """Apply rules in turn: the work of one thread.

    Application i applies rule i to state i and writes state i + 1. Both are counted modulo the
    number of rules and of states.

    Parameters
    ----------
    own : int
        Number of this thread.
    meeting : ndarray of shape (2,)
        Barrier, as in ``work_stealing.meet``.
    first : int
        Number of the first application.
    begins : ndarray of shape (applications, threads)
        For each application, where the next block of each share begins, as in
        ``work_stealing.block``.
    rules : tuple of Application
        Rules. All have the same types, so that the compiler can index the tuple.
    states : ndarray of shape (S, B, H, W, D)
        Dynamic channels of S states. State 0 is the initial one; the others need not be filled.
    """
    for i in range(first, first + len(begins)):
        old, new = states[i % len(states)], states[(i + 1) % len(states)]
        is_empty = i + 1 < len(states)
        _apply(own, meeting, begins[i - first], rules[i % len(rules)], old, new, is_empty)


@native
def _apply(own, meeting, begins, rule, old, new, is_empty):
    """Write the state after a rule to ``new``, which ``is_empty`` or holds an earlier state.

    A rule on coarse cells computes the increments of blocks, starting from zeros, and adds them to
    the cells. ``kept`` is the bound that ``step`` applies: none to blocks, which are increments.
    """
    frame, scale, alpha, blocks = rule.frame, rule.scale, rule.alpha, rule.blocks
    sized, threads, is_coarse = frame.evens + frame.odds, len(rule.ends), scale > 1
    first, last = _rows(own, threads, new)
    if is_coarse:
        seen, before, after, kept = blocks[0], blocks[1], blocks[2], -1.0
        sum_blocks(*_rows(own, threads, seen), scale, sized, rule.shares, old, seen)
        meet(meeting, threads)
    else:
        seen, before, after, kept = old, old, new, alpha
        if is_empty:  # a step writes only air cells, so copy the buildings
            copy(first, last, old, new)
            meet(meeting, threads)
    queues = begins, rule.ends
    step(
        own, queues, rule.most, rule.cells, rule.air, frame, rule.weights, kept, seen, before, after
    )
    meet(meeting, threads)
    if is_coarse:
        add_blocks(first, last, scale, sized, rule.has_air, alpha, after, old, new)
        meet(meeting, threads)


@native
def _rows(own, threads, state):
    """Return where the share of a thread in the rows of a state begins and ends."""
    count = state.shape[0] * state.shape[1]
    return count * own // threads, count * (own + 1) // threads
