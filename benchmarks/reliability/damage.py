"""Damaged and foreign files: checkpoints, run folders and the cache of compiled code."""

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from numba import config

from benchmarks.reliability.training import EPOCHS, EVERY, train
from benchmarks.reliability.trials import Ending, Process
from pinca_lib import CA, PROJECT_ROOT, load_rule
from pinca_lib.rollouts.cpu.native import native

SHIPPED = PROJECT_ROOT / "data" / "pretrained" / "pi_nca.pth"


def damage(random: Random, path: Path) -> None:
    """Damage a file as disks, copies and crashes do."""
    content = bytearray(path.read_bytes())
    place = random.randrange(len(content) + 1)
    size = random.choice((1, 16, 512, 4096))
    match random.choice(("flip", "flip", "flips", "zeros", "cut", "insert", "drop", "empty")):
        case "flip" if content:
            content[place % len(content)] ^= 1 << random.randrange(8)
        case "flips" if content:
            for _ in range(20):
                content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        case "zeros":
            content[place : place + size] = bytes(len(content[place : place + size]))
        case "cut":
            del content[place:]
        case "insert":
            content[place:place] = random.randbytes(size)
        case "drop":
            del content[place : place + size]
        case _:
            content.clear()
    path.write_bytes(content)


def hostile(random: Random) -> Any:
    """Return the content of a checkpoint that ``torch.load`` accepts and no rule should have."""
    weights = dict(CA(units=torch.ones(24), alpha=1.0, follows_wind=True, scale=2).state_dict())
    whole: dict[str, Any] = {"model_state_dict": weights}
    key = random.choice(list(weights))
    match random.randrange(8):
        case 0:
            weights["units"] = torch.full((24,), random.choice((0.0, -1.0, 1e30, torch.nan)))
        case 1:
            weights["alpha"] = torch.tensor(random.choice((-1.0, 1e30, torch.inf)))
        case 2:
            weights["_scale"] = torch.tensor(random.choice((0, -3, 10**6, 2**62)))
        case 3:  # gigabytes in a file of kilobytes
            whole[random.choice(("more", "cells"))] = torch.zeros(1).expand(3 * 10**9)
        case 4:
            weights[key] = random.choice((None, "text", [1.0], 7, weights[key].to(torch.complex64)))
        case 5:
            weights[key] = torch.zeros(random.choice(((), (3,), (2, 2), (1, 96, 1, 1, 1, 1))))
        case 6:
            whole = random.choice(({}, [], 3, "text", {"model_state_dict": None}, weights))
        case 7:
            whole["cells"] = random.choice(("2 m", [2.0], [1, -1], [10**400] * 2, [[1], [2]]))
    return whole


def damaged_checkpoint(random: Random, folder: Path) -> Ending:
    """Load a damaged copy of the shipped weights: the same weights, or an error."""
    path = folder / "damaged.pth"
    folder.mkdir(parents=True)
    shutil.copy(SHIPPED, path)
    damage(random, path)
    return Process(lambda: _loaded(path), folder).ending(_loaded(SHIPPED).__eq__, limit=30)


def hostile_checkpoint(random: Random, folder: Path) -> Ending:
    """Load a file that is whole, but made to do harm or of something else: always an error."""
    path = folder / "hostile.pth"
    folder.mkdir(parents=True)
    if random.random() < 0.1:
        path.write_text("<!DOCTYPE html><title>404</title>")
    elif random.random() < 0.1:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as records:
            for name in ("archive/data.pkl", "archive/data/0"):
                records.writestr(name, bytes(10**8))
    else:
        torch.save(hostile(random), path)
    return Process(lambda: _loaded(path), folder).ending(lambda _: False, limit=30)


@cache
def _loaded(path: Path) -> str:
    rule = load_rule(str(path))
    return str([tensor.double().sum().item() for tensor in rule.state_dict().values()])


def damaged_run(random: Random, folder: Path, expected: str, begun: Path) -> Ending:
    """Resume a copy of a run in whose folder something happened: equal, or said."""
    shutil.copytree(begun, folder / "runs")
    (run,) = (folder / "runs").glob("tiny_*")
    what = random.choice(("damage", "damage", "damage", "delete", "swap", "edit", "edit"))
    files = sorted(path for path in run.iterdir() if path.name != ".lock")
    path, other = random.sample(files, 2)
    if what == "damage":
        damage(random, path)
    elif what == "delete":
        path.unlink()
    elif what == "swap":
        shutil.copy(path, other)
    else:
        random.choice(EDITS)(random, run)
    return Process(lambda: train(folder / "runs"), folder).ending(expected.__eq__)


def _log(change: Callable[[Random, list[str]], Any]) -> Callable[[Random, Path], None]:
    def edit(random: Random, run: Path) -> None:
        lines = (run / "metrics.csv").read_text().splitlines()
        changed = change(random, lines)
        (run / "metrics.csv").write_text("\n".join(changed or lines) + "\n")

    return edit


def _config(change: Callable[[Random, dict], Any]) -> Callable[[Random, Path], None]:
    def edit(random: Random, run: Path) -> None:
        content = json.loads((run / "config.json").read_text())
        change(random, content)
        (run / "config.json").write_text(json.dumps(content))

    return edit


EDITS: tuple[Callable[[Random, Path], Any], ...] = (
    _log(lambda random, lines: ["\ufeff" + line.replace(",", ";") for line in lines]),
    _log(lambda random, lines: [line.replace(",", ".0,", 1) for line in lines]),
    _log(lambda random, lines: lines.pop(random.randrange(1, len(lines)))),
    _log(lambda random, lines: lines.append(lines[-1])),
    _log(lambda random, lines: lines.__setitem__(3, lines[3].partition(",")[0] + ",")),
    _log(lambda random, lines: lines.__setitem__(3, lines[3] + "1")),
    _log(lambda random, lines: lines.reverse()),
    _config(lambda random, content: content["parameters"].update(seed="many")),
    _config(lambda random, content: content["parameters"].update(seed=random.randrange(1, 99))),
    _config(lambda random, content: content["parameters"].update(learning_rate=-1.0)),
    _config(lambda random, content: content["parameters"].pop(random.choice(("seed", "epochs")))),
    _config(lambda random, content: content.pop(random.choice(list(content)))),
    _config(lambda random, content: content.update(begun=random.choice((3, None, "then")))),
    _config(lambda random, content: content.update(torch_threads=77)),
    lambda random, run: shutil.copy(SHIPPED, run / "ca_model_step_99.pth"),
    lambda random, run: torch.save({"cases": 3}, next(run.glob("ca_pool_step_*"))),
    lambda random, run: torch.save(hostile(random), max(run.glob("ca_model_step_*"))),
    lambda random, run: shutil.move(run / "config.json", run / "config (1).json"),
    lambda random, run: (run / f"ca_model_step_{EVERY * 3}.pth").rename(
        run / f"ca_model_step_{EPOCHS}.pth"
    ),
    lambda random, run: [(run / f"ca_model_step_{n}.pth").mkdir() for n in (1, 77)],
)


def double(x: float) -> float:
    """Return twice a number; ``damaged_cache`` compiles this."""
    return 2 * x


def damaged_cache(random: Random, folder: Path) -> Ending:
    """Run compiled code from a cache in which files were damaged."""
    place = folder / "cache"
    place.mkdir(parents=True)

    def work() -> float:
        vars(config)["CACHE_DIR"] = str(place)
        return native(double)(4.0)

    Process(work, folder).wait()
    for file in place.rglob("*.nb?"):
        if random.random() < 0.7:
            damage(random, file)
    return Process(work, folder).ending("8.0".__eq__)
