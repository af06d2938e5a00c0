"""Kills, power cuts, a full disk, two processes in one folder: a run loses nothing by them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.reliability.training import EVERY, train
from benchmarks.reliability.trials import Ending, Process
from pinca_lib.runs import run as runs

SIZE = 48  # MB, of a file system for power cuts


def kill_at_random(random: Random, folder: Path, expected: str, seconds: float) -> Ending:
    """Kill a training after a random time, at most ``seconds``, and resume it."""
    process = Process(lambda: train(folder / "runs"), folder)
    time.sleep(random.uniform(0, seconds))
    process.kill()
    process.wait()
    return _resumed(folder, expected)


def kill_at_a_write(random: Random, folder: Path, expected: str) -> Ending:
    """Kill a training as a file is opened, renamed or deleted, or when it has just been flushed."""
    left = random.randrange(1, 70)

    def count(event: str = "os.fsync", arguments: tuple = ("",)) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and isinstance(
            arguments[0], str | Path
        ):
            left -= str(folder / "runs") in str(arguments[0])
        if event == "os.fsync":
            left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> str:
        flush = os.fsync
        os.fsync = lambda file: (flush(file), count())
        sys.addaudithook(count)
        return train(folder / "runs")

    Process(work, folder).wait()
    return _resumed(folder, expected)


def cut_power(random: Random, folder: Path, expected: str, seconds: float) -> Ending:
    """Stop a training, and resume it on what its disk would hold without the system's memory.

    The training writes to ext4 on a loop device, which does not write on its own for minutes. A
    copy of that device holds what was flushed, and whatever else the system happened to write.
    """
    disk, after = folder / "disk.img", folder / "after.img"
    with _mounted(disk, folder / "before") as place:
        read, write = os.pipe()
        process = Process(lambda: train(place / "runs", progress=write), folder)
        time.sleep(random.uniform(0.2, 1) * seconds)
        os.kill(process.pid, signal.SIGSTOP)
        os.close(write)
        shutil.copyfile(disk, after)
        process.kill()
        process.wait()
        with os.fdopen(read, "rb") as file:
            done = max(file.read(), default=0)
    with _mounted(after, folder / "after") as place:
        steps = [int(path.stem.rpartition("_")[2]) for path in place.rglob("ca_model_step_*.pth")]
        if done - max(steps, default=0) > EVERY:
            return Ending.WRONG
        return Process(lambda: train(place / "runs"), folder).ending(expected.__eq__)


def fill_disk(random: Random, folder: Path, expected: str, seconds: float) -> Ending:
    """Fill the disk of a training at a random moment; make space later, or only for a resume."""
    in_time = random.random() < 0.7
    with _mounted(None, folder / "small") as place:

        def work() -> str:
            runs.PATIENCE = 2.0 if not in_time else 60.0
            return train(place / "runs")

        process = Process(work, folder)
        time.sleep(random.uniform(0, seconds))
        with (place / "filler").open("wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(bytes(random.choice((1, 100, 4096))))
                except OSError:
                    break
        if in_time:
            time.sleep(random.uniform(0, seconds))
            (place / "filler").unlink()
        ending = process.ending(expected.__eq__)
        (place / "filler").unlink(missing_ok=True)
        after = Process(lambda: train(place / "runs"), folder / "again").ending(expected.__eq__)
        return ending if after in (Ending.RIGHT, Ending.WORD) else after


def share_folder(random: Random, folder: Path, expected: str, seconds: float) -> Ending:
    """Train in a folder in two processes: one trains, the other says why it does not."""
    first = Process(lambda: train(folder / "runs"), folder / "first")
    while not list(folder.glob("runs/tiny_*/ca_model_step_*.pth")):
        time.sleep(0.01)
    time.sleep(random.uniform(0, seconds / 4))
    second = Process(lambda: train(folder / "runs"), folder / "second")
    endings = second.ending(expected.__eq__), Ending.RIGHT
    if random.random() < 0.5:
        first.kill()
        first.wait()
    else:
        endings = endings[0], first.ending(expected.__eq__)
    last = _resumed(folder, expected)
    worst = max((*endings, last), key=list(Ending).index)
    return worst if worst in list(Ending)[2:] else Ending.WORD


def can_mount() -> bool:
    """Return whether this process may mount file systems."""
    return sys.platform == "linux" and os.geteuid() == 0 and bool(shutil.which("mkfs.ext4"))


def _resumed(folder: Path, expected: str) -> Ending:
    process = Process(lambda: train(folder / "runs"), folder / "again")
    return process.ending(expected.__eq__)


@contextmanager
def _mounted(disk: Path | None, place: Path) -> Iterator[Path]:
    """Mount a disk image, which is made if need be; without one, 2 MB of memory."""
    place.mkdir(parents=True)
    if disk is None:
        _run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place)
    else:
        if not disk.exists():
            with disk.open("wb") as file:
                file.truncate(SIZE * 2**20)
            _run("mkfs.ext4", "-q", "-F", disk)
        _run("mount", "-o", "loop,commit=300", disk, place)
    try:
        yield place
    finally:
        _run("umount", place)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
