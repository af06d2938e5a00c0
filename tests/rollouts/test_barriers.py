"""Barriers in compiled code."""

import faulthandler
import os
import time
from threading import Thread

import numpy as np
import pytest
import torch
from numba import njit

from benchmarks.contenders import both_rules, random_rule, random_state
from pinca_lib.rollouts import rollout
from pinca_lib.rollouts.cpu import compiled, teams
from pinca_lib.rollouts.cpu.barriers import meet, share

_compiled = njit(nogil=True)


@_compiled
def follow(member, times, latest):
    """Count how often another thread is behind or ahead after a barrier."""
    off = 0
    for i in range(times):
        latest[member.number] = i
        meet(member)
        off += (latest != i).sum()
        meet(member)
    return off


@pytest.fixture(autouse=True)
def watched():
    faulthandler.dump_traceback_later(300, exit=True)  # otherwise a deadlock would last forever
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def team(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with teams.gathered() as team:
        yield team


def test_shares_are_equal_and_leave_nothing_out(team):
    shares = team.meeting(lambda member: share(member, 10))
    assert shares == [(0, 2), (2, 5), (5, 7), (7, 10)]


def test_no_thread_passes_a_barrier_before_all_have_arrived(team):
    latest = np.zeros(4, np.intp)
    assert team.meeting(follow, 3000, latest) == [0] * 4


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot sleep for some microseconds")
def test_a_thread_that_waits_for_long_sleeps(team):
    def work(member):
        if member.number == 0:
            time.sleep(0.3)
        start = time.thread_time()
        meet(member)
        return time.thread_time() - start

    assert max(team.meeting(work)) < 0.1


@pytest.mark.parametrize("failing", [0, 3])
def test_if_one_thread_fails_the_others_stop_waiting(team, failing):
    def work(member):
        if member.number == failing:
            raise ArithmeticError
        meet(member)

    with pytest.raises(ArithmeticError):
        team.meeting(work)


def test_if_a_thread_cannot_start_nobody_waits_and_the_next_team_works(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    teams._helpers.cache_clear()
    start, started = Thread.start, []

    def start_one(thread):
        if started:
            raise RuntimeError("no thread")
        started.append(thread)
        start(thread)

    with teams.gathered() as team, monkeypatch.context() as patch:
        patch.setattr(Thread, "start", start_one)
        with pytest.raises(RuntimeError, match="no thread"):
            team.meeting(meet)
    for _ in range(2):
        with teams.gathered() as team:
            team.meeting(meet)


@pytest.mark.parametrize(
    "rules", [[random_rule(0)], both_rules()[::-1], [random_rule(0), *both_rules()]]
)
def test_neither_timing_nor_the_number_of_calls_changes_a_bit(rules, monkeypatch):
    state = random_state(2, 40, 0.3)
    expected = rollout(rules, state, 5)
    monkeypatch.setattr(compiled, "CELLS_AT_ONCE", 2 * 40 * 40 * 3)
    assert torch.equal(rollout(rules, state, 5), expected)
    assert torch.equal(rollout(rules, rollout(rules, state, 2), 3), expected)
