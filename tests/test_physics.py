"""The residuals equal their definitions, and are zero where the laws hold."""

import math

import pytest
import torch
from reference import physics_terms

from pinca_lib.physics import PhysicsLoss, continuity_residual, realisable

EXTENTS = [(30.0, 40.0), (12.0, 90.0)]


def random_state(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 24, 8, 11, generator=torch.Generator().manual_seed(seed))


def test_every_term_equals_its_definition():
    state = random_state()
    total, terms = PhysicsLoss()(state, EXTENTS)
    expected = physics_terms(state, EXTENTS)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    assert terms["L_physics_total"] is total


def test_weights_scale_the_total_but_not_the_reported_terms():
    state = random_state()
    weights = {"L_flux": 3.0, "L_continuity": 0.0}
    total, terms = PhysicsLoss(weights=weights)(state, EXTENTS)
    expected = physics_terms(state, EXTENTS)
    assert "L_continuity" not in terms
    assert terms["L_flux"].item() == pytest.approx(expected["L_flux"], rel=1e-5)
    by_hand = expected["L_k_neg"] + 3 * expected["L_flux"] + expected["L_u_bound"]
    assert total.item() == pytest.approx(by_hand, rel=1e-5)


def test_an_unknown_weight_is_refused():
    with pytest.raises(ValueError, match="L_continuty"):
        PhysicsLoss(weights={"L_continuty": 1.0})


def test_without_extents_continuity_counts_nothing():
    total, terms = PhysicsLoss()(random_state(), None)
    assert terms["L_continuity"] == 0
    assert total > 0


def test_terms_are_zero_where_the_bounds_hold():
    state = torch.zeros(1, 24, 8, 8)
    state[:, 6], state[:, 7], state[:, 8] = 3.0, 4.0, 5.1
    state[:, 9], state[:, 10] = 0.1, -0.2
    _, terms = PhysicsLoss()(state, [(16.0, 16.0)])
    assert all(terms[name] == 0 for name in PhysicsLoss.TERMS)


def test_continuity_is_in_physical_units_on_any_grid():
    """u = sin(x), v = y: du/dx + dv/dy = cos(x) + 1, on cells of different height and width."""
    height, width, metres_y, metres_x = 40, 200, 8.0, 2 * math.pi
    y = (torch.arange(height) + 0.5) * metres_y / height
    x = (torch.arange(width) + 0.5) * metres_x / width
    state = torch.zeros(1, 12, height, width)
    state[0, 6], state[0, 7] = torch.sin(x)[None, :], y[:, None]
    state[0, 11] = -(torch.cos(x) + 1)[None, :]
    residual = continuity_residual(state, [(metres_y, metres_x)])
    assert residual[..., 1:-1].abs().max() < 1e-3


def test_realisable_fields_are_unchanged_and_others_are_moved_onto_the_bound():
    fields = torch.zeros(1, 5, 1, 3)
    fields[:, 0], fields[:, 1] = 0.3, 0.4
    fields[0, 2, 0] = torch.tensor([0.6, 0.4, -1.0])
    fields[0, 3, 0] = torch.tensor([0.1, 0.1, -0.1])
    fields[0, 4, 0] = torch.tensor([-0.2, -0.3, 0.3])
    found = realisable(fields, 2.25)
    assert torch.equal(found[..., 0], fields[..., 0])
    torch.testing.assert_close(found[0, 2:, 0, 1], torch.tensor([0.5, 0.1, -0.225]))
    torch.testing.assert_close(found[0, 2:, 0, 2], torch.tensor([0.5, 0.0, 0.0]))
    assert torch.equal(found[:, :2], fields[:, :2])
