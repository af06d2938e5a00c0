"""The kernels of a GPU, tested on a CPU: interpreted they equal the rule, and they compile."""

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from small_rules import bounded_rule, city_state, trained, wide_rule, windward_rule

from pinca_lib.automaton.rule import CA
from pinca_lib.channels import DYNAMIC, GEO_MASK, TKE, fresh_states
from pinca_lib.datasets.dataset import load_dataset
from pinca_lib.rollouts import dispatch
from pinca_lib.rollouts.dispatch import fused, rollout
from pinca_lib.rollouts.trial import Kind
from pinca_lib.runs.checkpoints import load_rules
from pinca_lib.runs.devices import choose_device
from pinca_lib.runs.parameters import PROJECT_ROOT

pytestmark = pytest.mark.skipif(fused is None, reason="Triton is not installed")
as_they_ship = partial(windward_rule, alpha=2.25)


@pytest.fixture(scope="module")
def interpreted():
    """A process in which Triton interprets kernels on CPU tensors."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        with patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):
            process.submit(int).result()
        yield process


@contextmanager
def kernel_taken():
    """Let rollouts on a CPU use the kernels; yield a list that grows with each call."""
    calls, apply = [], fused.RuleOnGPU.apply

    def counted(self, own, new, first_odd):
        calls.append(own.shape)
        return apply(self, own, new, first_odd)

    with (
        patch.object(dispatch, "compiled", None),
        patch.object(fused, "runs_on", lambda *about: True),
        patch.object(fused.RuleOnGPU, "apply", counted),
    ):
        yield calls


def applied(rules, state, steps):
    """Return the state after a number of steps of the rules themselves."""
    for _ in range(steps):
        for rule in rules:
            state = rule(state)
    return state


def fused_and_expected(kinds, state, steps):
    """Return the rollout with kernels, that of the rules themselves, and the number of calls."""
    rules = [kind(seed=seed) for seed, kind in enumerate(kinds, 1)]
    state = state[:, : rules[0].channels]
    with kernel_taken() as calls:
        ours = rollout(rules, state, steps)
    return ours, applied(rules, state, steps), len(calls)


@pytest.mark.parametrize(
    "kinds",
    [
        (trained, bounded_rule),
        (partial(trained, 12),),
        (wide_rule, windward_rule),
        (partial(as_they_ship, scale=4), as_they_ship),
    ],
)
@pytest.mark.parametrize("size", [(3, 3), (9, 11), (16, 8)])
def test_interpreted_the_kernel_equals_the_rule_itself(kinds, size, interpreted):
    state = city_state(2, height=size[0], width=size[1])
    ours, expected, calls = interpreted.submit(fused_and_expected, kinds, state, 3).result()
    assert calls == 3 * len(kinds)
    assert (ours - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("kind", [trained, bounded_rule])
@pytest.mark.parametrize("channel", [TKE, 15])
def test_nan_spreads_as_in_the_rule_itself(channel, kind, interpreted):
    state = city_state(1, height=9, width=9)
    state[:, GEO_MASK] = 1
    state[0, channel, 4, 4] = torch.nan
    ours, expected, _ = interpreted.submit(fused_and_expected, [kind], state, 2).result()
    assert torch.equal(ours.isnan(), expected.isnan())
    assert 0 < expected.isnan().sum() < expected.numel() / 2


def gradients(recorded):
    """Return the gradients through the last of three steps, with kernels and without, and calls."""
    rules = [as_they_ship(seed=1).requires_grad_(False), trained().requires_grad_(True)]
    state = city_state(1, height=6, width=7)
    before = rollout(rules, state, 3 - recorded).detach()
    with kernel_taken() as calls:
        ours = rollout(rules, state, 3, recorded=recorded)
    weights = list(rules[1].parameters())
    found = ours, applied(rules, before, recorded)
    mine, theirs = (torch.autograd.grad(after.square().sum(), weights) for after in found)
    return mine, theirs, len(calls)


@pytest.mark.parametrize("recorded", [1, 2])
def test_recorded_steps_use_no_kernel_and_have_the_gradient_of_the_rule(recorded, interpreted):
    mine, theirs, calls = interpreted.submit(gradients, recorded).result()
    assert calls == 2 * (3 - recorded)
    for own, expected in zip(mine, theirs, strict=True):
        assert (own - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("changed", ["is_cuda", "hip", "dtype", "capability", "works"])
def test_only_float32_on_an_nvidia_gpu_that_passed_the_trial_uses_the_kernel(changed, monkeypatch):
    state = SimpleNamespace(
        is_cuda=changed != "is_cuda",
        device=torch.device("cuda"),
        dtype=torch.float64 if changed == "dtype" else torch.float32,
    )
    monkeypatch.setattr(torch.version, "hip", "7.0" if changed == "hip" else None)
    capability = (7, 5) if changed == "capability" else (8, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(fused, "_is_trusted", lambda *about: changed != "works")
    rule = CA()
    assert not fused.runs_on(state, rule)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(fused, "_is_trusted", lambda *about: True)
    sound = SimpleNamespace(is_cuda=True, device=torch.device("cuda"), dtype=torch.float32)
    assert fused.runs_on(sound, rule)


def test_a_kernel_that_fails_is_not_used():
    with pytest.warns(UserWarning, match=r"no kernel for cpu \(.+\): using plain PyTorch"):
        assert not fused._is_trusted(torch.device("cpu"), Kind(24, 96, True, 1, True))


@pytest.mark.parametrize(
    "kind",
    [
        (12, 1, False, 1, False),
        (24, 192, True, 4, True),
        (46, 96, True, 1, True),
        (24, 96, False, 2, True),
    ],
)
def test_a_kernel_that_is_right_is_used(kind, interpreted):
    assert interpreted.submit(fused._is_trusted, torch.device("cpu"), Kind(*kind)).result()


def works_when_off():
    """Return the result of the trial for kernels with a relative error of 0.001."""
    advance = fused.advance
    with patch.object(fused, "advance", lambda *given: 1.001 * advance(*given)):
        return fused._is_trusted(torch.device("cpu"), Kind(13, 5, False, 1, False))


def test_a_kernel_that_is_wrong_is_not_used(interpreted):
    assert not interpreted.submit(works_when_off).result()


def works_when_coarse_cells_fail():
    """Return the result of the trial for coarse cells when the averaging kernel is missing."""
    with patch.object(fused, "average", None):
        return fused._is_trusted(torch.device("cpu"), Kind(13, 5, True, 4, True))


def test_the_trial_includes_the_kernels_for_coarse_cells(interpreted):
    assert not interpreted.submit(works_when_coarse_cells_fail).result()


def test_rules_that_would_take_minutes_to_compile_use_no_kernel(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(fused, "_is_trusted", lambda *about: True)
    state = SimpleNamespace(is_cuda=True, device=torch.device("cuda"), dtype=torch.float32)
    assert fused.runs_on(state, CA(hidden=fused.MOST_HIDDEN))
    assert not fused.runs_on(state, CA(hidden=fused.MOST_HIDDEN + 1))


def product(a, b, precision):
    """Multiply as the kernel does: three TF32 products, without that of the two remainders."""
    large, (large_b, rest_b) = fused._as_tf32(a), fused._in_two(b[None, None])[0, 0]
    found = large @ large_b
    if precision == "three of tf32":
        rest = ((a - large).view(torch.int32) & fused.KEPT).view(
            torch.float32
        )  # cut off, as by the hardware
        found = rest @ large_b + large @ rest_b + found
    return found


def test_three_tf32_products_are_as_exact_as_one_float32_product(monkeypatch):
    rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
    state = fresh_states(load_dataset(PROJECT_ROOT / "data" / "test", 64).states[:1])
    doubled = [deepcopy(rule).double() for rule in rules]
    exact, errors = applied(doubled, state.double(), 16)[:, DYNAMIC], {}

    for precision in ("float32", "three of tf32", "tf32"):

        def update(self, perception, precision=precision):
            w1, bias, w2 = self.layers()
            hidden = torch.relu(
                product(perception.movedim(1, -1), w1.flatten(1).T, precision) + bias
            )
            return product(hidden, w2.T, precision).movedim(-1, 1)

        with monkeypatch.context() as patched, torch.no_grad():
            if precision != "float32":
                patched.setattr(CA, "update", update)
            found = applied(rules, state, 16)[:, DYNAMIC]
        errors[precision] = ((found - exact).norm() / exact.norm()).item()
    assert errors["three of tf32"] < 1.5 * errors["float32"] < 1e-6 < errors["tf32"] / 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kinds", [(trained,), (partial(as_they_ship, scale=4), as_they_ship)])
@pytest.mark.parametrize("steps", [1, 16, 19])
def test_on_a_gpu_the_rollout_equals_the_rule_itself(kinds, steps):
    device = choose_device("cuda")
    rules = [kind(seed=seed).to(device) for seed, kind in enumerate(kinds, 1)]
    state = city_state(2, height=24, width=40).to(device)
    assert all(fused.runs_on(state, rule) for rule in rules)
    ours, expected = rollout(rules, state, steps), applied(rules, state, steps)
    assert (ours - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize(
    ("capability", "shared", "follows_wind", "stays"),
    [(80, 82, False, False), (86, 49, True, False), (90, 113, False, True), (90, 113, True, False)],
)
def test_it_compiles_for_each_generation_and_two_programs_fit_into_shared_memory(
    capability, shared, follows_wind, stays
):
    from triton import compile as compiled_for
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    places = fused._places(24, follows_wind, torch.device("cpu"))
    pointers = ("own", "new", "constant", "first", "second", "air", "winds")
    constants = {"FIRST_ODD": places.first_odd, "STRIDE": places.stride, "HIDDEN": 96, "PADDED": 96,
                 "TILE": places.second.shape[1], "CELLS": fused.CELLS, "UNITS": fused.UNITS,
                 "GROUP": fused.GROUP, "STAYS": stays, "ADDS": True, "FOLLOWS": follows_wind,
                 "ALPHA": 2.25}  # fmt: skip
    types = {name: "*fp32" if name in pointers else "i32" for name in fused.step.arg_names}
    source = ASTSource(fused.step, types | dict.fromkeys(constants, "constexpr"), constants)
    found = compiled_for(
        source, target=GPUTarget("cuda", capability, 32), options={"num_stages": 1}
    )
    assert found.asm["cubin"]
    assert found.metadata.shared <= (shared - 1) * 1024
    assert ".tf32" in found.asm["ptx"]
