"""Losses equal their definitions: the experiment's, and the relative one."""

from dataclasses import replace

import pytest
import torch
from reference import pi_loss

from pinca_lib.training.losses import InitLoss, PILoss, field_loss, overflow, relative_loss, unrest
from pinca_lib.training.pool import Batch


def random_batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    state, target = (torch.randn(2, c, 12, 10, generator=generator) for c in (24, 12))
    extents = torch.tensor([[24.0, 20.0], [30.0, 50.0]])
    return Batch(torch.arange(2), state, target, extents, torch.ones(2, 6, dtype=torch.bool))


def test_the_pi_loss_is_the_experiments():
    batch = random_batch()
    terms = PILoss("pixel", 2.25, 1.0, 10.0, 0.1)(batch.state, batch)
    expected = pi_loss(batch.state, batch.target, batch.extents)
    torch.testing.assert_close(terms["loss"], expected)


def test_the_init_loss_holds_every_written_channel_inside():
    batch = random_batch()
    terms = InitLoss("pixel", 0.5)(batch.state, batch)
    outside = (batch.state[:, 6:].abs() - 1).clamp(min=0).sum()
    torch.testing.assert_close(terms["overflow"], outside)
    field = ((batch.state[:, 6:11] - batch.target[:, 6:11]) ** 2).mean()
    torch.testing.assert_close(terms["loss"], field + 0.5 * outside)


def test_overflow_is_the_distance_to_the_unit_interval():
    assert overflow(torch.tensor([-3.0, -1.0, 0.5, 1.0, 1.5])).sum().item() == pytest.approx(2.5)


def test_the_relative_loss_is_its_definition_written_out():
    batch = random_batch()
    batch.target[:, 2] = (batch.target[:, 2] > -0.5).float()
    known = torch.ones(2, 6, dtype=torch.bool)
    known[0, 4] = known[1, 5] = False
    expected = 0.0
    for state, target, sure in zip(batch.state, batch.target, known, strict=True):
        air = target[2] > 0
        e, y = (state[6:12] - target[6:])[:, air], target[6:, air]
        expected += 2 * e[:2].square().sum() / y[:2].square().sum() / 2
        for k, weight in ((2, 1.0), (3, 1.0), (4, 0.5), (5, 0.5)):
            if sure[k]:
                expected += weight * e[k].square().sum() / y[k].square().sum() / 2
    torch.testing.assert_close(relative_loss(batch.state, replace(batch, known=known)), expected)


def test_an_all_zero_prediction_costs_five_and_the_target_nothing():
    batch = random_batch()
    batch.target[:, 2] = 1
    assert relative_loss(torch.zeros(2, 24, 12, 10), batch).item() == pytest.approx(5)
    perfect = torch.cat([batch.target, torch.ones(2, 12, 12, 10)], dim=1)
    terms = InitLoss("relative", 2.0)(perfect, batch)
    assert terms["loss"] == 0
    perfect[:, 12:] = 3.5
    assert InitLoss("relative", 2.0)(perfect, batch)["loss"].item() == pytest.approx(1.0)


def test_unrest_is_the_change_of_fields_relative_to_the_target_and_of_the_memory():
    batch = random_batch()
    batch.target[:, 2] = 1
    later = batch.state.clone()
    assert unrest(batch.state, later, batch) == 0
    later[:, 9] += 0.1 * batch.target[:, 9]
    later[:, 20] += 0.6
    assert unrest(batch.state, later, batch).item() == pytest.approx(0.01 + 0.36 / 12, rel=1e-4)


def test_rest_is_asked_of_the_step_after_and_leaves_the_state_alone():
    batch, loss = random_batch(), PILoss("relative", 2.25, 1.0, 10.0, 1.0, lambda_rest=3.0)
    state = batch.state.requires_grad_(True)
    after = (state.detach() * 1.1).requires_grad_(True)
    plain, terms = loss(state, batch), loss(state, batch, after)
    torch.testing.assert_close(terms["loss"], plain["loss"] + 3 * terms["rest"])
    (gradient,) = torch.autograd.grad(terms["rest"], after)
    assert gradient.abs().sum() > 0
    assert torch.autograd.grad(terms["rest"], state, allow_unused=True) == (None,)


@pytest.mark.parametrize("name", ["relative", "pixel", "filters"])
def test_of_what_is_not_known_the_target_means_nothing(name):
    batch, found = random_batch(), []
    batch.target[:, 2] = 1
    batch.known[0, 4] = False
    for guess in (0.0, 5.0):
        batch.target[0, 10] = guess
        torch.manual_seed(0)  # of the texture loss's directions
        found.append(field_loss(name)(batch.state, batch))
    assert found[0] == found[1]
    batch.target[1, 10] = 5.0
    torch.manual_seed(0)
    assert field_loss(name)(batch.state, batch) != found[0]


@pytest.mark.parametrize("name", ["relative", "pixel"])
def test_what_is_not_known_teaches_nothing(name):
    batch = random_batch()
    batch.target[:, 2] = 1
    batch.known[0, 4] = False
    state = batch.state.requires_grad_(True)
    field_loss(name)(state, batch).backward()
    assert not state.grad[0, 10].any()
    assert state.grad[1, 10].any()
    assert state.grad[0, 9].any()


def test_a_field_that_is_zero_in_the_data_costs_what_is_predicted_and_no_nan():
    batch = random_batch()
    batch.target[:, 2] = 1
    batch.target[:, 9] = 0
    assert relative_loss(batch.state, batch).isfinite()
