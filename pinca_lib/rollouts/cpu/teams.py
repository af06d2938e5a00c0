"""Teams of threads that share the cells of a rollout.

A rollout uses every core, so only one rollout runs at a time, and BLAS uses a single thread.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Lock

import scipy.linalg.cython_blas  # noqa: F401  (np.dot calls this BLAS; load it so it is limited)
import torch
from threadpoolctl import ThreadpoolController

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

    def __call__(self, work: Callable, count: int, *arguments, least: int = 1) -> list:
        """Call ``work(first, last, *arguments)`` for equal shares of 0…count; return all results.

        No share is less than ``least``, unless it is everything. Shares do not depend on timing,
        so sums over a share are the same to the last bit.
        """
        shares = min(self.threads, max(count // max(least, 1), 1))
        ends = [count * share // shares for share in range(shares + 1)]
        others: list[Future] = []
        try:
            for own in range(1, shares):
                others.append(self._helpers.submit(work, *ends[own : own + 2], *arguments))
            return [work(0, ends[1], *arguments), *(other.result() for other in others)]
        except SystemError as error:
            raise _cause(error) from None
        finally:  # all threads must have stopped before another rollout begins
            if others:
                wait(others)


def _cause(error: BaseException) -> BaseException:
    """Return the interrupt that arrived in Numba's own code, which hides it."""
    while isinstance(error, SystemError) and error.__cause__:
        error = error.__cause__
    return error


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
