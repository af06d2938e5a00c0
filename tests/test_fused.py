"""The GPU's kernels, as far as a CPU can: emulated they equal the rule, and they compile."""

import ctypes
import shutil
import subprocess
from contextlib import nullcontext
from copy import deepcopy
from functools import cache, partial
from types import SimpleNamespace

import pytest
import torch
from test_automaton import bounded_rule, city_state, rule_of_kind, trained, wide_rule, windward_rule
from torch import Tensor

from pinca_lib import rollout as rollout_module
from pinca_lib.automaton import CA
from pinca_lib.channels import DYNAMIC, GEO_MASK, KNOWN_COUNT, TKE
from pinca_lib.checkpoints import load_rule
from pinca_lib.datasets import load_dataset
from pinca_lib.devices import choose_device
from pinca_lib.parameters import PROJECT_ROOT
from pinca_lib.pool import fresh_states
from pinca_lib.rollout import fused, rollout

pytestmark = pytest.mark.skipif(fused is None, reason="cuda.core is not installed")
as_they_ship = partial(windward_rule, alpha=2.25)
COMPILER = shutil.which("g++")
EMULATED = """
#include "{tests}/emulated_gpu.h"
#include "{source}"
extern "C" void run(int x, int y, int z, int threads, void **given) {{
    launch({name}, {{x, y, z}}, threads, given);
}}
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    """What stands in for ``fused.launched``, with kernels that a C++ compiler makes for a CPU."""
    if COMPILER is None:
        pytest.skip("no g++")

    @cache
    def compiled(name):
        library = tmp_path_factory.mktemp("kernel") / "kernel.so"
        text = EMULATED.format(tests=PROJECT_ROOT / "tests", source=fused.SOURCE, name=name)
        macros = [f"-D{macro}={value}" for macro, value in fused.CONSTANTS.items()]
        options = ["-x", "c++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", *macros]
        subprocess.run([COMPILER, *options, "-o", library, "-"], input=text, text=True, check=True)
        return ctypes.CDLL(str(library)).run

    def launched(name, grid, threads, shared, *given):
        values = [arg.data_ptr() if isinstance(arg, Tensor) else arg or 0 for arg in given]
        places = [ctypes.c_void_p(value) for value in values]
        pointers = (ctypes.c_void_p * len(places))(*map(ctypes.addressof, places))
        few = 2 * 32 if name.startswith("step") else threads  # of which each span takes one warp
        return lambda: (places, compiled(name)(*grid, few, pointers))

    return launched


@pytest.fixture
def emulated(emulator, monkeypatch):
    """Let rollouts on a CPU take the kernels; a list to which each launch adds its name."""
    calls = []

    def launched(name, *about):
        kernel = emulator(name, *about)
        return lambda: (calls.append(name), kernel())

    monkeypatch.setattr(fused, "launched", launched)
    monkeypatch.setattr(fused, "_multiprocessors", lambda device: 2)
    monkeypatch.setattr(torch.cuda, "device_of", nullcontext)
    monkeypatch.setattr(rollout_module, "compiled", None)
    monkeypatch.setattr(fused, "runs_on", lambda *about: True)
    return calls


def applied(rules, state, steps):
    """Return what becomes of a state by the rules themselves."""
    for _ in range(steps):
        for rule in rules:
            state = rule(state)
    return state


def of_each(kinds):
    return [kind(seed=seed) for seed, kind in enumerate(kinds, 1)]


@pytest.mark.parametrize(
    "kinds",
    [
        (trained, bounded_rule),
        (partial(trained, 12),),
        (wide_rule, windward_rule),
        (partial(as_they_ship, scale=4, hidden=192), as_they_ship),
        (partial(rule_of_kind, hidden=200, alpha=2.25), partial(as_they_ship, hidden=100)),
    ],
)
@pytest.mark.parametrize("size", [(3, 3), (9, 11), (16, 8)])
def test_emulated_the_kernels_equal_the_rule_itself(kinds, size, emulated):
    rules, state = of_each(kinds), city_state(2, height=size[0], width=size[1])
    state = state[:, : rules[0].channels]
    ours, expected = rollout(rules, state, 3), applied(rules, state, 3)
    assert sum(name.startswith("step") for name in emulated) == 3 * len(kinds)
    assert (ours - expected).norm() < 1e-6 * expected.norm()
    assert torch.equal(ours[:, :6], state[:, :6])


@pytest.mark.parametrize("kind", [trained, bounded_rule])
@pytest.mark.parametrize("channel", [TKE, 15])
def test_what_is_not_a_number_stays_so(channel, kind, emulated):
    state = city_state(1, height=9, width=9)
    state[:, GEO_MASK] = 1
    state[0, channel, 4, 4] = torch.nan
    ours, expected = rollout([kind()], state, 2), applied([kind()], state, 2)
    assert emulated
    assert torch.equal(ours.isnan(), expected.isnan())
    assert 0 < expected.isnan().sum() < expected.numel() / 2


@pytest.mark.parametrize("recorded", [1, 2])
def test_recorded_steps_do_without_it_and_their_gradient_is_the_rules(recorded, emulated):
    rules = [as_they_ship(seed=1).requires_grad_(False), trained().requires_grad_(True)]
    state = city_state(1, height=6, width=7)
    before = rollout(rules, state, 3 - recorded).detach()
    emulated.clear()
    ours = rollout(rules, state, 3, recorded=recorded)
    assert len(emulated) == 2 * (3 - recorded)
    weights = list(rules[1].parameters())
    found = ours, applied(rules, before, recorded)
    mine, theirs = (torch.autograd.grad(after.square().sum(), weights) for after in found)
    for own, expected in zip(mine, theirs, strict=True):
        assert (own - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("changed", ["is_cuda", "hip", "dtype", "capability", "works"])
def test_only_float32_on_an_nvidia_gpu_that_proved_itself_takes_the_kernel(changed, monkeypatch):
    state = SimpleNamespace(
        is_cuda=changed != "is_cuda",
        device=torch.device("cuda"),
        dtype=torch.float64 if changed == "dtype" else torch.float32,
    )
    monkeypatch.setattr(torch.version, "hip", "7.0" if changed == "hip" else None)
    capability = (7, 5) if changed == "capability" else (8, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(fused, "_works", lambda *about: changed != "works")
    rule = CA()
    assert not fused.runs_on(state, rule)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(fused, "_works", lambda *about: True)
    sound = SimpleNamespace(is_cuda=True, device=torch.device("cuda"), dtype=torch.float32)
    assert fused.runs_on(sound, rule)
    assert not fused.runs_on(sound, CA(KNOWN_COUNT - 1))


@pytest.mark.parametrize(
    "kind",
    [
        (12, 1, False, 1, False),
        (24, 192, True, 4, True),
        (46, 96, True, 1, True),
        (24, 96, False, 2, True),
    ],
)
def test_where_it_is_right_it_is_taken(kind, emulated):
    assert fused._works.__wrapped__(torch.device("cpu"), *kind)


@pytest.mark.usefixtures("emulated")
def test_where_it_is_wrong_it_is_not_taken(monkeypatch):
    advance = fused.advance
    monkeypatch.setattr(fused, "advance", lambda *given: 1.001 * advance(*given))
    with pytest.warns(UserWarning, match=r"it is off by 0\.001 of the rule itself"):
        assert not fused._works.__wrapped__(torch.device("cpu"), 13, 5, False, 1, False)


def test_where_it_fails_it_is_not_taken():
    with pytest.warns(UserWarning, match=r"no kernel for cpu \(.+\): plain PyTorch, slower"):
        assert not fused._works.__wrapped__(torch.device("cpu"), 24, 96, True, 1, True)


def product(a, b, precision):
    """Multiply as the kernel does: of what TF32 leaves over all but the product of both rests."""
    large, large_b = rounded(a), rounded(b)
    found = large @ large_b
    if precision == "three of tf32":
        found = cut_off(a - large) @ large_b + large @ cut_off(b - large_b) + found
    return found


def rounded(values):
    """Round to TF32."""
    return cut_off((values.contiguous().view(torch.int32) + 2**12).view(torch.float32))


def cut_off(values):
    """Do what the hardware does with what is no TF32."""
    return (values.contiguous().view(torch.int32) & -(2**13)).view(torch.float32)


def test_three_products_of_tf32_are_as_exact_as_one_of_float32(monkeypatch):
    rules = [load_rule("rule", f"data/pretrained/{name}_nca.pth") for name in ("init", "pi")]
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


@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_90", "sm_120"])
@pytest.mark.parametrize("follows_wind", [False, True])
def test_it_compiles_for_each_generation_and_its_weights_fit(architecture, follows_wind):
    about = fused._layout(24, 96, follows_wind, torch.device("cpu"))
    assert 4 * about.weights.shape[1] <= 99 * 2**10  # what the least of them lets a block have
    name = "step<{}, {}, {}, {}, {}, true>".format(*about.parts, about.units, *about.tiles)
    assert fused.compiled(name, architecture).code
