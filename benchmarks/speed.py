"""The benchmark: the rule as written, ours, and CAX, timed in turn in one run, as ratios.

``python -m benchmarks.speed`` prints the tables and writes them as CSV; ``--help`` lists the
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
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.contenders import (
    ENVIRONMENTS,
    REFERENCE,
    TRAININGS,
    Task,
    again,
    names,
    prepare,
    random_rule,
    seconds,
    work_of,
)
from pinca_lib.automaton import CA
from pinca_lib.channels import BASE_COUNT, GEO_MASK
from pinca_lib.errors import InputError
from pinca_lib.rollouts.dispatch import compiled
from pinca_lib.runs import choose_device

GRIDS = [(1, 64), (1, 128), (1, 256), (1, 512), (1, 1024), (6, 64), (6, 128), (6, 256), (6, 512)]
QUICK_GRIDS = [(1, 64), (6, 64)]
BOTH_GRIDS = [(1, 64), (6, 64), (6, 128)]
MEMORY_GRIDS = [(6, 128), (1, 256)]
TOLERANCE = 1e-4  # of the largest value
BUILT = 0.3  # share of building cells in the cities; the rest is "open"


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


@contextmanager
def processes(found: Iterable[str]) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """Yield a new process for each of the names, as a rollout or a training has one.

    An allocator keeps or returns large buffers by what it has seen before: in one process, the
    rule as written took from 50 to 250 ms for the same step.
    """
    new = partial(ProcessPoolExecutor, 1, mp_context=get_context("spawn"))
    own = {}
    with ExitStack() as stack:
        for name in found:
            own[name] = stack.enter_context(new())
            with patch.dict(os.environ, ENVIRONMENTS.get(name, {})):
                own[name].submit(torch.get_num_threads)  # start it, and import torch there
        yield own


def take_turns(
    own: dict[str, ProcessPoolExecutor], task: Task, rounds: int
) -> dict[str, list[float]]:
    """Time every contender once a round, if they agree; return seconds a step of each.

    ``own`` are their processes, by name; what is not installed is dropped from them.
    """
    results = {}
    for name, process in list(own.items()):
        try:
            results[name] = process.submit(prepare, name, task, torch.get_num_threads()).result()
        except ImportError as error:
            print(f"{name}: not measured ({error}); pip install cax flax", file=sys.stderr)
            del own[name]
    check(results)
    results.clear()
    return in_turn(own, rounds)


def in_turn(own: dict[str, ProcessPoolExecutor], rounds: int) -> dict[str, list[float]]:
    """Time what each process is ready for once a round; return seconds a step of each."""
    times = {name: [] for name in own}
    for _ in range(rounds):
        for name, process in own.items():
            times[name].append(process.submit(again).result())
    return times


def check(results: dict[str, list[np.ndarray]]) -> None:
    """Compare what contenders computed with the reference.

    Raises
    ------
    AssertionError
        If one computed something else.
    """
    for name, found in results.items():
        for mine, theirs in zip(found, results[REFERENCE], strict=True):
            off = np.abs(mine - theirs).max() / np.abs(theirs).max()
            if not off < TOLERANCE:
                raise AssertionError(f"{name} is off by {off:.1g} of the rule as written")


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


def time_rollouts(
    device: torch.device,
    grids: Iterable[tuple[int, int]],
    rounds: int,
    grounds: Iterable[float] = (0.0, BUILT),
) -> Iterator[dict]:
    """Yield rows of rollouts over open ground and over cities, or other shares of buildings.

    ``ceiling_share`` is the least work of a step over what a matrix product would do in its time.
    """
    for built, (batch, size) in itertools.product(grounds, grids):
        task = Task("rollout", batch, size, built, str(device))
        with processes(names(device)) as own:
            times = take_turns(own, task, rounds)
        needed, top = needed_flops(random_rule(0), task.state()), ceiling(device)
        for row in rows("rollout", times, batch=batch, size=size, built=built):
            yield row | {"ceiling_share": needed / row["ms_per_step"] * 1e3 / top}


def time_both_rules(
    device: torch.device, grids: Iterable[tuple[int, int]], rounds: int
) -> Iterator[dict]:
    """Yield rows of rollouts as the project's own: of an Init-NCA and a PI-NCA, over cities."""
    for batch, size in grids:
        with processes(names(device, "both rules")) as own:
            times = take_turns(own, Task("both rules", batch, size, BUILT, str(device)), rounds)
        yield from rows("both rules", times, batch=batch, size=size, built=BUILT)


def time_training(
    device: torch.device,
    sizes: Iterable[int],
    rounds: int,
    trainings: Iterable[str] = TRAININGS,
) -> Iterator[dict]:
    """Yield rows of an iteration's rollout and gradient, of the experiment and as it ships."""
    for what, size in itertools.product(trainings, sizes):
        with processes(names(device, what)) as own:
            times = take_turns(own, Task(what, 6, size, BUILT, str(device)), rounds)
        yield from rows(f"gradient, {what}", times, batch=6, size=size, built=BUILT)


def peak_memory(name: str, task: Task) -> float:
    """Return how far a task in a process of its own exceeds what was there, in states.

    NaN where the system does not tell: only Linux does, without further libraries.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    (work, steps), state = work_of(name, task), task.state()
    work(state[:1, :, :16, :16], 2)
    before = int(re.search(r"VmRSS:\s*(\d+)", status.read_text())[1])
    work(state, 2)  # compiles for this shape
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    work(state, steps)
    most = int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])
    return (most - before) * 1024 / state.nbytes


def measure_memory(grids: Iterable[tuple[int, int]], tasks: Iterable[str]) -> Iterator[dict]:
    """Yield rows of each contender's peak memory, on the CPU, over open ground."""
    cpu = torch.device("cpu")
    for what, (batch, size) in itertools.product(tasks, grids):
        task = Task(what, batch, size, 0.0, "cpu")
        with processes(names(cpu, what)) as own:
            for name, process in own.items():
                try:
                    states = process.submit(peak_memory, name, task).result()
                except ImportError:
                    continue
                yield {"what": f"memory, {what}", "batch": batch, "size": size, "built": 0.0,
                       "contender": name, "states": states, "machine": machine(cpu)}  # fmt: skip


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
    text = f"{row['what']:30} {row['batch']}×{row['size']}² {ground:10} {row['contender']:24}"
    if "states" in row:
        return f"{text}{row['states']:8.1f} times the state"
    spread = f"({row['ms_least']:.2f}–{row['ms_most']:.2f})"
    share = f", {row['ceiling_share']:.0%} of the ceiling" if "ceiling_share" in row else ""
    speed = f"{row['ms_per_step']:8.2f} ms/step {spread:>17}{row['times_as_fast']:6.1f}×"
    return text + speed + share


def run(device: torch.device, quick: bool = False, rounds: int = 5) -> list[dict]:
    """Measure everything, printing each row when it is there; return the rows.

    ``quick`` times rollouts and a gradient over small cities in a minute or two. Each contender has
    one thread, so that a machine that does other things, too, gives nearly the same ratios.
    """
    threads = torch.get_num_threads()
    try:
        if quick:
            torch.set_num_threads(1)
        return _run(device, quick, rounds)
    finally:
        torch.set_num_threads(threads)


def _run(device: torch.device, quick: bool, rounds: int) -> list[dict]:
    print(machine(device))
    if not torch.cuda.is_available():
        print("GPU: not measured: no CUDA device")
    if compiled is None:
        print("compiled code: not measured: it needs Numba, SciPy and threadpoolctl")
    if quick:
        parts = (
            time_rollouts(device, QUICK_GRIDS, rounds, (BUILT,)),
            time_both_rules(device, QUICK_GRIDS[-1:], rounds),
            time_training(device, (64,), rounds, TRAININGS[-1:]),
        )
    else:
        parts = (
            time_rollouts(device, GRIDS, rounds),
            time_both_rules(device, BOTH_GRIDS, rounds),
            time_training(device, (64, 128), rounds),
            measure_memory(MEMORY_GRIDS, ("rollout", "both rules")),
            measure_memory([(6, 64)], TRAININGS),  # which take gigabytes as written at 6×128²
        )
    table = []
    for row in itertools.chain(*parts):
        print(line(row), flush=True)
        table.append({"machine": machine(device)} | row)
    return table


def write_csv(path: Path, table: list[dict]) -> None:
    """Write the rows as CSV; a column that a row lacks stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = dict.fromkeys(column for row in table for column in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))  # pandas is not on a bare machine
        writer.writeheader()
        writer.writerows(table)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small cities and few measurements")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 1001), metavar="N",
                        help="timings of each contender")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--output", type=Path, default=Path("outputs", "benchmark.csv"))
    given = parser.parse_args(arguments)
    try:
        device = choose_device(given.device)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    if device.type not in ("cpu", "cuda"):
        raise SystemExit(f"error: device={given.device!r} cannot be timed; use 'cpu' or 'cuda'")
    write_csv(given.output, run(device, given.quick, given.rounds))
    print(f"written: {given.output}")


if __name__ == "__main__":
    main()
