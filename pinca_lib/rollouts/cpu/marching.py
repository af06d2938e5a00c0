"""Many steps in one compiled call, in which threads meet where they need what others write."""

from typing import NamedTuple

import numpy as np

from pinca_lib.rollouts.cpu.grids import copy, sum_blocks
from pinca_lib.rollouts.cpu.kernels import Frame, Weights, add_blocks, step
from pinca_lib.rollouts.cpu.native import native
from pinca_lib.rollouts.cpu.turns import meet


class Application(NamedTuple):
    """A rule as it is applied to the states of a rollout."""

    ends: np.ndarray  # (threads,): where the ``turns`` of each thread's share end
    most: int  # cells at a time
    cells: np.ndarray  # (N, 3)
    air: np.ndarray  # (N,)
    frame: Frame
    weights: Weights
    alpha: float  # of the bounds; -1 without
    scale: int
    shares: np.ndarray  # (B, H, W): share of the air of its block that each cell holds
    has_air: np.ndarray  # (B, H, W)
    blocks: np.ndarray  # (3, B, h, w, D): means of the state, zeros, increments; empty at scale 1


@native
def march(own, meeting, first, begins, rules, states):
    """Do one thread's part in applying rules in turn.

    Parameters
    ----------
    own : int
        Which of the threads it is.
    meeting : ndarray of shape (2,)
        As of ``turns``.
    first : int
        Of the applications of a rule. Number i takes rule i to make state i + 1 of state i; after
        the last rule or state comes the first one again. States that are not the first may be
        empty before they are made.
    begins : ndarray of shape (applications, threads)
        As of ``turns``, for each application.
    rules : tuple of Application
        All of the same types.
    states : ndarray of shape (N, B, H, W, D)
    """
    for i in range(first, first + len(begins)):
        old, new = states[i % len(states)], states[(i + 1) % len(states)]
        is_empty = i + 1 < len(states)
        _apply(own, meeting, begins[i - first], rules[i % len(rules)], old, new, is_empty)


@native
def _apply(own, meeting, begins, rule, old, new, is_empty):
    """Write what a rule makes of a state, over an older one or where nothing is yet.

    Rules of cells wider than the state's work on blocks, whose increments are zero in buildings.
    """
    frame, scale, alpha, blocks = rule.frame, rule.scale, rule.alpha, rule.blocks
    sized, threads, is_wide = frame.evens + frame.odds, len(rule.ends), scale > 1
    first, last = _rows(own, threads, new)
    if is_wide:
        seen, before, after, kept = blocks[0], blocks[1], blocks[2], -1.0
        sum_blocks(*_rows(own, threads, seen), scale, sized, rule.shares, old, seen)
        meet(meeting, threads)
    else:
        seen, before, after, kept = old, old, new, alpha
        if is_empty:  # and a step leaves buildings out
            copy(first, last, old, new)
            meet(meeting, threads)
    turns = begins, rule.ends
    step(
        own, turns, rule.most, rule.cells, rule.air, frame, rule.weights, kept, seen, before, after
    )
    meet(meeting, threads)
    if is_wide:
        add_blocks(first, last, scale, sized, rule.has_air, alpha, after, old, new)
        meet(meeting, threads)


@native
def _rows(own, threads, state):
    """Return where a thread's share of the rows of a state begins and ends."""
    count = state.shape[0] * state.shape[1]
    return count * own // threads, count * (own + 1) // threads
