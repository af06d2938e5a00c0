"""The live rollout takes the steps of any rollout, in bounded memory, and survives every edit."""

import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from small_cities import write_plain_city
from small_rules import calm_rule, trained

from pinca_lib.channels import BASE, DYNAMIC, GEO_MASK, KNOWN_COUNT, TOPO, fresh_states
from pinca_lib.datasets.dataset import load_dataset
from pinca_lib.errors import InputError
from pinca_lib.physics import PhysicsLoss
from pinca_lib.rollouts import rollout
from pinca_lib.viewer.live import UNDO_COUNT, History, LiveRollout
from pinca_lib.viewer.scenes import CaseScene


@pytest.fixture
def live(tmp_path) -> LiveRollout:
    write_plain_city(tmp_path / "town.h5", 20, 16, dwdz=True)
    return LiveRollout([calm_rule(), calm_rule()], CaseScene(load_dataset(tmp_path)))


def free_cells(live, count=1):
    return [tuple(cell) for cell in (live.state[GEO_MASK] > 0).nonzero()[:count].tolist()]


def test_it_takes_the_steps_of_a_rollout_from_zero(live):
    for steps in (1, 2, 4):
        live.advance(steps)
    start = fresh_states(live.scene.simulation[None])
    torch.testing.assert_close(live.state, rollout(live.rules, start, 7)[0])
    assert (live.steps, live.frames, len(live.history)) == (7, 3, 4)


def test_an_edit_keeps_the_flow_elsewhere_and_undo_restores_the_city(live):
    live.advance(5)
    before, cells = live.state.clone(), live.scene.brushed(free_cells(live), 1)
    live.build(cells, 20.0)
    assert torch.equal(live.state[:, ~cells], before[:, ~cells])
    assert live.target_of(live.state) is None
    live.advance(3)
    assert live.undo()
    assert torch.equal(live.state[BASE], before[BASE])
    assert live.target_of(live.state) is live.scene.simulation
    assert live.steps == 8
    assert not live.undo()


def test_edits_of_one_stroke_are_undone_together_and_strokes_one_by_one(live):
    base = live.state[BASE].clone()
    (first, second, third) = (live.scene.brushed([cell], 0) for cell in free_cells(live, 3))
    live.build(first, 10.0, stroke="a")
    live.build(second, 10.0, stroke="a")
    live.build(third, 10.0, stroke="b")
    live.undo()
    assert live.state[TOPO][third].eq(0).all()
    assert live.state[TOPO][second].eq(10).all()
    live.undo()
    assert torch.equal(live.state[BASE], base)


def test_a_refused_edit_changes_nothing_and_starts_no_stroke(live):
    with pytest.raises(InputError):
        live.build(live.scene.brushed(free_cells(live), 0), float("nan"), stroke="a")
    live.build(live.scene.brushed(free_cells(live), 0), 10.0, stroke="a")
    assert live.undo()
    assert torch.equal(live.state[BASE], live.scene.simulation[BASE])


def test_undoing_clear_sets_the_flow_in_the_building_to_zero(live):
    cells = live.state[GEO_MASK] == 0
    live.clear(cells)
    live.advance(4)
    assert live.state[DYNAMIC][:, cells].abs().sum() > 0
    live.undo()
    assert live.state[DYNAMIC][:, cells].abs().sum() == 0


def test_the_fresh_rollout_starts_from_zero_over_the_edited_city(live):
    live.advance(6)
    live.compare_with_fresh_rollout(True)
    live.advance(2)
    live.build(live.scene.brushed(free_cells(live), 1), 15.0)
    live.advance(5)
    expected = rollout(live.rules, fresh_states(live.state[None]), 5)[0]
    torch.testing.assert_close(live.fresh, expected)
    assert live.scores()["speed against fresh rollout"] > 0
    live.compare_with_fresh_rollout(False)
    assert live.fresh is None


def test_scores_are_relative_errors_in_air_and_the_terms_of_the_physics_loss(live):
    live.advance(3)
    scores, air = live.scores(), live.scene.simulation[GEO_MASK] > 0
    own, truth = (x[6:8][:, air].numpy() for x in (live.state, live.scene.simulation))
    expected = np.linalg.norm(own - truth) / np.linalg.norm(truth)
    assert scores["(u, v) against simulation"] == pytest.approx(expected, rel=1e-5)
    _, terms = PhysicsLoss()(live.state[None], [live.scene.extent])
    assert scores["L_continuity"] == pytest.approx(float(terms["L_continuity"]))


def test_a_diverging_step_raises_an_error_and_changes_nothing(live):
    live.advance(2)
    before = live.state.clone()
    wild = trained()
    wild.w2.weight *= 1e30
    live.rules = [wild]
    with pytest.raises(FloatingPointError, match="restart the rollout"):
        live.advance(9)
    assert torch.equal(live.state, before)
    assert live.steps == 2


def test_restart_keeps_the_city_and_revert_restores_the_original(live):
    live.build(live.scene.brushed(free_cells(live), 1), 15.0)
    live.advance(3)
    edited = live.state[BASE].clone()
    live.restart()
    assert torch.equal(live.state[BASE], edited)
    assert live.state[DYNAMIC].abs().sum() == 0
    assert live.steps == 0
    live.revert()
    assert torch.equal(live.state[BASE], live.scene.simulation[BASE])
    live.undo()
    assert torch.equal(live.state[BASE], edited)


def test_the_history_covers_the_rollout_evenly_in_bounded_memory():
    history = History(capacity=8)
    for step in range(1000):
        history.offer((step, torch.zeros(1), {}))
        assert len(history) <= 8
    steps = [steps for steps, *_ in history.snapshots]
    gaps = set(np.diff(steps))
    assert steps[0] == 0
    assert len(gaps) == 1
    assert steps[-1] >= 1000 - gaps.pop()


def test_the_record_ends_with_the_current_state_however_short_the_history(live):
    live.history.capacity = 4
    for _ in range(23):
        live.advance(2)
    assert len(live.history) <= 4
    record = live.record()
    assert record[-1][0] == live.steps == 46
    assert torch.equal(record[-1][1], live.state[:KNOWN_COUNT])
    names, curves = live.curves()
    assert curves.shape == (1 + len(names), len(record))
    assert curves[0, -1] == 46


def test_any_sequence_of_edits_leaves_a_valid_city(live):
    chance = random.Random(1)
    height, width = live.scene.shown_shape
    for turn in range(400):
        points = [(chance.randrange(height), chance.randrange(width))]
        cells = live.scene.brushed(points, chance.uniform(0, 4))
        stroke = chance.choice([None, turn // 3])
        acts = [
            lambda c=cells, s=stroke: live.build(c, chance.uniform(-5, 60), s),
            lambda c=cells, s=stroke: live.clear(c, s),
            lambda s=stroke: live.turn_wind(chance.uniform(-400, 400), s),
            live.undo,
            lambda: live.advance(chance.randrange(1, 4)),
            lambda: live.compare_with_fresh_rollout(chance.random() < 0.5),
            lambda: live.restart() if chance.random() < 0.1 else None,
            lambda: live.revert() if chance.random() < 0.1 else None,
        ]
        with suppress(InputError, FloatingPointError):
            chance.choice(acts)()
        for state in filter(lambda state: state is not None, (live.state, live.fresh)):
            air, topo = state[GEO_MASK], state[TOPO]
            assert state.isfinite().all()
            assert air.unique().tolist() in ([0, 1], [1])
            assert torch.equal(air == 0, topo > 0)
            assert state[DYNAMIC][:, air == 0].abs().sum() == 0
            assert torch.equal(state[:2], live.scene.simulation[:2])
        assert len(live.undo_stack) <= UNDO_COUNT[1]
        assert live.state.shape[0] >= KNOWN_COUNT
