"""Threads that share the cells of a rollout."""

from threading import Thread

import pytest
import torch

from benchmarks.contenders import both_rules, random_rule, random_state
from pinca_lib.rollouts import rollout
from pinca_lib.rollouts.cpu import teams


@pytest.fixture(autouse=True)
def four(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)


@pytest.mark.parametrize(
    ("count", "least", "shares"), [(10, 1, 4), (10, 4, 2), (3, 9, 1), (0, 1, 1)]
)
def test_shares_are_equal_and_not_too_small(count, least, shares):
    with teams.gathered() as team:
        found = team(lambda first, last: range(first, last), count, least=least)
    assert [i for share in found for i in share] == list(range(count))
    assert len(found) == shares
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_if_a_thread_cannot_start_nobody_waits_and_the_next_team_works(monkeypatch):
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
            team(range, 8)
    with teams.gathered() as team:
        assert team(range, 8) == [range(0, 2), range(2, 4), range(4, 6), range(6, 8)]


@pytest.mark.parametrize(
    "rules", [[random_rule(0)], both_rules()[::-1], [random_rule(0), *both_rules()]]
)
def test_neither_threads_nor_the_number_of_calls_change_a_bit(rules, monkeypatch):
    state = random_state(2, 40, 0.3)
    expected = rollout(rules, state, 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert torch.equal(rollout(rules, rollout(rules, state, 2), 3), expected)
