"""The rivals: they see what they should, keep the bounds, and are no straw men by a slip."""

import pytest
import torch
from small_rules import city_state

from benchmarks.rivals import NAMES, Rival
from pinca_lib.automaton.wind_frame import heading
from pinca_lib.runs.tensor_files import load_tensors, save_tensors


def rival(name: str) -> Rival:
    torch.manual_seed(0)
    return Rival(name, torch.linspace(0.5, 2, 24)).requires_grad_(False)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_all_fields_of_oblong_grids_and_keeps_the_city_and_the_bounds(name):
    state = city_state(2, height=32, width=48)
    found = rival(name)(state)
    assert found.shape == (2, 12, 32, 48)
    assert torch.equal(found[:, :6], state[:, :6])
    assert not (found[:, 6:] * (state[:, 2:3] == 0)).any()
    u, v, speed, tke, flux = found.double()[:, 6:11].unbind(1)
    assert (tke >= 0).all()
    assert (flux.abs() <= 2.25 * tke).all()
    assert (speed >= torch.hypot(u, v)).all()
    assert found[:, [6, 7, 8, 11]].abs().amax((0, 2, 3)).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_domain_is_periodic_to_it(name):
    network, state = rival(name), city_state(1, height=32, width=32)
    shift = {"shifts": (16, -16), "dims": (2, 3)}  # whole cells of the U-Net's coarsest grid
    fields, moved = network(state)[:, 6:], network(state.roll(**shift))[:, 6:]
    torch.testing.assert_close(moved, fields.roll(**shift), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_sees_mask_heights_and_wind_and_nothing_else(name):
    network, state = rival(name), city_state(1, height=32, width=32)
    for channel in range(24):
        other = state.clone()
        other[:, channel] = 1 - other[:, channel]
        is_seen = not torch.equal(network(other)[:, 6:], network(state)[:, 6:])
        assert is_seen == (channel in (2, 3, 4, 5)), channel


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_brings_it_back(name, tmp_path):
    save_tensors(rival(name).state_dict(), tmp_path / "rival.pth")
    other = Rival(name, torch.ones(24)).requires_grad_(False)
    other.load_state_dict(load_tensors(tmp_path / "rival.pth"))
    state = city_state(1, height=32, width=32)
    assert torch.equal(other(state), rival(name)(state))


def test_a_u_net_refuses_grids_on_which_it_is_not_periodic():
    with pytest.raises(ValueError, match="multiples of 16"):
        rival("unet")(city_state(1, height=32, width=40))


@pytest.mark.parametrize("name", NAMES)
def test_one_that_follows_the_wind_gives_vectors_along_it(name):
    one = Rival(name, torch.ones(24), follows_wind=True).requires_grad_(False)
    state = city_state(2, height=32, width=32)
    assert one(state).shape == (2, 12, 32, 32)
    along = torch.tensor([0.5, 0, 1, 1, 0, 0, 0])[:, None, None]  # u, and a speed that allows it
    one.network = torch.nn.Module()
    one.network.forward = lambda given: along.expand(2, 7, 32, 32)
    expected = 0.5 * heading(state)[..., None, None] * state[:, 2:3]
    torch.testing.assert_close(one(state)[:, 6:8], expected)
