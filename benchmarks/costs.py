"""What a training costs beside its rollouts: reading city files, and all of an iteration.

    python -m benchmarks.costs [--rounds 3]

Reads made-up city files, a tenth of UrbanTALES' 538 cases, of so many cells a side; their fields
vary over eight cells, about as a simulation's do. Then it times whole iterations of the
experiment's two trainings on the embedded data: samples, a rollout of the mean number of steps,
loss, gradient, a step of Adam, scores. The loop as written rolls out by the rule as written and
makes the scores' references anew from the whole pool; ours are ``rollout`` and references that are
made once. Each is done in turn in a process of its own, after their losses have been compared. The
loss of the Init-NCA is ``"pixel"``, since VGG16, which both would take alike, may not be at hand.
Results go to ``benchmarks/tables/costs.csv``; leave it the machine alone.
"""

import argparse
import re
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.ndimage import zoom

from benchmarks import TABLES
from benchmarks.contenders import (
    ENVIRONMENTS,
    OURS,
    REFERENCE,
    make_ready,
    recorded_rollout,
    training_rules,
)
from benchmarks.speed import check, in_turn, machine, processes, rows, write_csv
from pinca_lib.datasets import list_cases, load_case, load_dataset, write_city
from pinca_lib.evaluation import ScaledPhysicsMetrics
from pinca_lib.physics import ALPHA
from pinca_lib.runs import PROJECT_ROOT
from pinca_lib.training import InitLoss, PILoss, SamplePool, Training

URBANTALES, SHARE = 538, 10  # cases, and which part of them is made up
STEPS = 64  # the mean of 32…95
POOL = 256
RATE = 1e-6
SIZES = (64, 128)


def make_city(path: Path, cells: int, random: np.random.Generator) -> None:
    """Write a city file of smooth random fields, with one case under a wind along x."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, cells)] * 2, indexing="ij")
    air = random.random((cells, cells)) > 0.3
    base = np.stack([y, x, air, 20 * random.random((cells, cells)) * ~air])
    fields = zoom(random.random((8, cells // 8, cells // 8)), (1, 8, 8), order=1)
    fields[:2] = [[[1.0]], [[0.0]]]
    fields[4] = 2 + fields[4]  # a mean speed above that of the mean wind
    meta = {"cityHW": (2.0 * cells, 2.0 * cells), "row_order": "south_first"}
    write_city(path, base, {"d000": (fields, meta)})


def read(folder: str) -> tuple[float, float]:
    """Read a folder to 128×128 cells; return seconds, and GB of memory at most, or NaN."""
    load_case(*next(iter(list_cases(folder).values())), 128)  # to warm up
    start = time.perf_counter()
    load_dataset(folder, 128)
    taken = time.perf_counter() - start
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
    return taken, int(found[1]) * 1024 / 1e9 if found else float("nan")


def time_reading() -> Iterator[dict]:
    """Yield a row for each size of files."""
    random = np.random.default_rng(0)
    for cells in (400, 1000):
        with TemporaryDirectory() as folder:
            for i in range(round(URBANTALES / SHARE)):
                make_city(Path(folder, f"city{i}.h5"), cells, random)
            with processes([OURS]) as own:
                seconds, gigabytes = own[OURS].submit(read, folder).result()
        yield {"what": "reading", "size": cells, "contender": OURS, "gigabytes": gigabytes,
               "s_for_urbantales": seconds * SHARE}  # fmt: skip


def ready(name: str, what: str, size: int, threads: int) -> list[np.ndarray]:
    """Make a contender's loop ready in this process, for ``again``; return its first losses."""
    torch.set_num_threads(threads)
    iterate = loop(name, what, size)
    losses = [np.array(iterate()) for _ in range(2)]
    make_ready(iterate, 1, torch.device("cpu"))
    return losses


def loop(name: str, what: str, size: int) -> Callable[[], float]:
    """Return an iteration of the experiment's training of a rule, which gives the loss.

    The rules are new ones, their last layer nearly zero, so that in SI units they run nowhere.
    """
    rules = training_rules(what)
    for rule in rules:
        rule.w2.weight.data *= 1e-3
    dataset = load_dataset(PROJECT_ROOT / "data" / "train", size)
    pool = SamplePool(dataset, POOL, np.random.default_rng(0))
    training = Training(rules[-1], pool, learning_rate=RATE)
    loss = InitLoss("pixel", 0.1) if len(rules) == 1 else PILoss("pixel", ALPHA, 1.0, 10.0, 0.1)
    roll = recorded_rollout(name, what, rules)
    kept = ScaledPhysicsMetrics(pool.targets, pool.extents)

    def iterate() -> float:
        batch = pool.sample(6, restarts=1)
        state = roll(batch.state, STEPS)
        terms = loss(state, batch)
        training.descend(terms["loss"])
        pool.write(batch, state)
        scores = kept
        if name != OURS:
            targets = torch.stack([pool.target(slot) for slot in range(POOL)])
            scores = ScaledPhysicsMetrics(targets, pool.extents[pool.cases])
        scores(state, batch.target, batch.extents, batch.known)
        return terms["loss"].item()

    return iterate


def time_loops(rounds: int) -> Iterator[dict]:
    """Yield a row for each training, size and contender, whose losses must agree."""
    threads = torch.get_num_threads()
    for what in ("Init-NCA", "PI-NCA"):
        for size in SIZES:
            with processes([REFERENCE, *ENVIRONMENTS, OURS]) as own:
                check({name: process.submit(ready, name, what, size, threads).result()
                       for name, process in own.items()})  # fmt: skip
                times = in_turn(own, rounds)
            yield from rows(f"iteration, {what}", times, size=size)


def main() -> None:
    """Measure all, print it, and write it down."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=3, help="timings of each loop, in turn")
    chosen = arguments.parse_args()
    table = []
    for row in chain(time_reading(), time_loops(chosen.rounds)):
        table.append({"machine": machine(torch.device("cpu"))} | row)
        print({key: value for key, value in table[-1].items() if key != "machine"}, flush=True)
    write_csv(TABLES / "costs.csv", table)


if __name__ == "__main__":
    main()
