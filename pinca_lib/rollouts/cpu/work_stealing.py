"""Work stealing and barriers for threads in compiled code.

Cores differ in speed, and other programs use them, too. With fixed shares, all threads would wait
for the slowest core. So every thread takes blocks of cells from its own share first, and then from
the shares of others. Barriers are compiled, too, because waking a thread that waits in Python takes
longer than a step of a small city.
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
_give_way = types.ExternalFunction("pinca_lib_give_way", types.int32())  # let another thread run


@native
def block(own, queues, most):
    """Take the next block of cells, from the thread's own share or else from another one.

    Parameters
    ----------
    own : int
        Number of this thread.
    queues : (ndarray of shape (threads,), ndarray of shape (threads,))
        Where the next block of each share begins, and where each share ends. All threads use the
        same arrays.
    most : int
        Largest number of cells in a block.

    Returns
    -------
    start, stop : int
        The block; 0 and 0 if no cells are left.
    """
    begins, ends = queues
    for i in range(len(ends)):
        share = (own + i) % len(ends)
        start = _added(begins, share, most)
        if start < ends[share]:
            return start, min(start + most, ends[share])
    return 0, 0


@native
def meet(meeting, count):
    """Wait at a barrier until ``count`` threads have arrived, or one has failed.

    Parameters
    ----------
    meeting : ndarray of shape (2,)
        Number of arrivals at this and all earlier barriers, and whether a thread has failed (0 or
        1). All threads use the same array. After a failure no thread waits, and results are
        meaningless.
    count : int
        Number of threads.
    """
    awaited = (_added(meeting, 0, 1) // count + 1) * count
    while _added(meeting, 0, 0) < awaited and _added(meeting, 1, 0) == 0:
        _give_way()


@intrinsic
def _added(typing, numbers, which, count):
    """Add to one element of an array atomically, and return its previous value."""

    def code(context, builder, signature, arguments):
        numbers, which, count = arguments
        first = context.make_array(signature.args[0])(context, builder, numbers).data
        return builder.atomic_rmw("add", builder.gep(first, [which]), count, "seq_cst")

    return types.intp(types.Array(types.intp, 1, "C"), types.intp, types.intp), code
