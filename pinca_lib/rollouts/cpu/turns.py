"""How threads share cells within compiled code: they take blocks in turn, and meet in between.

Cores differ, and other programs use them, too: of equal shares, the slowest core's takes longest.
And a thread that waits in Python, for work or for another one, takes longer to wake than the step
of a small city takes.
"""

import ctypes
import os

from llvmlite import binding
from numba import types
from numba.extending import intrinsic

from pinca_lib.rollouts.cpu.native import native

_system = ctypes.WinDLL("kernel32") if os.name == "nt" else ctypes.CDLL(None)
_yield = _system.SwitchToThread if os.name == "nt" else _system.sched_yield
binding.add_symbol("pinca_lib_give_way", ctypes.cast(_yield, ctypes.c_void_p).value)
_give_way = types.ExternalFunction("pinca_lib_give_way", types.int32())  # to another thread


@native
def block(own, turns, most):
    """Take a block of at most so many cells; return where it begins and ends, 0 and 0 for none.

    Threads share ``turns``: where the next block of each share begins, and where each share ends.
    Their ``own`` one comes first, and then what others have left of theirs.
    """
    begins, ends = turns
    for i in range(len(ends)):
        share = (own + i) % len(ends)
        start = _added(begins, share, most)
        if start < ends[share]:
            return start, min(start + most, ends[share])
    return 0, 0


@native
def meet(meeting, count):
    """Wait until so many threads have come, or one of them never will.

    Threads share ``meeting``: how many have come so far, to this and to former ones, and whether
    one has failed, from when on nobody waits, and what is written is of no use.
    """
    awaited = (_added(meeting, 0, 1) // count + 1) * count
    while _added(meeting, 0, 0) < awaited and _added(meeting, 1, 0) == 0:
        _give_way()


@intrinsic
def _added(typing, numbers, which, count):
    """Add to one of some numbers as if at an instant, and return what it was before."""

    def code(context, builder, signature, arguments):
        numbers, which, count = arguments
        first = context.make_array(signature.args[0])(context, builder, numbers).data
        return builder.atomic_rmw("add", builder.gep(first, [which]), count, "seq_cst")

    return types.intp(types.Array(types.intp, 1, "C"), types.intp, types.intp), code
