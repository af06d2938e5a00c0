"""The benchmark: the rule as written, ours, and CAX, timed in turn in one run, as ratios.

``python -m pinca_lib.benchmark`` prints the tables and writes them as CSV; ``--help`` lists the
options. It imports torch, NumPy and what ``compiled`` needs, and CAX where that is installed, so
that it runs on a bare machine. Every contender must give the reference's result before it is timed.
"""

import argparse
import csv
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pinca_lib import rollout as rollout_module
from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, GEO_MASK, STATE_COUNT
from pinca_lib.devices import choose_device
from pinca_lib.rollout import rollout

Contender = Callable[[Tensor, int], Tensor]  # a state and a number of steps to the state after

REFERENCE, OURS, PLAIN, CAX = "rule as written", "ours", "ours, plain PyTorch", "CAX, tuned"
GRIDS = [(1, 64), (1, 128), (1, 256), (1, 512), (1, 1024), (6, 64), (6, 128), (6, 256)]
QUICK_GRIDS = [(1, 64), (1, 128), (1, 256), (6, 64), (6, 128)]
STEPS = 32  # of a timed rollout: about what an iteration of the experiment takes
REFERENCE_STEPS = 2  # the reference's cost does not depend on their number
TRAINING_STEPS = 16
BUILT = 0.3  # share of building cells in the cities; the rest is "open"


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
            hidden, seen = rule.w1.weight.shape[:2]
            self.w1 = nnx.Linear(seen, hidden, rngs=nnx.Rngs(0))
            self.w2 = nnx.Linear(hidden, rule.channels, use_bias=False, rngs=nnx.Rngs(0))
            first = rule.w1.weight.detach().view(hidden, rule.channels, -1)
            second = rule.w2.weight.detach()[:, :, 0, 0].clone()
            second[:BASE_COUNT] = 0
            self.w1.kernel[...] = jnp.array(first.permute(2, 1, 0).reshape(seen, hidden))
            self.w1.bias[...] = jnp.array(rule.w1.bias.detach())
            self.w2.kernel[...] = jnp.array(second.T)

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


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def ceiling(device: torch.device, rounds: int) -> float:
    """Return the FLOP/s of the best of several float32 matrix products of 2048²."""
    a = torch.rand(2048, 2048, device=device)
    best = min(seconds(lambda: a @ a, device) for _ in range(rounds + 1))
    return 2 * 2048**3 / best


def needed_flops(rule: CA, state: Tensor) -> int:
    """Return the operations of a step that cannot be saved: both layers, dynamic channels, air."""
    hidden, dynamic = rule.w1.out_channels, rule.channels - BASE_COUNT
    filters = rule.w1.in_channels // rule.channels
    return int(state[:, GEO_MASK].sum()) * 2 * hidden * (filters + 1) * dynamic


def interleaved(
    works: dict[str, tuple[Callable[[], object], int]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Time every work once a round, after one call to warm up; return seconds a step of each."""
    for work, _ in works.values():
        work()
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, steps) in works.items():
            times[name].append(seconds(work, device) / steps)
    return times


def rows(what: str, times: dict[str, list[float]], **about) -> list[dict]:
    """Return a row of the table for each contender, with its ratio to the reference."""
    reference = statistics.median(times[REFERENCE])
    return [
        {
            "what": what,
            **about,
            "contender": name,
            "ms_per_step": 1e3 * statistics.median(found),
            "ms_least": 1e3 * min(found),
            "ms_most": 1e3 * max(found),
            "times_as_fast": reference / statistics.median(found),
        }
        for name, found in times.items()
    ]


@torch.no_grad()
def time_rollouts(
    device: torch.device, grids: Iterable[tuple[int, int]], rounds: int
) -> list[dict]:
    """Time rollouts over open ground and over cities; also their share of the machine's ceiling."""
    rule, top, table = random_rule(0).to(device), ceiling(device, rounds), []
    every = contenders(rule, device)
    cases = [(batch, size, built) for built in (0.0, BUILT) for batch, size in grids]
    for batch, size, built in tqdm(cases, desc="rollouts", unit="grid"):
        state = random_state(batch, size, built).to(device)
        expected = every[REFERENCE](state, 4)
        works = {}
        for name, roll in every.items():
            torch.testing.assert_close(roll(state, 4), expected, rtol=1e-4, atol=1e-4)
            steps = REFERENCE_STEPS if name == REFERENCE else STEPS
            works[name] = partial(roll, state, steps), steps
        found = rows("rollout", interleaved(works, rounds, device),
                     batch=batch, size=size, built=built)  # fmt: skip
        needed = needed_flops(rule, state)
        table += [row | {"ceiling_share": needed / row["ms_per_step"] * 1e3 / top} for row in found]
    return table


def time_training(device: torch.device, sizes: Iterable[int], rounds: int) -> list[dict]:
    """Time an iteration's rollout and gradient of both experiments, against the plain loop."""
    frozen, rule, table = random_rule(1).to(device), random_rule(0).to(device), []
    frozen.requires_grad_(False)

    def as_written(state: Tensor, train_all: bool) -> Tensor:
        if train_all:
            return reference_rollout([rule], state, TRAINING_STEPS)
        for _ in range(TRAINING_STEPS):
            with torch.no_grad():
                state = frozen(state)
            state = rule(state)
        return state

    def ours(state: Tensor, train_all: bool) -> Tensor:
        if train_all:
            return rollout([rule], state, TRAINING_STEPS, recorded=TRAINING_STEPS)
        return rollout([frozen, rule], state, TRAINING_STEPS, recorded=1)

    def gradient(roll: Callable, state: Tensor, train_all: bool) -> list[Tensor]:
        loss = roll(state, train_all).square().mean()
        return torch.autograd.grad(loss, list(rule.parameters()))

    cases = [(what, size) for what in ("Init-NCA", "PI-NCA") for size in sizes]
    for what, size in tqdm(cases, desc="training", unit="grid"):
        state, train_all = random_state(6, size, BUILT).to(device), what == "Init-NCA"
        works = {}
        expected = gradient(as_written, state, train_all)
        for name, roll in ((REFERENCE, as_written), (OURS, ours)):
            work = partial(gradient, roll, state, train_all)
            for mine, theirs in zip(work(), expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max())
            works[name] = work, TRAINING_STEPS
        times = interleaved(works, rounds, device)
        table += rows(f"{what} gradient", times, batch=6, size=size, built=BUILT)
    return table


def machine(device: torch.device) -> str:
    """Describe what was measured on: processor, threads, versions."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        named = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        processor = named[1] if named else processor
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    return f"{processor}, {threads}; Python {platform.python_version()}, torch {torch.__version__}"


def table_text(table: list[dict]) -> str:
    """Return the rows as text, a line each."""
    lines = [
        f"{'':28}{'contender':22}{'ms/step':>9} {'(least–most)':>17}{'ratio':>8}{'ceiling':>9}"
    ]
    for row in table:
        ground = f"{row['built']:.0%} built" if row["built"] else "open"
        where = f"{row['what']} {row['batch']}×{row['size']}² {ground}"
        spread = f"({row['ms_least']:.2f}–{row['ms_most']:.2f})"
        share = f"{row['ceiling_share']:.0%}" if "ceiling_share" in row else ""
        lines.append(f"{where:28}{row['contender']:22}{row['ms_per_step']:9.2f} {spread:>17}"
                     f"{row['times_as_fast']:7.1f}×{share:>9}")  # fmt: skip
    return "\n".join(lines)


def write_csv(path: Path, table: list[dict], about: str) -> None:
    """Write the rows as CSV, with the machine's description in a column of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*table[0], "machine"])
        writer.writeheader()
        writer.writerows(row | {"machine": about} for row in table)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m pinca_lib.benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small grids only")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each contender")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--output", type=Path, default=Path("outputs", "benchmark.csv"))
    given = parser.parse_args(arguments)
    device = choose_device(given.device)
    if device.type != "cuda":
        print("GPU: not measured: no CUDA device", file=sys.stderr)
    table = time_rollouts(device, QUICK_GRIDS if given.quick else GRIDS, given.rounds)
    table += time_training(device, (64,) if given.quick else (64, 128), given.rounds)
    about = machine(device)
    print(about, table_text(table), sep="\n")
    write_csv(given.output, table, about)
    print(f"written: {given.output}")


if __name__ == "__main__":
    main()
