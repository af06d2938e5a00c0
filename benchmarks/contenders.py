"""What the benchmark compares: the rule as written, ours, ours in plain PyTorch, and CAX.

The rule as written is there twice: with the system's allocator as it is, and as one that keeps the
large buffers of a step for the next.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, GEO_MASK, STATE_COUNT
from pinca_lib.physics import ALPHA
from pinca_lib.rollouts import dispatch, rollout
from pinca_lib.runs import choose_device

Contender = Callable[[Tensor, int], Tensor]  # a state and a number of steps to the state after

STEPS = 32  # of a timed rollout: about what an iteration of the experiment takes
REFERENCE_STEPS = 2  # of the reference, which may take ten times as long for each
LEAST_SECONDS = 0.05  # what is shorter is repeated
CHECKED_STEPS = 4
TRAINING_STEPS = 16
AS_SHIPPED = "as it ships"
TRAININGS = ("Init-NCA", "PI-NCA", f"Init-NCA {AS_SHIPPED}", f"PI-NCA {AS_SHIPPED}")

REFERENCE, KEPT = "rule as written", "as written, buffers kept"
OURS, PLAIN, CAX = "ours", "ours, plain PyTorch", "CAX, tuned"

# What makes glibc keep buffers that it otherwise returns to the system in every step, and fetches
# again page by page.
ENVIRONMENTS = {KEPT: {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def random_rule(seed: int, **kind) -> CA:
    """Return a rule with the weights of a new one, but for a small second layer in place of 0.

    It is the experiment's, or of the ``kind`` that ``CA`` is given.
    """
    torch.manual_seed(seed)
    rule = CA(**kind)
    torch.nn.init.normal_(rule.w2.weight, std=0.005)
    return rule


def both_rules() -> list[CA]:
    """Return an Init-NCA and a PI-NCA of the kinds that ship."""
    ours = {"units": torch.ones(STATE_COUNT), "alpha": ALPHA, "follows_wind": True}
    return [random_rule(1, scale=4, hidden=288, **ours), random_rule(0, **ours)]


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


def roll(name: str, rules: Sequence[CA]) -> Contender:
    """Return a contender's rollout of rules; CAX's is of the only one.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    if name == CAX:
        return cax_rollout(*rules)
    return {
        REFERENCE: partial(reference_rollout, rules),
        KEPT: partial(reference_rollout, rules),
        OURS: partial(rollout, rules),
        PLAIN: partial(plain_rollout, rules),
    }[name]


def plain_rollout(rules: Sequence[CA], state: Tensor, steps: int) -> Tensor:
    """Roll out as we do without compiled code and kernels."""
    with (
        patch.object(dispatch, "compiled", None),
        patch.object(dispatch, "fused", None),
    ):
        return rollout(rules, state, steps)


def recorded_rollout(name: str, what: str, rules: Sequence[CA]) -> Contender:
    """Return an iteration's rollout, of one of ``TRAININGS``, by one contender.

    ``rules`` are the Init-NCA, and for a PI-NCA that as well. Every step is recorded for the
    gradient; of the experiment's PI-NCA the last alone, since it runs the Init-NCA without.
    """
    if name == OURS:
        return lambda state, steps: rollout(
            rules, state, steps, recorded=1 if what == "PI-NCA" else steps
        )
    if what != "PI-NCA":
        return partial(reference_rollout, rules)
    init_nca, pi_nca = rules

    def cut(state: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            with torch.no_grad():
                state = init_nca(state)
            state = pi_nca(state)
        return state

    return cut


def training_rules(what: str) -> list[CA]:
    """Return the rules of an iteration, new ones, the last to be trained."""
    init_nca, pi_nca = (
        both_rules() if what.endswith(AS_SHIPPED) else [random_rule(1), random_rule(0)]
    )
    if what.startswith("Init"):
        return [init_nca]
    return [init_nca.requires_grad_(False), pi_nca]


def gradient(name: str, what: str, device: torch.device) -> Callable[[Tensor, int], list[Tensor]]:
    """Return an iteration's rollout and gradient, of one of ``TRAININGS``, by one contender."""
    rules = [rule.to(device) for rule in training_rules(what)]
    forward = recorded_rollout(name, what, rules)

    def descend(state: Tensor, steps: int) -> list[Tensor]:
        loss = forward(state, steps).square().mean()
        return list(torch.autograd.grad(loss, list(rules[-1].parameters())))

    return descend


def names(device: torch.device, what: str = "rollout") -> list[str]:
    """Return who a machine may have for what is timed, the reference first.

    CAX has none of what the rules do beyond the experiment, and no gradient here. It takes all
    cores, so it is left out where the others have one thread.
    """
    is_cpu, is_rollout = device.type == "cpu", what not in TRAININGS
    kept = [KEPT] if is_cpu and platform.libc_ver()[0] == "glibc" else []
    is_fast = (dispatch.compiled if is_cpu else dispatch.fused) is not None
    plain = [PLAIN] if is_fast and is_rollout else []
    is_shared = torch.get_num_threads() > 1 or os.cpu_count() == 1
    cax = [CAX] if is_cpu and what == "rollout" and is_shared else []
    return [REFERENCE, *kept, OURS, *plain, *cax]


@dataclass(frozen=True)
class Task:
    """What is timed: a rollout or a gradient.

    A ``"rollout"`` is of the experiment's rule, that of ``"both rules"`` of an Init-NCA and a
    PI-NCA as they ship, and one of ``TRAININGS`` is an iteration's rollout and gradient.
    It is done for ``batch`` states of ``size``×``size`` cells, a share ``built`` of them buildings.
    """

    what: str
    batch: int
    size: int
    built: float
    device: str

    def state(self) -> Tensor:
        """Return the states that it begins with, (B, C, H, W)."""
        return random_state(self.batch, self.size, self.built).to(self.device)


def work_of(name: str, task: Task) -> tuple[Callable[[Tensor, int], object], int]:
    """Return a contender's rollout or gradient, and the steps that are timed of it.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    device = choose_device(task.device)
    if task.what in TRAININGS:
        return gradient(name, task.what, device), TRAINING_STEPS
    rules = both_rules() if task.what == "both rules" else [random_rule(0)]
    work = torch.no_grad()(roll(name, [rule.to(device) for rule in rules]))
    return work, REFERENCE_STEPS if name in (REFERENCE, KEPT) else STEPS


def prepare(name: str, task: Task, threads: int) -> list[np.ndarray]:
    """Make a contender ready in this process, for ``again``; return what it computes.

    That is the state after ``CHECKED_STEPS`` steps, (B, C, H, W), or the gradient by each
    parameter of the rule. ``threads`` are those that it may use.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    torch.set_num_threads(threads)
    state, (work, steps) = task.state(), work_of(name, task)
    found = work(state, steps) if task.what in TRAININGS else [work(state, CHECKED_STEPS)]
    work(state, steps)  # to warm up
    make_ready(partial(work, state, steps), steps, choose_device(task.device))
    return [part.cpu().numpy() for part in found]


def make_ready(work: Callable[[], object], steps: int, device: torch.device) -> None:
    """Say what this process is to time, and how many steps it has."""
    global _ready
    _ready = work, steps, device


def again() -> float:
    """Time what this process is ready for; return seconds a step."""
    work, steps, device = _ready
    times = []
    while sum(times) < LEAST_SECONDS:
        times.append(seconds(work, device))
    return sum(times) / len(times) / steps
