"""Teams of threads that share the cells of a rollout.

A rollout uses every core, so only one rollout runs at a time, and BLAS uses a single thread.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (np.dot calls this BLAS; load it so it is limited)
import torch
from threadpoolctl import ThreadpoolController

from pinca_lib.rollouts.cpu.barriers import FAILED, Member, share

_rollouts = Lock()


@contextmanager
def gathered() -> Iterator["Team"]:
    """Yield a team with as many threads as PyTorch uses. Wait until no other rollout has one."""
    team = Team(torch.get_num_threads())
    with _rollouts, _blas().limit(limits=1, user_api="blas"):
        yield team


class Team:
    """Threads that do a piece of work together; the calling thread is one of them."""

    def __init__(self, threads: int):
        self.threads, self._helpers = threads, _helpers(max(threads - 1, 1))

    def __call__(self, work: Callable, count: int, *arguments) -> list:
        """Call ``work(first, last, *arguments)`` for equal shares of 0…count; return all results.

        The shares do not depend on timing, so sums over a share are the same to the last bit.
        """
        return self.meeting(lambda member: work(*share(member, count), *arguments))

    def meeting(self, work: Callable, *arguments) -> list:
        """Call ``work(member, *arguments)`` in every thread; return all results.

        With ``member``, threads can wait for each other in ``barriers.meet``.
        """
        counters, others = np.zeros(2, np.intp), []

        def part(number: int):
            try:
                return work(Member(number, self.threads, counters), *arguments)
            except BaseException as error:
                counters[FAILED] = True  # so that the others do not wait for this thread
                while isinstance(error, SystemError) and error.__cause__:
                    error = error.__cause__  # Numba hides an interrupt that arrives in its own code
                raise error

        try:
            for number in range(1, self.threads):
                others.append(self._helpers.submit(part, number))
            return [part(0), *(other.result() for other in others)]
        except BaseException:  # for example an interrupt, or the system has no further thread
            _helpers.cache_clear()  # tasks may still be queued for these threads
            raise
        finally:  # all threads must have stopped before another rollout begins
            counters[FAILED] = True
            wait(others)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """Return a pool of threads, which is kept: the first BLAS call of a new thread takes ms."""
    return ThreadPoolExecutor(count)


def _reset_after_fork() -> None:
    """Drop the lock and the threads of the parent process, which do not exist in this process.

    PyTorch's threads do not exist either, but it would wait for them, so it gets a single one. If
    the parent was forked during a rollout, BLAS stays limited to one thread here.
    """
    global _rollouts
    _rollouts = Lock()
    _helpers.cache_clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
