"""Threads that share the cells of a rollout, one rollout at a time.

A rollout uses every core, so it has them for itself, and BLAS is kept to the thread that calls it.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Lock

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (what np.dot will call: loaded, so that it is limited)
import torch
from threadpoolctl import ThreadpoolController

_rollouts = Lock()


@contextmanager
def gathered() -> Iterator["Team"]:
    """Yield a team of as many threads as torch has."""
    team = Team(torch.get_num_threads())
    with _rollouts, _blas().limit(limits=1, user_api="blas"):
        yield team


class Team:
    """Threads that do a work together, which then is done."""

    def __init__(self, threads: int):
        self.threads, self._helpers = threads, _helpers(max(threads - 1, 1))

    def ends(self, count: int) -> list[int]:
        """Return where equal shares of 0…count begin and end, (threads + 1)."""
        return [count * share // self.threads for share in range(self.threads + 1)]

    def __call__(self, work: Callable, count: int, *arguments) -> list:
        """Call ``work(first, last, *arguments)`` with equal shares of 0…count; return all results.

        What is summed up in a share is always the same, to the bit.
        """
        ends = self.ends(count)
        return self.meeting(lambda own, _: work(ends[own], ends[own + 1], *arguments))

    def meeting(self, work: Callable, *arguments) -> list:
        """Call ``work(own, meeting, *arguments)``, where threads may ``turns.meet``."""
        meeting, others = np.zeros(2, np.intp), []

        def part(own: int):
            try:
                return work(own, meeting, *arguments)
            except BaseException:
                meeting[1] = 1
                raise

        try:
            for own in range(1, self.threads):
                others.append(self._helpers.submit(part, own))
            return [part(0), *(other.result() for other in others)]
        except BaseException:  # an interrupt, say, or no further thread is to be had
            _helpers.cache_clear()  # what was asked of these may still wait for one of them
            raise
        finally:  # nobody is at work when it is another rollout's turn
            meeting[1] = 1
            wait(others)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """Return threads that stay: BLAS gives each a buffer at its first product, which takes ms."""
    return ThreadPoolExecutor(count)


def _begin_anew() -> None:
    """Forget the threads and the lock of the process that this one was forked from.

    If that was in the midst of a rollout, BLAS keeps to one thread here.
    """
    global _rollouts
    _rollouts = Lock()
    _helpers.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
