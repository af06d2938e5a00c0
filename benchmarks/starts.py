"""How long a training waits for its data, and how much memory it takes, on large data sets.

    python -m benchmarks.starts [--cells 128 400]

Makes up 538 city files of 400 × 400 cells, as many as UrbanTALES has cases, and makes a training
ready on them, on grids of so many cells a side: reading, natural units, a pool of 16 states, scales
of the scores, fingerprint. At the first start the city files are read and the data set goes to the
cache on disk; at the second it is there. Each start is a process of its own. Memory is the peak of
what the process holds itself; what is mapped from the disk can be dropped at any time, and does not
count. Results go to ``benchmarks/tables/starts.csv``.
"""

import argparse
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import psutil

from benchmarks import TABLES
from benchmarks.costs import URBANTALES, make_city
from benchmarks.speed import write_csv

SIDE = 400  # cells of a file
UNIQUE = 5  # files that are made up; the others are copies that differ in an attribute


def make_files(folder: Path) -> None:
    """Write the city files."""
    random = np.random.default_rng(0)
    for number in range(URBANTALES):
        path = folder / f"city{number:03d}.h5"
        if number < UNIQUE:
            make_city(path, SIDE, random)
        else:
            shutil.copy(folder / f"city{number % UNIQUE:03d}.h5", path)
        with h5py.File(path, "a") as file:
            file.attrs["number"] = number


class Peak(threading.Thread):
    """Watches what this process holds itself, B; NaN where the system does not tell it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes, self.ended = 0.0, threading.Event()

    def run(self) -> None:
        process = psutil.Process()
        while not self.ended.wait(0.01):
            memory = process.memory_info()
            self.bytes = max(self.bytes, memory.rss - getattr(memory, "shared", float("nan")))


def start(folder: Path, cells: int, cache_folder: Path) -> dict:
    """Make a training ready; return what it cost."""
    from pinca_lib import CA, SamplePool, ScaledPhysicsMetrics, Training, channel_units
    from pinca_lib.datasets import cache, load_dataset

    cache.FOLDER = cache_folder
    peak = Peak()
    peak.start()
    began = time.perf_counter()
    dataset = load_dataset(folder, cells)
    read = time.perf_counter() - began
    pool = SamplePool(dataset, 16, np.random.default_rng(0), augment=True)
    Training(CA(units=channel_units(dataset.states)), pool, learning_rate=1e-3)
    ScaledPhysicsMetrics(pool.targets, pool.extents)
    dataset.fingerprint()
    ready = time.perf_counter() - began
    peak.ended.set()
    return {
        "data_gb": round(dataset.states.nbytes / 1e9, 2),
        "read_s": round(read, 1),
        "ready_s": round(ready, 1),
        "peak_gb": round(peak.bytes / 1e9, 2),
    }


def main() -> None:
    """Measure all, print it, and write it down."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--cells", type=int, nargs="+", default=[128, SIDE])
    table = []
    with TemporaryDirectory() as place:
        folder, cache_folder = Path(place, "cities"), Path(place, "cache")
        folder.mkdir()
        make_files(folder)
        for cells in arguments.parse_args().cells:
            for number in ("first", "second"):
                with ProcessPoolExecutor(1, get_context("spawn")) as process:
                    row = process.submit(start, folder, cells, cache_folder).result()
                table.append({"cells": cells, "start": number} | row)
                print(table[-1], flush=True)
    write_csv(TABLES / "starts.csv", table)


if __name__ == "__main__":
    main()
