"""The rule equals its definition, and keeps its laws for any weights."""

import pytest
import torch
from reference import rule_step
from small_rules import bounded_rule, city_state, trained, wide_rule, windward_rule

from pinca_lib.automaton.rule import CA, GAINS, perceive
from pinca_lib.automaton.wind_frame import rotated


@pytest.mark.parametrize(("channels", "count"), [(12, 5856), (24, 11616)])
def test_it_has_as_many_parameters_as_the_experiment(channels, count):
    assert sum(p.numel() for p in CA(channels).parameters()) == count


@pytest.mark.parametrize(("channels", "height", "width"), [(24, 5, 6), (12, 3, 3)])
def test_a_step_equals_its_definition(channels, height, width):
    rule, state = trained(channels), city_state(2, channels, height, width)
    expected = torch.from_numpy(rule_step(state, rule.state_dict()))
    torch.testing.assert_close(rule(state).double(), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("channels", [24, 13])
def test_a_step_in_the_wind_frame_equals_its_definition(channels):
    rule = windward_rule(channels=channels, units=None)
    state = city_state(3, channels, 5, 6)
    state[2, 4:6] = 0  # no wind, no direction
    expected = torch.from_numpy(rule_step(state, rule.state_dict(), follows_wind=True))
    torch.testing.assert_close(rule(state).double(), expected, atol=2e-6, rtol=1e-5)


def test_a_rule_in_the_wind_frame_needs_a_channel_for_the_y_component_of_the_flux():
    with pytest.raises(ValueError, match="channels=12: a rule in the wind frame needs 13 or more"):
        CA(12, follows_wind=True)


def test_a_rule_with_bounds_needs_all_fields():
    assert CA(11, alpha=2.25).alpha == 2.25
    with pytest.raises(ValueError, match="channels=10: a rule with bounds needs 11 or more"):
        CA(10, alpha=2.25)


def quarter_turned(state):
    """Rotate a square city and its flow by 90° from x towards y: (x, y) -> (-y, x)."""
    state = state.rot90(-1, (2, 3))  # rows run along y
    for x, y in ((4, 5), (6, 7), (10, 12)):
        state[:, [x, y]] = torch.stack([-state[:, y], state[:, x]], dim=1)
    return state


@pytest.mark.parametrize("scale", [1, 3])
def test_in_the_wind_frame_the_flow_rotates_with_the_city(scale):
    rule, other = (windward_rule(scale=scale, follows_wind=flag) for flag in (True, False))
    state = city_state(2, height=12, width=12)
    turned = quarter_turned(state)
    torch.testing.assert_close(rule(turned)[:, 2:], quarter_turned(rule(state))[:, 2:])
    assert (other(turned) - quarter_turned(other(state)))[:, 2:].abs().max() > 0.01


@pytest.mark.parametrize("scale", [1, 3])
def test_in_the_wind_frame_a_mirrored_city_has_the_mirrored_flow(scale):
    rule, other = (windward_rule(scale=scale, follows_wind=flag) for flag in (True, False))
    state = city_state(2, height=12, width=12)
    state[:, 4], state[:, 5] = 0.5, 0  # along x: the mirror image is upside down

    def image(state):
        signs = torch.ones(24)
        signs[[5, 7, 12, *range(18, 24)]] = -1
        return signs.view(-1, 1, 1) * state.flip(2)

    torch.testing.assert_close(rule(image(state))[:, 2:], image(rule(state))[:, 2:])
    assert (other(image(state)) - image(other(state)))[:, 2:].abs().max() > 0.01


def test_in_the_wind_frame_flow_over_open_ground_rotates_by_any_angle():
    rule, angles = windward_rule(), torch.linspace(0, 6, 7)
    along = torch.randn(24, generator=torch.Generator().manual_seed(0))
    state = along.view(1, -1, 1, 1).repeat(7, 1, 4, 4)
    state[:, 2] = 1
    wind = torch.stack([angles.cos(), angles.sin()], dim=1)
    after = rule(rotated(state, wind, 1))
    torch.testing.assert_close(after, rotated(rule(state[:1]), wind, 1))
    assert not torch.allclose(after[0], after[1])


def test_perception_is_ordered_channel_major():
    state = city_state()
    seen = perceive(state)
    assert seen.shape == (2, 96, 7, 9)
    assert torch.equal(seen[:, 0::4], state)  # identity of every channel
    ramp = torch.arange(9.0).expand(1, 1, 7, 9)
    assert perceive(ramp)[0, 1, 3, 4] == 8  # Sobel-x is eight times the derivative
    assert perceive(ramp)[0, 2, 3, 4] == 0


def test_a_periodic_shift_commutes_with_a_step():
    rule, state = trained(), city_state()
    shift = {"shifts": (3, -2), "dims": (2, 3)}
    torch.testing.assert_close(rule(state.roll(**shift)), rule(state).roll(**shift))


def test_base_channels_and_building_cells_never_change():
    rule, state = trained(), city_state()
    after = rule(rule(state))
    assert torch.equal(after[:, :6], state[:, :6])
    in_building = (state[:, 2:3] == 0).expand_as(state)
    assert torch.equal(after[in_building], state[in_building])
    assert not torch.equal(after, state)


def test_a_new_rule_changes_nothing():
    state = city_state()
    assert torch.equal(CA()(state), state)


def test_a_cell_sees_its_eight_neighbours_and_no_further():
    rule, state = trained(), city_state(1, height=9, width=9)
    state[:, 2] = 1
    moved = state.clone()
    moved[0, 8, 4, 4] += 1
    changed = (rule(moved) - rule(state)).abs().amax(1)[0] > 0
    assert changed[3:6, 3:6].all()
    assert changed.sum() == 9


def test_units_are_those_in_which_the_layers_see_and_write_a_state():
    plain, state = trained(), city_state()
    units = torch.rand(24, generator=torch.Generator().manual_seed(1)) + 0.5
    units[2] = 1
    scaled = CA(units=units)
    gains = GAINS.repeat(24).view(1, -1, 1, 1)
    weights = plain.state_dict() | {"w1.weight": plain.w1.weight * gains, "units": units}
    scaled.load_state_dict(weights)
    unit = units.view(-1, 1, 1)
    torch.testing.assert_close(scaled(state), unit * plain(state / unit), atol=1e-5, rtol=1e-5)


def test_a_rule_on_coarse_cells_sees_means_and_adds_one_increment_to_a_block():
    wide, state = wide_rule(), city_state(height=8, width=12)
    state[:, 2] = 1
    state[:, 6:] = 0
    fine = CA(units=wide.units, alpha=2.25)
    fine.load_state_dict({k: x for k, x in wide.state_dict().items() if k != "_scale"})
    means = state.unflatten(2, (2, 4)).unflatten(4, (3, 4)).mean((3, 5))
    moved = fine(means).repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(wide(state)[:, 6:], moved[:, 6:])
    assert moved[:, 6:].std() > 0


def test_a_rule_that_keeps_the_bounds_breaks_none_from_any_state():
    rule, state = bounded_rule(), city_state(height=40, width=40)
    after, air = rule(state), state[:, 2] > 0
    u, v, speed, tke, flux = after.double()[:, 6:11].transpose(0, 1)[:, air]
    assert (tke >= 0).all()
    assert (flux.abs() <= 2.25 * tke).all()
    assert (speed >= torch.hypot(u, v)).all()
    free = CA(units=rule.units)
    free.load_state_dict({k: x for k, x in rule.state_dict().items() if k != "alpha"})
    unbounded = free(state)
    hidden = torch.where(air[:, None], unbounded[:, 12:].clamp(-3, 3), unbounded[:, 12:])
    torch.testing.assert_close(after[:, 12:], hidden)
    torch.testing.assert_close(after[:, [6, 7, 11]], unbounded[:, [6, 7, 11]])
    assert (unbounded[:, 9][air] < 0).any()
    assert (unbounded[:, 12:].abs().amax(1)[air] > 3).any()


def test_the_bounds_of_the_fields_let_the_gradient_through():
    rule, state = (
        bounded_rule().requires_grad_(True),
        city_state() / 4,
    )  # no hidden channel is limited
    free = CA(units=rule.units)
    free.load_state_dict({k: x for k, x in rule.state_dict().items() if k != "alpha"})
    weights = torch.randn(state.shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.autograd.grad((r(state) * weights).sum(), list(r.parameters()))
                    for r in (rule, free))  # fmt: skip
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)
