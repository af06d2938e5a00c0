"""The command ``python -m benchmarks.reliability``."""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import pandas as pd
import torch

from benchmarks.reliability import cities, crashes, damage, edits, misuse, places
from benchmarks.reliability.training import EVERY, train
from benchmarks.reliability.trials import Ending, Process
from pinca_lib import PROJECT_ROOT, load_city, load_climate

TABLE = PROJECT_ROOT / "benchmarks" / "tables" / "reliability.csv"
Trial = Callable[[Random, Path], Ending]


def kinds(folder: Path) -> Iterator[tuple[str, int, Trial]]:
    """Yield the name of each kind of trial, how many there are in a full campaign, and a trial."""
    expected = train(folder / "whole")
    begun = time.monotonic()
    whole = Process(lambda: train(folder / "again"), folder)
    assert whole.ending(expected.__eq__) is Ending.RIGHT, whole.said.read_text()
    seconds = time.monotonic() - begun
    after = {"expected": expected, "seconds": seconds}
    yield "killed at a random moment", 80, partial(crashes.kill_at_random, **after)
    yield "killed at a write or rename", 60, partial(crashes.kill_at_a_write, expected=expected)
    if crashes.can_mount():
        yield "power cut", 60, partial(crashes.cut_power, **after)
        yield "disk full", 30, partial(crashes.fill_disk, **after)
    else:
        print("power cuts and a full disk are left out: they need root on Linux, and mkfs.ext4")
    yield "two processes on one run", 20, partial(crashes.share_folder, **after)
    yield "damaged checkpoint", 500, damage.damaged_checkpoint
    yield "hostile checkpoint", 150, damage.hostile_checkpoint
    half = Process(lambda: train(folder / "half", 3 * EVERY), folder)
    assert half.ending(bool) is Ending.RIGHT, half.said.read_text()
    run = partial(damage.damaged_run, expected=expected, begun=folder / "half")
    yield "damaged or edited run folder", 300, run
    yield "damaged cache of compiled code", 40, damage.damaged_cache
    yield "damaged city file", 500, cities.damaged_city
    yield "damaged city file of others", 250, cities.foreign_city
    yield "hostile city file", 250, cities.hostile_city
    for name, count, files, load in (
        ("damaged file of buildings", 300, places.write_places(folder / "places"), load_city),
        ("damaged weather file", 100, places.write_climates(folder / "climates"), load_climate),
    ):
        yield name, count, partial(places.damaged_file, whole=files, load=load)
    yield "hundred edits of a live rollout", 100, edits.edited_rollout
    yield "hostile parameter", 500, misuse.hostile_parameter
    yield "hostile path", 300, misuse.hostile_path


def campaign(seed: int, scale: float, only: str = "", keep: Path | None = None) -> pd.DataFrame:
    """Run all trials, and return how many of each kind ended in each way.

    Parameters
    ----------
    seed : int
        Of everything that is random; only moments of time are not.
    scale : float
        Share of the trials of a full campaign; at least one of each kind is run.
    only : str
        Run only the kinds whose name contains this.
    keep : Path, optional
        Folder to which the folders of trials that ended badly are moved.
    """
    torch.set_num_threads(1)  # as forked processes have
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, count, trial in kinds(Path(temporary)):
            if only not in name:
                continue
            endings: Counter[Ending] = Counter()
            for i in range(max(1, round(count * scale))):
                folder = Path(temporary, "trials", f"{name} {i}".replace(" ", "_"))
                ending = trial(Random(f"{seed} {name} {i}"), folder)
                endings[ending] += 1
                if keep and ending not in (Ending.WORD, Ending.RIGHT):
                    shutil.move(folder, keep / folder.name)
                shutil.rmtree(folder, ignore_errors=True)
            rows.append({"kind": name, "trials": endings.total()} | {e: endings[e] for e in Ending})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Run the campaign, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full campaign")
    parser.add_argument("--only", default="", help="only kinds whose name contains this")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--keep", type=Path, help="folder for what is left of bad endings")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    table = campaign(options.seed, options.scale, options.only, options.keep)
    table.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
