"""Threads that share the cells of a rollout, one rollout at a time.

A rollout uses every core, so it has them for itself, and BLAS is kept to the thread that calls it.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from threading import Lock

import scipy.linalg.cython_blas  # noqa: F401  (what np.dot will call: loaded, so that it is limited)
import torch
from threadpoolctl import ThreadpoolController

Team = Callable[..., list]

_rollouts = Lock()


@contextmanager
def gathered() -> Iterator[Team]:
    """Yield a function that calls ``work(first, last, *arguments)`` on torch's threads.

    Each call gets an equal share of 0…count; all results are returned.
    """
    threads = torch.get_num_threads()

    def team(work: Callable, count: int, *arguments) -> list:
        ends = [count * share // threads for share in range(threads + 1)]
        shares = [(*share, *arguments) for share in pairwise(ends)]
        others = [helpers.submit(work, *share) for share in shares[1:]]
        try:
            return [work(*shares[0]), *(other.result() for other in others)]
        finally:  # nobody is at work when it is another rollout's turn
            wait(others)

    helpers = _helpers(max(threads - 1, 1))
    with _rollouts, _blas().limit(limits=1, user_api="blas"):
        yield team


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
