"""One training step equals the experiment's own, restated; what goes beyond it is as defined."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import conv_step, pi_loss
from small_rules import trained

from pinca_lib.automaton.rule import CA
from pinca_lib.datasets.dataset import load_dataset
from pinca_lib.rollouts import rollout
from pinca_lib.training.descent import Training, channel_units, seed_everything
from pinca_lib.training.losses import PILoss
from pinca_lib.training.pool import SamplePool


@pytest.fixture
def pool(city_folder) -> SamplePool:
    return SamplePool(load_dataset(city_folder, 24), 12, np.random.default_rng(0))


def test_training_follows_the_experiments_loop_weight_for_weight(city_folder):
    """Five iterations against the listing's loop, restated with plain steps and full graphs.

    In float64, since Adam turns the rounding of a vanishing gradient into a whole step.
    """
    dataset = load_dataset(city_folder, 24)
    dataset = replace(dataset, states=dataset.states.double())
    pool = SamplePool(dataset, 12, np.random.default_rng(0))
    init, ours = trained(seed=1).double(), trained(seed=2).double().requires_grad_(True)
    for rule in (init, ours):
        rule.w2.weight.data *= 0.1
    theirs = CA().double()
    theirs.load_state_dict(ours.state_dict())
    optimiser = torch.optim.Adam(theirs.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1000, 2000], 0.3)
    training, loss = Training(ours, pool, learning_rate=1e-3), PILoss("pixel", 2.25, 1.0, 10.0, 0.1)
    states = pool.states.clone()
    for iteration in range(5):
        batch = pool.sample(6, restarts=int(iteration % 8 == 0))
        steps = training.draw_steps(3, 6)

        x = states[batch.slots].clone()
        if iteration % 8 == 0:
            x[:1, 6:] = 0
        for _ in range(steps):
            with torch.no_grad():
                x = conv_step(x, init.state_dict())
            x = conv_step(x, dict(theirs.named_parameters()))
        optimiser.zero_grad()
        pi_loss(x, batch.target, batch.extents).backward()
        for parameter in theirs.parameters():
            parameter.grad /= parameter.grad.norm() + 1e-8
        optimiser.step()
        schedule.step()
        states[batch.slots] = x.detach()

        state = rollout([init, ours], batch.state, steps, recorded=1)
        training.descend(loss(state, batch)["loss"])
        pool.write(batch, state)
    torch.testing.assert_close(pool.states, states, atol=1e-9, rtol=1e-9)
    for name, expected in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], expected, atol=1e-9, rtol=1e-9)


def test_the_rows_of_w2_that_write_base_channels_stay_as_they_began(pool):
    training = Training(trained(seed=2).requires_grad_(True), pool, learning_rate=1e-3)
    before = training.rule.w2.weight[:6].detach().clone()
    batch = pool.sample(3)
    state = rollout([training.rule], batch.state, 2, recorded=2)
    training.descend(PILoss("pixel", 2.25, 1.0, 10.0, 0.1)(state, batch)["loss"])
    assert torch.equal(training.rule.w2.weight[:6], before)


def test_the_learning_rate_decays_at_its_milestones(pool):
    training = Training(CA(), pool, learning_rate=1e-3)
    rates = {}
    for iteration in range(2001):
        rates[iteration] = training.optimiser.param_groups[0]["lr"]
        training.optimiser.step()
        training.schedule.step()
    assert rates[999] == pytest.approx(1e-3)
    assert rates[1000] == pytest.approx(3e-4)
    assert rates[2000] == pytest.approx(9e-5)


def test_the_learning_rate_anneals_over_the_iterations_and_stays_at_zero(pool):
    training = Training(CA(), pool, learning_rate=1e-3, iterations=8)
    rates = []
    for _ in range(11):
        rates.append(training.optimiser.param_groups[0]["lr"])
        training.optimiser.step()
        training.schedule.step()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[4] == pytest.approx(5e-4)
    assert rates[:8] == sorted(rates[:8], reverse=True)
    assert rates[8:] == pytest.approx([0, 0, 0])


def test_annealing_goes_on_where_it_stopped(pool):
    training = Training(CA(), pool, learning_rate=1e-3, iterations=8)
    for _ in range(3):
        training.optimiser.step()
        training.schedule.step()
    other = Training(CA(), pool, learning_rate=1e-3, iterations=8)
    other.load_state_dict(training.state_dict())
    for one in (training, other):
        one.optimiser.step()
        one.schedule.step()
    rates = [one.optimiser.param_groups[0]["lr"] for one in (training, other)]
    assert rates[0] == rates[1] == pytest.approx(5e-4)


def test_steps_are_drawn_from_the_half_open_range(pool):
    training = Training(CA(), pool, learning_rate=1e-3)
    assert {training.draw_steps(3, 6) for _ in range(200)} == {3, 4, 5}


def test_the_same_seed_draws_the_same_numbers():
    first = (seed_everything(7).random(), torch.rand(1))
    assert first == (seed_everything(7).random(), torch.rand(1))


def test_a_diverged_loss_stops_before_the_weights_are_spoilt(pool):
    training = Training(trained(seed=2).requires_grad_(True), pool, learning_rate=1e-3)
    before = [parameter.detach().clone() for parameter in training.rule.parameters()]
    with pytest.raises(FloatingPointError, match="diverged"):
        training.descend(training.rule.w2.weight.sum() * torch.nan)
    training.rule.w2.weight.data[0] = before[2][0] = 0  # where the slope of a root is infinite
    with pytest.raises(FloatingPointError, match="norms are"):
        training.descend(training.rule.w2.weight.abs().sqrt().sum())
    assert all(map(torch.equal, training.rule.parameters(), before))


def test_natural_units_are_the_sizes_of_the_channels_in_air(city_folder):
    dataset = load_dataset(city_folder, 24)
    units = channel_units(dataset.states, 24)
    air = dataset.states[:, 2] > 0
    for channel in range(6, 12):
        size = dataset.states[:, channel][air].double().square().mean().sqrt().item()
        assert units[channel].item() == pytest.approx(size, rel=1e-4)
    assert units[3] == dataset.states[:, 3].square().mean().sqrt()
    assert (units[[0, 1, 2, 4, 5, *range(12, 24)]] == 1).all()
    vectors = channel_units(dataset.states, 24, follows_wind=True)
    assert vectors[6] == vectors[7] == units[6:8].square().mean().sqrt()
    assert vectors[12] == units[10]
    others = [*range(6), *range(8, 12), *range(13, 24)]
    assert torch.equal(vectors[others], units[others])
    dataset.states[:, 11] = 0
    assert channel_units(dataset.states)[11] == 1


def test_the_average_follows_the_weights(pool):
    training = Training(
        trained(seed=2).requires_grad_(True), pool, learning_rate=1e-2, ema_decay=0.5
    )
    expected = training.rule.w1.bias.detach().clone()
    for done in range(1, 6):
        training.descend(training.rule.w1.bias.square().sum())
        memory = min(0.5, done / (done + 9))
        expected = memory * expected + (1 - memory) * training.rule.w1.bias.detach()
    torch.testing.assert_close(training.average.w1.bias, expected)
    assert not torch.equal(training.average.w1.bias, training.rule.w1.bias)
    saved = training.state_dict()
    assert torch.equal(saved["model_state_dict"]["w1.bias"], training.average.w1.bias)
    other = Training(CA(), pool, learning_rate=1e-2, ema_decay=0.5)
    other.load_state_dict(training.state_dict())
    assert torch.equal(other.average.w1.bias, training.average.w1.bias)
    assert torch.equal(other.rule.w1.bias, training.rule.w1.bias)


def test_without_memory_the_average_is_the_rule(pool):
    training = Training(trained(seed=2).requires_grad_(True), pool, learning_rate=1e-2)
    training.descend(training.rule.w1.weight.square().sum())
    assert all(map(torch.equal, training.average.parameters(), training.rule.parameters()))
