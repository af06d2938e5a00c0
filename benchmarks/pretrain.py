"""Train the weights that ship in ``data/pretrained``: notebook 01, then 02 on top of it.

    python -m benchmarks.pretrain [--seed 0] [--member 1] [--init-epochs 3000] [--pi-epochs 2000]

Runs the notebooks headlessly with papermill into ``outputs/pretrain/<name>_<seed>``; started again
after a stop, it goes on from the newest checkpoints. When both are trained, the weights alone are
written to ``data/pretrained``, each with a card that says how it was made. Member 1 is what the
notebooks load, members 2 and 3 are in ``ensemble``; of the three that ship, member 1 comes
nearest to the measured cases. ``calibrate`` then has to make new error bars.
"""

import argparse
import json
from pathlib import Path

import papermill

from pinca_lib.runs import PROJECT_ROOT
from pinca_lib.runs.checkpoints import checkpoints
from pinca_lib.runs.tensor_files import load_tensors, save_tensors

PRETRAINED = PROJECT_ROOT / "data" / "pretrained"
EXPERIMENTS = {"init_nca": "01_init_nca", "pi_nca": "02_pi_nca"}


def train(experiment: str, folder: Path, epochs: int, **parameters) -> Path:
    """Run an experiment's notebook up to ``epochs`` iterations; return its run folder."""
    begun = sorted(path for path in folder.glob(f"{experiment}_*") if checkpoints(path))
    given = {"output_dir": str(folder), "epochs": epochs, **parameters}
    if begun:  # with other parameters than it began with, the notebook stops
        given["resume"] = str(begun[-1])
    notebook = EXPERIMENTS[experiment]
    papermill.execute_notebook(
        PROJECT_ROOT / "notebooks" / f"{notebook}.ipynb",
        folder / f"{notebook}.ipynb",
        given,
        cwd=PROJECT_ROOT,
    )
    return sorted(path for path in folder.glob(f"{experiment}_*") if checkpoints(path))[-1]


def is_local(name: str) -> bool:
    """Return whether a parameter says nothing of the weights, or is said by ``iterations``."""
    return name.endswith("_dir") or name in ("device", "epochs", "resume")


def ship(experiment: str, run: Path, member: int) -> None:
    """Write the newest weights of a run to ``data/pretrained``, with their card."""
    path = PRETRAINED / f"{experiment}.pth"
    if member > 1:
        path = PRETRAINED / "ensemble" / f"{experiment}_{member}.pth"
    saved = load_tensors(checkpoints(run)[-1])
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    card = {
        "experiment": experiment,
        "iterations": saved["epoch"],
        "parameters": {k: v for k, v in config["parameters"].items() if not is_local(k)},
        "data_fingerprint": config["data_fingerprint"],
        "versions": config["versions"],
    }
    kept = ("model_state_dict", "epoch", "cells", "tallest", "init_fingerprint")
    weights = {key: saved[key] for key in kept if key in saved}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(weights, path)
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train both rules and ship them."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--name", default="shipped", help="folder in outputs/pretrain")
    arguments.add_argument("--init-epochs", type=int, default=3000, help="of the Init-NCA")
    arguments.add_argument("--pi-epochs", type=int, default=2000, help="of the PI-NCA")
    arguments.add_argument("--data-dir", default="data/train", help="city files to train on")
    arguments.add_argument(
        "--larger-dir", default="data/train_256m", help="more of them, on a larger grid"
    )
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--member", type=int, default=1, help="which the weights become")
    arguments.add_argument("--device", default="cpu", help="to train on")
    arguments.add_argument("--keep", action="store_true", help="leave data/pretrained as it is")
    chosen = arguments.parse_args()
    folder = PROJECT_ROOT / "outputs" / "pretrain" / f"{chosen.name}_{chosen.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    full = {"data_dir": chosen.data_dir, "larger_dir": chosen.larger_dir, "pool_size": 256}
    full |= {"seed": chosen.seed, "device": chosen.device}
    init = train("init_nca", folder, chosen.init_epochs, **full)
    below = init.relative_to(PROJECT_ROOT).as_posix()  # cards name no path of this machine
    run = train("pi_nca", folder, chosen.pi_epochs, init_checkpoint=below, **full)
    if not chosen.keep:
        ship("init_nca", init, chosen.member)
        ship("pi_nca", run, chosen.member)


if __name__ == "__main__":
    main()
