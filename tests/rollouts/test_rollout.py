"""Rollouts and their gradients equal those of the rule, compiled and in plain PyTorch."""

import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import pytest
import torch
from reference import conv_step
from small_rules import bounded_rule, city_state, trained, wide_rule, windward_rule

from pinca_lib.automaton.rule import CA
from pinca_lib.automaton.wind_frame import even_and_odd
from pinca_lib.channels import (
    BASE_COUNT,
    DWDZ,
    DYNAMIC,
    FLUX,
    KNOWN_COUNT,
    SPEED,
    TKE,
    U,
    V,
    fresh_states,
)
from pinca_lib.datasets.dataset import load_dataset
from pinca_lib.rollouts import dispatch
from pinca_lib.rollouts.cpu import compiled, grids, kernels, teams
from pinca_lib.rollouts.cpu.prepared import LayerGradient
from pinca_lib.rollouts.dispatch import rollout
from pinca_lib.runs.checkpoints import load_rules
from pinca_lib.runs.parameters import PROJECT_ROOT


@pytest.fixture(params=["compiled", "plain PyTorch"], autouse=True)
def path(request, monkeypatch):
    """Run every test with compiled loops and with plain PyTorch."""
    if request.param == "plain PyTorch":
        monkeypatch.setattr(dispatch, "compiled", None)
    else:
        assert dispatch.compiled, "Numba is missing"
    return request.param


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 3, 3), (6, 16, 16), (2, 5, 37), (3, 41, 64)]
)
def test_it_equals_the_rule_applied_step_by_step(batch, height, width):
    first, second = trained(seed=1), trained(seed=2)
    state = city_state(batch, height=height, width=width)
    expected = state
    for _ in range(8):
        expected = second(first(expected))
    torch.testing.assert_close(rollout([first, second], state, 8), expected, atol=1e-4, rtol=1e-4)


def assert_equals_the_rules(rules, state, steps=4, error=1e-5, gradient_checkpoints=0):
    """Compare states and gradients with those of the rules applied step by step."""
    expected = state
    for _ in range(steps):
        for rule in rules:
            expected = rule(expected)
    ours = rollout(rules, state, steps, steps, gradient_checkpoints)
    assert (ours - expected).norm() < error * expected.norm()
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)).to(state)
    for rule in rules:
        mine, theirs = (gradient(rule, (found * weights).sum()) for found in (ours, expected))
        assert (mine - theirs).norm() <= error * theirs.norm()


def windward_wide(seed):
    return windward_rule(seed, scale=4)


KINDS = [
    (trained, bounded_rule),
    (wide_rule, bounded_rule),
    (bounded_rule, wide_rule),
    (wide_rule,),
    (windward_wide, trained),
    (wide_rule, windward_rule),
]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("size", [(9, 12), (16, 8), (3, 3), (3, 5), (48, 40)])
def test_rules_of_every_kind_equal_the_rule_itself_gradients_included(kinds, size):
    rules = [kind(seed=seed).requires_grad_(True) for seed, kind in enumerate(kinds, 1)]
    assert_equals_the_rules(rules, city_state(2, height=size[0], width=size[1]))


@pytest.mark.parametrize("kinds", KINDS)
def test_rules_equal_the_rule_itself_with_gradient_checkpoints(kinds):
    rules = [kind(seed=seed).requires_grad_(True) for seed, kind in enumerate(kinds, 1)]
    assert_equals_the_rules(rules, city_state(2, height=9, width=12), gradient_checkpoints=2)


def test_batches_that_are_split_into_groups_equal_the_rule_itself():
    rules = [windward_wide(1).requires_grad_(True), bounded_rule(2).requires_grad_(True)]
    assert_equals_the_rules(rules, city_state(3, height=128, width=130), steps=2)


def test_a_rule_with_a_single_coarse_cell_equals_the_rule_itself():
    rules = [wide_rule(1).requires_grad_(True), bounded_rule(2).requires_grad_(True)]
    assert_equals_the_rules(rules, city_state(1, height=4, width=3))


@pytest.mark.parametrize("scale", [2, 3, 5])
def test_coarse_cells_of_any_scale_over_cells_that_are_partly_open_equal_the_rule_itself(scale):
    state = city_state(2, height=11, width=14)
    state[:, 2] *= 0.3
    rules = [wide_rule(1, scale).requires_grad_(True), bounded_rule(2).requires_grad_(True)]
    assert_equals_the_rules(rules, state)


def test_the_gradient_of_the_last_steps_through_a_frozen_rule_equals_that_of_the_rules():
    frozen = windward_rule(1, alpha=2.25, scale=4).requires_grad_(False)
    rule = windward_rule(2, alpha=2.25).requires_grad_(True)
    state = city_state(2, height=16, width=24)
    before = rollout([frozen, rule], state, 3).detach()
    expected = before
    for _ in range(4):
        expected = rule(frozen(expected))
    ours = rollout([frozen, rule], state, 7, recorded=4)
    mine, theirs = (gradient(rule, found.square().sum()) for found in (ours, expected))
    assert (ours - expected).norm() < 1e-5 * expected.norm()
    assert (mine - theirs).norm() < 1e-5 * theirs.norm()


def test_all_kinds_equal_the_rule_itself_in_double_precision():
    kinds = (wide_rule(1), bounded_rule(2), windward_rule(3))
    rules = [rule.double().requires_grad_(True) for rule in kinds]
    assert_equals_the_rules(rules, city_state(2, height=13, width=9).double(), error=1e-13)


@pytest.mark.parametrize("batch", [1, 9])
def test_rules_of_the_shipped_kinds_equal_the_rule_itself_for_many_winds(batch):
    rules = [windward_rule(1, alpha=2.25, scale=4), windward_rule(2, alpha=2.25)]
    state = city_state(batch, height=24, width=24)
    state[0, 4:6] = 0
    assert_equals_the_rules([rule.requires_grad_(True) for rule in rules], state)


@pytest.mark.parametrize("rule", [trained(12), windward_rule(channels=13, units=None)])
def test_rules_of_fewer_channels_equal_the_rule_itself(rule):
    state = city_state(2, channels=rule.channels)
    assert_equals_the_rules([rule.requires_grad_(True)], state)


def test_a_new_rule_equals_the_rule_itself_where_hidden_channels_are_at_their_limit():
    """A new rule adds nothing, so the values that an Init-NCA has limited stay at the limit."""
    rule, state = bounded_rule().requires_grad_(True), city_state(2, height=12, width=12)
    torch.nn.init.zeros_(rule.w2.weight)
    state[:, 12:] = (2 * state[:, 12:]).clamp(-3, 3)
    assert (state[:, 12:].abs() == 3).any()
    assert_equals_the_rules([rule], state)


def test_no_bound_is_broken_in_the_last_bit():
    state = city_state(2, height=64, width=64)
    air = state[:, 2] > 0
    after = rollout([bounded_rule()], state, 5).double()
    u, v, speed, tke, flux = after[:, 6:11].transpose(0, 1)[:, air]
    assert (tke >= 0).all()
    assert (flux.abs() <= 2.25 * tke).all()
    assert (speed >= torch.hypot(u, v)).all()


@pytest.mark.parametrize("mask", [0.0, 1.0])
@pytest.mark.parametrize("kinds", KINDS)
def test_it_works_where_all_is_air_or_all_is_building(kinds, mask):
    rules = [kind(seed=seed).requires_grad_(True) for seed, kind in enumerate(kinds, 1)]
    state = city_state(2, height=9, width=10)
    state[:, 2] = mask
    assert_equals_the_rules(rules, state, steps=3)
    assert torch.equal(rollout(rules, state, 3), state) == (mask == 0)


def test_zero_steps_return_the_state_and_no_rollout_changes_its_input():
    state = city_state()
    kept = state.clone()
    assert torch.equal(rollout([trained()], state, 0), state)
    rollout([trained()], state, 3)
    assert torch.equal(state, kept)


def gradient(rule: CA, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, list(rule.parameters()), retain_graph=True)]
    )


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


@pytest.mark.parametrize("gradient_checkpoints", [0, 1, 2, 16])
@pytest.mark.parametrize("recorded", [3, 7])
def test_gradients_through_the_last_steps_equal_the_full_graphs(recorded, gradient_checkpoints):
    rule, state = trained(seed=3).requires_grad_(True), city_state(2)
    expected = state
    for step in range(7):
        if step == 7 - recorded:
            expected = expected.detach()
        expected = conv_step(expected, dict(rule.named_parameters()))
    ours = rollout([rule], state, 7, recorded, gradient_checkpoints)
    torch.testing.assert_close(
        gradient(rule, ours.square().mean()),
        gradient(rule, expected.square().mean()),
        atol=1e-4,
        rtol=1e-3,
    )


@pytest.mark.parametrize("gradient_checkpoints", [1, 3, 10, 99])
def test_gradient_checkpoints_change_neither_state_nor_gradient(gradient_checkpoints, path):
    rules = [windward_wide(1), bounded_rule(2).requires_grad_(True)]  # an Init-NCA is frozen
    found = []
    for segments in (0, gradient_checkpoints):
        after = rollout(rules, city_state(2), 20, 16, segments)
        found.append((after.detach(), gradient(rules[1], after.square().mean())))
    (state, expected), (same_state, ours) = found
    assert torch.equal(state, same_state)
    assert expected.abs().max() > 0
    # Compiled loops sum the gradient over each segment first, so they round differently.
    error = 0 if path == "plain PyTorch" else 1e-6
    assert (ours - expected).norm() <= error * expected.norm()


@pytest.mark.parametrize(("recorded", "segments"), [(16, 4), (16, 10), (3, 16), (16, 1)])
def test_there_are_as_many_segments_as_asked_for(recorded, segments, monkeypatch):
    lengths, checkpoint = [], dispatch.checkpoint

    def counted(advance, state, steps, **options):
        lengths.append(steps)
        return checkpoint(advance, state, steps, **options)

    monkeypatch.setattr(dispatch, "checkpoint", counted)
    rollout([trained().requires_grad_(True)], city_state(1), 20, recorded, segments)
    assert len(lengths) == min(recorded, segments)
    assert sum(lengths) == recorded
    assert max(lengths) - min(lengths) <= 1


def test_gradients_through_several_rules_reach_all_of_them():
    rules = [trained(seed=1).requires_grad_(True), trained(seed=2).requires_grad_(True)]
    state = city_state(2, height=5, width=9)
    expected = state
    for _ in range(3):
        for rule in rules:
            expected = conv_step(expected, dict(rule.named_parameters()))
    ours = rollout(rules, state, 3, recorded=3)
    weights = torch.randn(expected.shape)
    wanted = [*rules[0].parameters(), *rules[1].parameters()]
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_double_precision_is_kept():
    rule, state = trained(seed=4).double(), city_state(2, height=7, width=11).double()
    expected = state
    for _ in range(20):
        expected = rule(expected)
    torch.testing.assert_close(rollout([rule], state, 20), expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(
    "widths", [(16, 33), (1, 10_000)]
)  # many cells per block, and one cell per block
def test_rules_of_other_widths_and_states_of_other_depths(widths):
    torch.manual_seed(0)
    rules = [CA(12, hidden).requires_grad_(False) for hidden in widths]
    for rule in rules:
        torch.nn.init.normal_(rule.w2.weight, std=0.1 * len(rule.w1.bias) ** -0.5)
    state = city_state()[:, :12]
    expected = state
    for _ in range(4):
        expected = rules[1](rules[0](expected))
    torch.testing.assert_close(rollout(rules, state, 4), expected, atol=1e-5, rtol=1e-5)


def test_partly_open_cells_move_in_part():
    rule, state = trained(), city_state()
    state[:, 2] *= 0.3
    torch.testing.assert_close(rollout([rule], state, 1), rule(state), atol=1e-5, rtol=1e-5)


def test_rounding_does_not_grow_in_a_rollout_of_the_shipped_rules():
    rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
    cases = load_dataset(PROJECT_ROOT / "data" / "train").states[:2]
    ours = exact = fresh_states(cases)
    exact, doubled = exact.double(), [deepcopy(rule).double() for rule in rules]
    for steps in (32, 268):
        ours, exact = rollout(rules, ours, steps), rollout(doubled, exact, steps)
        assert (ours - exact)[:, DYNAMIC].norm() < 1e-5 * exact[:, DYNAMIC].norm()


@pytest.mark.parametrize("channel", [6, 8, 9, 10, 15])
@pytest.mark.parametrize(
    "kind", [trained, bounded_rule, wide_rule, partial(windward_rule, alpha=2.25)]
)
def test_nan_spreads_as_in_the_rule_itself(kind, channel):
    rule, state = kind(seed=1), city_state(1)
    state[:, 2] = 1
    state[0, channel, 4, 4] = torch.nan
    expected = rule(rule(rule(state))).isnan()
    assert torch.equal(rollout([rule], state, 3).isnan(), expected)
    assert expected.sum() > 1


def test_rollouts_in_several_threads_do_not_disturb_each_other():
    rules = [trained(seed=seed) for seed in range(4)]
    state = city_state(2, height=32, width=32)
    expected = [rollout([rule], state, 10) for rule in rules]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda rule: rollout([rule], state, 10), rules))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def blas_threads(*_):
    return [blas["num_threads"] for blas in teams._blas().info() if blas["user_api"] == "blas"]


def test_blas_has_one_thread_in_a_rollout_and_its_usual_number_afterwards(path):
    if path != "compiled":
        return pytest.skip("PyTorch shares its products itself")

    def one(_):
        with teams.gathered() as team:
            return team(blas_threads, 1)[0]

    before = blas_threads()
    with ThreadPoolExecutor(4) as pool:
        within = list(pool.map(one, range(20)))
    assert set(sum(within, [])) == {1}
    assert blas_threads() == before


def test_the_sums_of_a_gradient_are_computed_with_one_blas_thread(path, monkeypatch):
    if path != "compiled":
        return pytest.skip("PyTorch shares its products itself")
    rules = [rule.requires_grad_(True) for rule in (windward_rule(), trained())]
    rollout(rules, city_state(1), 1, recorded=1)  # the trial is over
    within, layers = [], LayerGradient.layers
    monkeypatch.setattr(
        LayerGradient, "layers", lambda *own: (within.extend(blas_threads()), layers(*own))[1]
    )
    rollout(rules, city_state(1), 2, recorded=2).sum().backward()
    assert len(within) == len(rules) * len(blas_threads())
    assert set(within) == {1}


def test_more_threads_than_cells_change_nothing():
    rule, state = trained(), city_state(1, height=3, width=3)
    expected, threads = rollout([rule], state, 5), torch.get_num_threads()
    try:
        torch.set_num_threads(16)
        torch.testing.assert_close(rollout([rule], state, 5), expected)
    finally:
        torch.set_num_threads(threads)


def test_steps_without_a_gradient_are_not_recorded(monkeypatch, path):
    rule, state, kept = trained().requires_grad_(True), city_state(1), []
    if path == "compiled":
        apply = compiled._Advance.apply
        monkeypatch.setattr(
            compiled._Advance,
            "apply",
            lambda dynamic, rules, steps, recorded, *layers: (
                kept.extend([recorded] * steps),
                apply(dynamic, rules, steps, recorded, *layers),
            )[1],
        )
    assert rollout([rule], state, 5, recorded=2).requires_grad
    assert kept == ([False] * 3 + [True] * 2 if path == "compiled" else [])
    with torch.no_grad():
        assert not rollout([rule], state, 2, recorded=2).requires_grad


def test_gradient_checkpoints_store_fewer_states():
    rule, state = trained().requires_grad_(True), city_state(1, height=24, width=24)

    def kept(gradient_checkpoints):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda saved: sizes.append(saved.numel()) or saved, lambda saved: saved
        ):
            rollout([rule], state, 25, 25, gradient_checkpoints)
        return sum(size for size in sizes if size >= state[0, 6:].numel())

    assert 0 < kept(5) < kept(0) / 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_that_blas_does_not_support_use_plain_pytorch(dtype):
    rule, state = trained().to(dtype), city_state(1).to(dtype)
    torch.testing.assert_close(rollout([rule], state, 1), rule(state), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    "context", [torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta")]
)
def test_neither_autocast_nor_a_default_device_changes_anything_nor_fails_the_trial(context):
    rules, state = [trained(), windward_rule(2)], city_state(2)
    expected = rollout(rules, state, 3)
    dispatch._is_trusted.cache_clear()
    with context:
        assert torch.equal(rollout(rules, state, 3), expected)


def test_a_transposed_state_uses_the_machine_code_of_the_trial():
    rules, state = [windward_wide(1), bounded_rule(2)], city_state(2, height=9, width=12)
    expected, compilations = rollout(rules, state, 2), len(grids.march.signatures)
    torch.testing.assert_close(rollout(rules, state.mT.contiguous().mT, 2), expected)
    assert len(grids.march.signatures) == compilations


def test_if_one_thread_fails_the_team_waits_for_the_others(path, monkeypatch):
    if path != "compiled":
        return pytest.skip("PyTorch has threads of its own")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    ended = []

    def work(first, last):
        if first == 0:
            raise ArithmeticError
        time.sleep(0.2)
        ended.append(last)

    with pytest.raises(ArithmeticError), teams.gathered() as team:
        team(work, 6)
    assert sorted(ended) == [4, 6]


def test_an_interrupt_that_numba_hides_is_an_interrupt():
    def work(first, last):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error

    with pytest.raises(KeyboardInterrupt), teams.gathered() as team:
        team(work, 6)


@pytest.mark.skipif(os.name == "nt", reason="a signal for one process alone")
def test_an_interrupt_ends_a_rollout_and_the_next_one_works():
    code = (
        "import threading, signal, torch; from benchmarks.contenders import random_rule\n"
        "from pinca_lib import rollout\n"
        "state, rules = torch.ones(1, 24, 64, 64), [random_rule(0)]\n"
        "rollout(rules, state, 1)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()\n"
        "try: rollout(rules, state, 10**9)\n"
        "except KeyboardInterrupt: print(rollout(rules, state, 1).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "torch.Size([1, 24, 64, 64])", done.stderr


def test_an_empty_batch_stays_empty():
    assert rollout([trained()], city_state(2)[:0], 3).shape == city_state(2)[:0].shape


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_process_rolls_out_after_its_parent_has():
    code = (
        "import os, signal, torch; from benchmarks.contenders import both_rules, random_rule\n"
        "from pinca_lib.rollouts.dispatch import rollout\n"
        "torch.set_num_threads(2); state = torch.ones(12, 24, 64, 64)\n"  # PyTorch's threads, too
        "rules = [*both_rules(), random_rule(0)]; rollout(rules, state, 2)\n"
        "if not (child := os.fork()): signal.alarm(60); rollout(rules, state, 2); os._exit(0)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr


def test_a_rule_with_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="the rule has 12 channels, but the state has 24"):
        rollout([CA(12)], city_state(), 1)


@pytest.mark.parametrize("other", [torch.float64, torch.device("meta")])
def test_a_rule_of_another_precision_or_device_than_the_state_is_refused(other):
    message = r"the rule is torch.float\d\d on \w+, but the state is torch.float32 on cpu"
    with pytest.raises(ValueError, match=message):
        rollout([CA().to(other)], city_state(), 1)


def test_a_rollout_without_rules_is_refused():
    with pytest.raises(ValueError, match="a rollout needs at least one rule"):
        rollout([], city_state(), 1)


def test_without_numba_plain_pytorch_takes_over():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import torch; from pinca_lib import CA, rollout\n"
        "from pinca_lib.rollouts import dispatch; assert dispatch.compiled is None\n"
        "print(rollout([CA()], torch.ones(1, 24, 8, 8), 2).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("torch.Size([1, 24, 8, 8])"), done.stderr
    assert "UserWarning: no compiled code (" in done.stderr


@pytest.mark.parametrize("recorded", [0, 2])
@pytest.mark.parametrize("broken", ["an error", "a wrong result"])
def test_loops_that_fail_their_trial_are_not_used(broken, recorded, monkeypatch):
    march = grids.march

    def failing(*given):
        if broken == "an error":
            raise TypeError("cannot unify float32 and array(float32, 1d)\nand so on")
        march(*given)
        given[-1][...] *= 1.01

    dispatch._is_trusted.cache_clear()
    monkeypatch.setattr(grids, "march", failing)
    rule, state = trained(seed=4).requires_grad_(bool(recorded)), city_state(2)
    expected = rule(rule(state))
    if dispatch.compiled is None:
        found = rollout([rule], state, 2, recorded)
    else:
        reason = "cannot unify" if broken == "an error" else "its relative error is"
        with pytest.warns(UserWarning, match=rf"no compiled code \({reason}.*using plain PyTorch"):
            found = rollout([rule], state, 2, recorded)
    torch.testing.assert_close(found, expected)
    assert found.requires_grad == bool(recorded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout([rule], state, 2, recorded)  # the trial is made once
    dispatch._is_trusted.cache_clear()


def test_a_trial_leaves_the_random_numbers_alone():
    dispatch._is_trusted.cache_clear()
    rule, state = trained(), city_state()
    before = torch.get_rng_state()
    rollout([rule], state, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_kernels_know_the_places_of_channels_among_any_number():
    for count in range(6, 41):
        evens, odds = even_and_odd(BASE_COUNT + count, DYNAMIC)
        assert evens[:5] == [U, FLUX, SPEED, TKE, DWDZ]
        assert evens[kernels.TKE_AT] == TKE
        from_hidden = {*evens[kernels.HIDDEN_AT :], *odds}
        assert from_hidden - {V} == set(range(KNOWN_COUNT, BASE_COUNT + count))
        assert odds[0] == V
