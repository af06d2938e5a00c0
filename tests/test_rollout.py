"""Rollouts: the folded rule equals the plain one, and so do the gradients."""

import pytest
import torch
from reference import conv_step
from test_automaton import city_state, trained

from pinca_lib.automaton import CA
from pinca_lib.rollout import rollout


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 3, 3), (6, 16, 16), (2, 5, 32)])
def test_it_equals_the_rule_applied_step_by_step(batch, height, width):
    first, second = trained(seed=1), trained(seed=2)
    state = city_state(batch, height=height, width=width)
    expected = state
    for _ in range(8):
        expected = second(first(expected))
    torch.testing.assert_close(rollout([first, second], state, 8), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_it_works_where_all_is_air_or_all_is_building(mask):
    rule, state = trained(), city_state()
    state[:, 2] = mask
    torch.testing.assert_close(rollout([rule], state, 1), rule(state), atol=1e-5, rtol=1e-5)


def test_no_step_returns_the_state_and_leaves_it_alone():
    state = city_state()
    kept = state.clone()
    assert torch.equal(rollout([trained()], state, 0), state)
    rollout([trained()], state, 3)
    assert torch.equal(state, kept)


def gradient(rule: CA, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(rule.parameters()))])


def test_the_gradient_of_the_last_step_is_that_of_the_experiments_loop():
    frozen, rule = trained(seed=1), trained(seed=2).requires_grad_(True)
    state = city_state(3)
    expected = state
    for _ in range(5):
        with torch.no_grad():
            expected = conv_step(expected, frozen.state_dict())
        expected = conv_step(expected, dict(rule.named_parameters()))
    ours = rollout([frozen, rule], state, 5, recorded=1)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    weights = torch.randn(expected.shape)
    torch.testing.assert_close(
        gradient(rule, (ours * weights).sum()),
        gradient(rule, (expected * weights).sum()),
        atol=1e-3,
        rtol=1e-3,
    )


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("recorded", [3, 7])
def test_gradients_through_the_last_steps_equal_the_full_graphs(recorded, checkpointed):
    rule, state = trained(seed=3).requires_grad_(True), city_state(2)
    expected = state
    for step in range(7):
        if step == 7 - recorded:
            expected = expected.detach()
        expected = conv_step(expected, dict(rule.named_parameters()))
    ours = rollout([rule], state, 7, recorded=recorded, checkpointed=checkpointed)
    torch.testing.assert_close(
        gradient(rule, ours.square().mean()),
        gradient(rule, expected.square().mean()),
        atol=1e-4,
        rtol=1e-3,
    )
