"""Work stealing and barriers in compiled code."""

import faulthandler
from threading import Thread

import numpy as np
import pytest
import torch
from numba import njit

from benchmarks.contenders import both_rules, random_rule, random_state
from pinca_lib.rollouts import rollout
from pinca_lib.rollouts.cpu import compiled, teams
from pinca_lib.rollouts.cpu.work_stealing import block, meet

_compiled = njit(nogil=True)


@_compiled
def count(own, meeting, queues, most, taken):
    """Count how often each cell is taken."""
    meet(meeting, len(queues[1]))  # otherwise the first thread might do all the work
    start, stop = block(own, queues, most)
    while start < stop:
        taken[start:stop] += 1
        start, stop = block(own, queues, most)


@_compiled
def follow(own, meeting, times, latest):
    """Count how often another thread is behind or ahead after a barrier."""
    off = 0
    for i in range(times):
        latest[own] = i
        meet(meeting, len(latest))
        off += (latest != i).sum()
        meet(meeting, len(latest))
    return off


def queues_of(ends):
    return np.array([0, *ends[:-1]], np.intp), np.array(ends, np.intp)


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


def test_each_cell_is_taken_exactly_once(team):
    taken = np.zeros(300_000, np.int8)
    team.meeting(count, queues_of([50_000, 50_000, 50_003, 300_000]), 7, taken)
    assert (taken == 1).all()


def test_a_thread_takes_its_own_share_first_and_then_those_of_others():
    queues, found = queues_of([5, 8, 10]), []
    while (taken := block(1, queues, 2))[1]:
        found.append(taken)
    assert found == [(5, 7), (7, 8), (8, 10), (0, 2), (2, 4), (4, 5)]


def test_no_thread_passes_a_barrier_before_all_have_arrived(team):
    latest = np.zeros(4, np.intp)
    assert team.meeting(follow, 3000, latest) == [0] * 4


@pytest.mark.parametrize("failing", [0, 3])
def test_if_one_thread_fails_the_others_stop_waiting(team, failing):
    def work(own, meeting):
        if own == failing:
            raise ArithmeticError
        meet(meeting, 4)

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

    def work(own, meeting):
        meet(meeting, 4)

    with teams.gathered() as team, monkeypatch.context() as patch:
        patch.setattr(Thread, "start", start_one)
        with pytest.raises(RuntimeError, match="no thread"):
            team.meeting(work)
    for _ in range(2):
        with teams.gathered() as team:
            team.meeting(work)


@pytest.mark.parametrize(
    "rules", [[random_rule(0)], both_rules()[::-1], [random_rule(0), *both_rules()]]
)
def test_work_stealing_and_the_number_of_calls_change_no_bit(rules, monkeypatch):
    state = random_state(2, 40, 0.3)
    expected = rollout(rules, state, 5)
    monkeypatch.setattr(compiled, "CELLS_AT_ONCE", 2 * 40 * 40 * 3)
    assert torch.equal(rollout(rules, state, 5), expected)
    assert torch.equal(rollout(rules, rollout(rules, state, 2), 3), expected)
