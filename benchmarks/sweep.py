"""What a sweep on a Dask cluster costs beside a plain loop over the same trainings.

    python -m benchmarks.sweep [--tasks 192] [--blocks 8]

Each task is a notebook that papermill runs, and that stands for a short training: it computes for
about two seconds and writes a log. Two workers of a Dask cluster on this machine and two plain
processes take turns, a block of tasks each, so that both see the same machine. Cluster and
processes are started before, and have done a task each; what the former takes is a row of its own.
``busy`` is the share of the workers' time in which they ran a task. Results go to
``benchmarks/tables/sweep.csv``.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat

from benchmarks import TABLES
from benchmarks.speed import write_csv
from pinca_lib.runs.sweep import Task, connect, sweep_tables, sweep_tasks, train

WORKERS = 2
NOTEBOOK = """
# %% tags=["parameters"]
output_dir = ""
resume = ""
seed = 0

# %%
from pathlib import Path
import numpy as np
matrix = np.random.default_rng(seed).normal(size=(1000, 1000)) / 32
for _ in range(60):
    matrix = np.tanh(matrix @ matrix)
folder = Path(output_dir, "run")
folder.mkdir(exist_ok=True)
(folder / "metrics.csv").write_text(f"iteration,loss\\n0,{matrix.mean()}\\n")
"""


def write_notebook(path: Path) -> Path:
    """Write the notebook of the tasks."""
    content = jupytext.reads(NOTEBOOK, "py:percent")
    content.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(content, path)
    return path


def timed(run: Callable[[list[Task]], object], tasks: list[Task]) -> tuple[float, float]:
    """Return how long tasks take, and how long they take one by one, s."""
    began = time.perf_counter()
    run(tasks)
    return time.perf_counter() - began, sum(task.result["seconds"] for task in tasks)


def main() -> None:
    """Measure both, print it, and write it down."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--tasks", type=int, default=192, help="of each of the two")
    arguments.add_argument("--blocks", type=int, default=8)
    chosen = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # as Dask gives it to its workers
    count = chosen.tasks // chosen.blocks
    took: dict[str, list[tuple[float, float]]] = {"Dask": [], "plain loop": []}
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(WORKERS, get_context("spawn")) as processes,
    ):
        notebook = write_notebook(Path(folder, "task.ipynb"))
        began = time.perf_counter()
        with connect(workers=WORKERS) as client:
            client.wait_for_workers(WORKERS)
            start = time.perf_counter() - began
            runs: dict[str, Callable] = {
                "Dask": lambda tasks: list(sweep_tables(tasks, client)),
                "plain loop": lambda tasks: list(processes.map(train, tasks)),
            }
            for name, run in runs.items():
                run(sweep_tasks(notebook, Path(folder, "first", name), {"seed": range(WORKERS)}))
            for number in range(chosen.blocks):
                seeds = range(number * count, (number + 1) * count)
                for name in sorted(runs, reverse=bool(number % 2)):
                    tasks = sweep_tasks(notebook, Path(folder, name), {"seed": seeds})
                    took[name].append(timed(runs[name], tasks))
                    print(name, *took[name][-1], flush=True)
    table = [{"what": "starting the cluster", "tasks": 0, "seconds": round(start, 1)}]
    for name, times in took.items():
        seconds, busy = map(sum, zip(*times, strict=True))
        table.append({"what": name, "tasks": count * chosen.blocks, "seconds": round(seconds, 1),
                      "busy": round(busy / seconds / WORKERS, 3)})  # fmt: skip
    print(table)
    write_csv(TABLES / "sweep.csv", table)


if __name__ == "__main__":
    main()
