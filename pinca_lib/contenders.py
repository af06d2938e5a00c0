"""What the benchmark compares: the rule as written, ours, ours in plain PyTorch, and CAX."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from pinca_lib import rollout as rollout_module
from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, GEO_MASK, STATE_COUNT
from pinca_lib.rollout import rollout

Contender = Callable[[Tensor, int], Tensor]  # a state and a number of steps to the state after

REFERENCE, OURS, PLAIN, CAX = "rule as written", "ours", "ours, plain PyTorch", "CAX, tuned"


def random_rule(seed: int) -> CA:
    """Return a rule with the weights of a new one, but for a small second layer in place of 0."""
    torch.manual_seed(seed)
    rule = CA()
    torch.nn.init.normal_(rule.w2.weight, std=0.005)
    return rule


def random_state(batch: int, size: int, built: float) -> Tensor:
    """Return random states (B, C, size, size) over cities of blocks of 8×8 cells."""
    random = torch.Generator().manual_seed(0)
    state = torch.rand(batch, STATE_COUNT, size, size, generator=random)
    blocks = torch.rand(batch, 1, -(-size // 8), -(-size // 8), generator=random) >= built
    air = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    state[:, GEO_MASK] = air[:, 0, :size, :size].float()
    return state


def reference_rollout(rules: Iterable[CA], state: Tensor, steps: int) -> Tensor:
    """Apply the rules as ``automaton`` writes them down."""
    for _ in range(steps):
        for rule in rules:
            state = rule(state)
    return state


def cax_rollout(rule: CA) -> Contender:
    """Return CAX's rollout of a rule: perception by rolls, dense layers, one compiled scan.

    This is faster on a CPU than its own ``ConvPerceive`` and ``MLPUpdate``, whose depthwise and
    1×1 convolutions XLA does not turn into matrix products.

    Raises
    ------
    ImportError
        If CAX or JAX is not installed.
    """
    import jax
    import jax.numpy as jnp
    from cax.core import ComplexSystem
    from flax import nnx

    def perceive(state):
        up, down = jnp.roll(state, 1, 1), jnp.roll(state, -1, 1)
        smooth, slope = up + 2 * state + down, down - up
        left, right = jnp.roll(smooth, 1, 2), jnp.roll(smooth, -1, 2)
        across = jnp.roll(slope, 1, 2) + 2 * slope + jnp.roll(slope, -1, 2)
        laplacian = left + 2 * smooth + right - 16 * state
        return jnp.concatenate([state, right - left, across, laplacian], axis=-1)

    class PedestrianWind(ComplexSystem):
        def __init__(self):
            w1, bias, w2 = (layer.detach() for layer in rule.layers())
            hidden, seen = len(w1), w1[0].numel()
            self.w1 = nnx.Linear(seen, hidden, rngs=nnx.Rngs(0))
            self.w2 = nnx.Linear(hidden, rule.channels, use_bias=False, rngs=nnx.Rngs(0))
            writes = torch.arange(rule.channels) >= BASE_COUNT
            self.w1.kernel[...] = jnp.array(w1.permute(2, 1, 0).reshape(seen, hidden))
            self.w1.bias[...] = jnp.array(bias)
            self.w2.kernel[...] = jnp.array(w2.T * writes)

        def _step(self, state, input=None, *, sow=False):
            increment = self.w2(nnx.relu(self.w1(perceive(state))))
            return state + state[..., GEO_MASK, None] * increment

    system = PedestrianWind()

    def roll(state: Tensor, steps: int) -> Tensor:
        after = system(jnp.array(state.movedim(1, -1)), num_steps=steps)
        return torch.from_numpy(np.array(jax.block_until_ready(after))).movedim(-1, 1)

    return roll


def contenders(rule: CA, device: torch.device) -> dict[str, Contender]:
    """Return every way to roll a rule out that this machine has, the reference first."""

    def plain(state: Tensor, steps: int) -> Tensor:
        with patch.object(rollout_module, "compiled", None):
            return rollout([rule], state, steps)

    found = {
        REFERENCE: partial(reference_rollout, [rule]),
        OURS: partial(rollout, [rule]),
    }
    if device.type == "cpu":
        if rollout_module.compiled:
            found[PLAIN] = plain
        try:
            found[CAX] = cax_rollout(rule)
        except ImportError as error:
            print(f"CAX: not measured ({error}); to have it: pip install cax flax", file=sys.stderr)
    return found
