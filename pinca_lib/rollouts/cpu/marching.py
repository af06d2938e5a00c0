"""Many steps in one compiled call.

Threads share the cells, and meet before one reads what another one wrote.
"""

from pinca_lib.rollouts.cpu.barriers import meet, share
from pinca_lib.rollouts.cpu.grids import add_blocks, sum_blocks
from pinca_lib.rollouts.cpu.kernels import step
from pinca_lib.rollouts.cpu.native import native


@native
def march(member, first, last, rules, states):
    """Apply rules in turn: the work of one thread.

    Application i applies rule i to state i and writes state i + 1. Both are counted modulo the
    number of rules and of states.

    Parameters
    ----------
    member : Member
        This thread.
    first, last : int
        Numbers of the first application, and of the one after the last.
    rules : tuple of Rule
        All have the same types, so that the compiler can index the tuple.
    states : ndarray of shape (S, B, H, W, D)
        Dynamic channels of S states. State 0 is the initial one. A rule of scale 1 writes only air,
        so the buildings must be in what it writes to.
    """
    for i in range(first, last):
        old, new = states[i % len(states)], states[(i + 1) % len(states)]
        _apply(member, rules[i % len(rules)], old, new)


@native
def _apply(member, rule, old, new):
    """Write the state after a rule. On coarse cells it computes increments of blocks from zeros."""
    city = rule.city
    first, last = share(member, len(city.cells))
    if city.scale == 1:
        step(first, last, rule, old, old, new)
        meet(member)
        return
    top, bottom = share(member, rule.means.shape[0] * rule.means.shape[1])
    sum_blocks(top, bottom, rule, city.shares, old, rule.means)
    meet(member)
    step(first, last, rule, rule.means, rule.zeros, rule.increments)
    meet(member)
    top, bottom = share(member, new.shape[0] * new.shape[1])
    add_blocks(top, bottom, rule, city.has_air, rule.alpha, rule.increments, old, new)
    meet(member)
