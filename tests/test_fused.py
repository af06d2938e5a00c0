"""The GPU's kernel, as far as a CPU can: interpreted it equals the rule, and it compiles."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from unittest.mock import patch

import pytest
import torch
from test_automaton import bounded_rule, city_state, trained, wide_rule, windward_rule

from pinca_lib import rollout as rollout_module
from pinca_lib.rollout import fused, rollout

pytestmark = pytest.mark.skipif(fused is None, reason="Triton is not installed")
as_they_ship = partial(windward_rule, alpha=2.25)


@pytest.fixture(scope="module")
def interpreted():
    """A process in which Triton interprets kernels, on arrays of the CPU."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        with patch.dict(os.environ, {"TRITON_INTERPRET": "1"}):
            process.submit(int).result()
        yield process


def fused_and_expected(kinds, state, steps):
    """Return the rollout by the kernel, that by the rules themselves, and how often it ran."""
    rules, calls = [kind(seed=seed) for seed, kind in enumerate(kinds, 1)], []
    apply = fused.Increment.__call__

    def counted(self, own):
        calls.append(own.shape)
        return apply(self, own)

    with (
        patch.object(rollout_module, "compiled", None),
        patch.object(fused, "runs_on", lambda state: True),
        patch.object(fused.Increment, "__call__", counted),
    ):
        ours = rollout(rules, state, steps)
    expected = state
    for _ in range(steps):
        for rule in rules:
            expected = rule(expected)
    return ours, expected, len(calls)


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
    if isinstance(kinds[0], partial) and kinds[0].args == (12,):
        state = state[:, :12]
    ours, expected, calls = interpreted.submit(fused_and_expected, kinds, state, 3).result()
    assert calls == 3 * len(kinds)
    assert (ours - expected).norm() < 1e-5 * expected.norm()


def test_what_is_not_a_number_stays_so(interpreted):
    state = city_state(1, height=9, width=9)
    state[:, 2] = 1
    state[0, 15, 4, 4] = torch.nan
    ours, expected, _ = interpreted.submit(fused_and_expected, [trained], state, 2).result()
    assert torch.equal(ours.isnan(), expected.isnan())
    assert 0 < expected.isnan().sum() < expected.numel() / 2


def test_only_float32_on_an_nvidia_gpu_takes_the_kernel():
    assert not fused.runs_on(city_state())
    assert not fused.runs_on(city_state().double())


def test_where_it_fails_plain_pytorch_takes_over():
    with pytest.warns(UserWarning, match=r"no kernel for cpu \(.+\): slower"):
        assert not fused._runs_here(torch.device("cpu"))


def test_where_it_works_it_is_taken(interpreted):
    assert interpreted.submit(fused._runs_here, torch.device("cpu")).result()


@pytest.mark.parametrize(("capability", "shared"), [(75, 64), (80, 163), (86, 99), (90, 227)])
@pytest.mark.parametrize("precision", ["tf32x3", "ieee"])
def test_it_compiles_for_each_generation_and_fits_its_shared_memory(capability, shared, precision):
    from triton import compile as compiled_for
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if precision == "tf32x3" and capability < 80:
        pytest.skip("no tensor cores for TF32")
    pointers = ("own", "constant", "first", "second", "air", "found")
    constants = {"CHANNELS": 18, "HIDDEN": 192, "TILE": 32, "PADDED": 192, "CELLS": fused.CELLS,
                 "UNITS": fused.UNITS, "PRECISION": precision}  # fmt: skip
    types = {name: "*fp32" if name in pointers else "i32" for name in fused._increment.arg_names}
    source = ASTSource(fused._increment, types | dict.fromkeys(constants, "constexpr"), constants)
    found = compiled_for(
        source, target=GPUTarget("cuda", capability, 32), options={"num_stages": 1}
    )
    assert found.asm["cubin"]
    assert found.metadata.shared <= shared * 1024
    assert (".tf32" in found.asm["ptx"]) == (precision == "tf32x3")
