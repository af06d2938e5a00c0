"""Barriers for threads in compiled code.

With threads that sleep whenever they wait, rollouts over small grids take up to 1.4 times as long
(``docs/speed.md``). So a waiting thread looks again and again whether the others have arrived, and
lets other threads run between two looks. If that takes long, another program has the core that one
of them needs: then it sleeps.
"""

import ctypes
import os
from typing import NamedTuple

import numpy as np
from llvmlite import binding
from numba import types
from numba.extending import intrinsic

from pinca_lib.rollouts.cpu.native import native

LOOKS = 1000  # before a thread sleeps: some hundred µs
# Windows cannot sleep for less than 1 ms, and often takes 16: with 0 it only lets others run.
PAUSE = 0 if os.name == "nt" else 20  # µs


def _of_system(name: str, signature: types.Type) -> types.ExternalFunction:
    """Return a function of the system for compiled code.

    It is looked up here, since LLVM would end the process if it were missing.
    """
    system = ctypes.WinDLL("kernel32") if os.name == "nt" else ctypes.CDLL(None)
    address = ctypes.cast(getattr(system, name), ctypes.c_void_p).value
    binding.add_symbol(f"pinca_lib_{name}", address)
    return types.ExternalFunction(f"pinca_lib_{name}", signature)


_sleep = _of_system("Sleep" if os.name == "nt" else "usleep", types.void(types.uint32))
_give_way = _of_system("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())

ARRIVALS, FAILED = range(2)


class Member(NamedTuple):
    """A thread of a team."""

    number: int  # 0 is the calling thread
    threads: int  # how many the team has
    counters: np.ndarray  # (2,), shared: arrivals at barriers so far; 1 if a thread failed


@native
def share(member, count):
    """Return where the share of a thread in 0…count begins and ends."""
    number, threads = member.number, member.threads
    return count * number // threads, count * (number + 1) // threads


@native
def meet(member):
    """Wait until all threads have arrived here, or one has failed: results are meaningless then."""
    counters, threads = member.counters, member.threads
    awaited = (_added(counters, ARRIVALS, 1) // threads + 1) * threads
    looks = 0
    while _added(counters, ARRIVALS, 0) < awaited and _added(counters, FAILED, 0) == 0:
        looks += 1
        if looks < LOOKS:
            _give_way()
        else:
            _sleep(PAUSE)


@intrinsic
def _added(typing, numbers, which, count):
    """Add to one element of an array atomically, and return its previous value. Adding 0 reads."""

    def code(context, builder, signature, arguments):
        numbers, which, count = arguments
        first = context.make_array(signature.args[0])(context, builder, numbers).data
        return builder.atomic_rmw("add", builder.gep(first, [which]), count, "seq_cst")

    return types.intp(types.Array(types.intp, 1, "C"), types.intp, types.intp), code
