"""Healing is measured over the air of the edited city, against a rollout that began there."""

import pytest
import torch
from small_rules import city_state, trained

from pinca_lib.automaton.rule import CA
from pinca_lib.channels import DYNAMIC, GEO_MASK, TOPO, U, V
from pinca_lib.evaluation import healing
from pinca_lib.evaluation.metrics import distance_to_buildings

EXTENT = (40.0, 48.0)


def test_a_rule_without_memory_heals_at_once_and_one_with_memory_heals_slowly(monkeypatch):
    case = city_state(1, height=20, width=24)[0]
    asked = []

    def rolled_out(rules, state, steps):
        asked.append(state[0, TOPO].clone())
        new = state.clone()
        new[:, [U, V]] *= kept**steps
        new[:, [U, V]] += state[:, GEO_MASK, None] * state[:, TOPO].mean()
        return new

    monkeypatch.setattr(healing, "rollout", rolled_out)
    kept = 0.0
    assert healing.healing_errors([CA()], case, EXTENT, 3, times=2) == [0, 0]
    largest = distance_to_buildings(case[GEO_MASK].numpy() > 0, EXTENT).argmax()
    before, edited = asked[0].flatten(), asked[1].flatten()
    assert before[largest] != edited[largest] == healing.HEIGHT
    kept = 0.9
    first, second = healing.healing_errors([CA()], case, EXTENT, 3, times=2)
    assert 0 < second < first


def test_the_fields_of_the_case_are_not_used():
    case = city_state(1, height=20, width=24)[0]
    (error,) = healing.healing_errors([trained()], case, EXTENT, 4)
    assert 0 < error < 10
    spoiled = case.clone()
    spoiled[DYNAMIC] = torch.nan
    assert healing.healing_errors([trained()], spoiled, EXTENT, 4) == [pytest.approx(error)]
