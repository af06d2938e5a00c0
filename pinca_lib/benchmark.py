"""The benchmark: the rule as written, ours, and CAX, timed in turn in one run, as ratios.

``python -m pinca_lib.benchmark`` prints the tables and writes them as CSV; ``--help`` lists the
options. It needs torch, NumPy and what ``compiled`` needs, so that it runs on a bare machine, and
takes CAX along where that is installed. Every contender must give the reference's result before it
is timed.
"""

import argparse
import csv
import itertools
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, GEO_MASK
from pinca_lib.contenders import (
    OURS,
    REFERENCE,
    contenders,
    random_rule,
    random_state,
    reference_rollout,
)
from pinca_lib.devices import choose_device
from pinca_lib.errors import InputError
from pinca_lib.rollout import rollout

GRIDS = [(1, 64), (1, 128), (1, 256), (1, 512), (1, 1024), (6, 64), (6, 128), (6, 256)]
QUICK_GRIDS = [(1, 64), (1, 128), (1, 256), (6, 64), (6, 128)]
STEPS = 32  # of a timed rollout: about what an iteration of the experiment takes
REFERENCE_STEPS = 2  # the reference's cost does not depend on their number
TRAINING_STEPS = 16
BUILT = 0.3  # share of building cells in the cities; the rest is "open"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def ceiling(device: torch.device) -> float:
    """Return the FLOP/s of the best of some float32 matrix products of 2048²."""
    a = torch.rand(2048, 2048, device=device)
    products = [lambda: a @ a]
    if device.type == "cpu":
        products.append(lambda: a.numpy() @ a.numpy())
    best = min(seconds(product, device) for _ in range(5) for product in products)
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
) -> Iterator[dict]:
    """Yield rows of rollouts over open ground and over cities.

    ``ceiling_share`` is the least work of a step over what a matrix product would do in its time.
    """
    rule = random_rule(0).to(device)
    every = contenders(rule, device)
    for built, (batch, size) in itertools.product((0.0, BUILT), grids):
        state = random_state(batch, size, built).to(device)
        expected = every[REFERENCE](state, 4)
        works = {}
        for name, roll in every.items():
            torch.testing.assert_close(roll(state, 4), expected, rtol=1e-4, atol=1e-4)
            steps = REFERENCE_STEPS if name == REFERENCE else STEPS
            works[name] = partial(roll, state, steps), steps
        times, needed = interleaved(works, rounds, device), needed_flops(rule, state)
        top = ceiling(device)
        for row in rows("rollout", times, batch=batch, size=size, built=built):
            yield row | {"ceiling_share": needed / row["ms_per_step"] * 1e3 / top}


def time_training(device: torch.device, sizes: Iterable[int], rounds: int) -> Iterator[dict]:
    """Yield rows of an iteration's rollout and gradient, of both experiments."""
    frozen, rule = random_rule(1).to(device), random_rule(0).to(device)
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

    for what, size in itertools.product(("Init-NCA", "PI-NCA"), sizes):
        state, train_all = random_state(6, size, BUILT).to(device), what == "Init-NCA"
        works, expected = {}, gradient(as_written, state, train_all)
        for name, roll in ((REFERENCE, as_written), (OURS, ours)):
            work = partial(gradient, roll, state, train_all)
            for mine, theirs in zip(work(), expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max())
            works[name] = work, TRAINING_STEPS
        times = interleaved(works, rounds, device)
        yield from rows(f"{what} gradient", times, batch=6, size=size, built=BUILT)


def peak_memory(name: str, batch: int, size: int) -> float:
    """Return how far a rollout in a process of its own exceeds what was there, in states.

    NaN where the system does not tell: only Linux does, without further libraries.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    roll = contenders(random_rule(0), torch.device("cpu"))[name]
    state = random_state(batch, size, 0.0)
    with torch.no_grad():
        roll(state[:1, :, :16, :16], 2)
        before = int(re.search(r"VmRSS:\s*(\d+)", status.read_text())[1])
        roll(state, 2)  # compiles for this shape
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        roll(state, 2)
    most = int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])
    return (most - before) * 1024 / state.nbytes


def measure_memory(batch: int, size: int) -> Iterator[dict]:
    """Yield rows of each contender's peak memory in a rollout, on the CPU."""
    for name in contenders(random_rule(0), torch.device("cpu")):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            states = process.submit(peak_memory, name, batch, size).result()
        yield {"what": "memory", "batch": batch, "size": size, "built": 0.0,
               "contender": name, "states": states}  # fmt: skip


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


def line(row: dict) -> str:
    """Return a row as text."""
    ground = f"{row['built']:.0%} built" if row["built"] else "open"
    text = f"{row['what']:17} {row['batch']}×{row['size']}² {ground:10} {row['contender']:20}"
    if "states" in row:
        return f"{text}{row['states']:8.1f} times the state"
    spread = f"({row['ms_least']:.2f}–{row['ms_most']:.2f})"
    share = f", {row['ceiling_share']:.0%} of the ceiling" if "ceiling_share" in row else ""
    speed = f"{row['ms_per_step']:8.2f} ms/step {spread:>17}{row['times_as_fast']:6.1f}×"
    return text + speed + share


def run(device: torch.device, quick: bool = False, rounds: int = 5) -> list[dict]:
    """Measure everything, printing each row when it is there; return the rows."""
    print(machine(device))
    if not torch.cuda.is_available():
        print("GPU: not measured: no CUDA device")
    table = []
    for row in itertools.chain(
        time_rollouts(device, QUICK_GRIDS if quick else GRIDS, rounds),
        time_training(device, (64,) if quick else (64, 128), rounds),
        measure_memory(6, 128),
    ):
        print(line(row), flush=True)
        table.append(row | {"machine": machine(device)})
    return table


def write_csv(path: Path, table: list[dict]) -> None:
    """Write the rows as CSV; a column that a row lacks stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = dict.fromkeys(column for row in table for column in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(table)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m pinca_lib.benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small grids only")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 1001), metavar="N",
                        help="timings of each contender")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--output", type=Path, default=Path("outputs", "benchmark.csv"))
    given = parser.parse_args(arguments)
    try:
        device = choose_device(given.device)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    write_csv(given.output, run(device, given.quick, given.rounds))
    print(f"written: {given.output}")


if __name__ == "__main__":
    main()
