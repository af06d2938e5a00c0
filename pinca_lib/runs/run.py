"""Run folders: a configuration, a log, checkpoints, and going on exactly where a run stopped.

A folder ``<output_dir>/<experiment>_<YYYYmmdd-HHMMSS>/`` holds

    config.json              every parameter, versions, the data's fingerprint, the git revision
    metrics.csv              one row an iteration
    ca_model_step_<i>.pth    the newest three: weights, optimiser, schedule and random state
                             after i iterations
    ca_pool_step_<i>.pth     the sample pool that belongs to the newest of them
"""

import platform
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pinca_lib import __version__
from pinca_lib.automaton import CA
from pinca_lib.channels import TOPO
from pinca_lib.datasets import WindDataset
from pinca_lib.errors import InputError
from pinca_lib.runs.checkpoints import (
    checkpoint_path,
    checkpoints,
    fingerprint_of,
    load_tensors,
    save_tensors,
)
from pinca_lib.runs.files import (
    append_row,
    cut_log,
    git_revision,
    new_folder,
    read_json,
    write_json,
)
from pinca_lib.runs.parameters import PARAMETERS, input_path, output_path
from pinca_lib.runs.progress import Progress
from pinca_lib.training import Training
from pinca_lib.writing import flush_to_disk

CHECKPOINT_EVERY = 50  # iterations: the most that a power cut can cost
CHECKPOINTS_KEPT = 3
FREE_ON_RESUME = {"epochs", "device", "data_dir", "init_checkpoint", "output_dir", "resume"}


class Run:
    """One run of an experiment, new or resumed.

    Parameters
    ----------
    experiment : str
        Name of the experiment, the first part of the folder's name.
    parameters : SimpleNamespace
        From ``parameters.read_parameters``. If ``resume`` names a run folder, or is
        ``"latest"``, that run goes on with its own parameters; only ``epochs``, ``device``,
        ``data_dir`` (of the same data) and ``init_checkpoint`` (of the same weights) may be given
        anew.

    Attributes
    ----------
    parameters : SimpleNamespace
        What the run uses.
    rows : list of dict
        The log so far.

    Raises
    ------
    InputError
        If the run to resume does not exist, is damaged, or was made with other parameters than
        those given.
    """

    def __init__(self, experiment: str, parameters: SimpleNamespace):
        self.experiment, self.parameters = experiment, parameters
        self.rows: list[dict[str, float]] = []
        self.about: dict[str, Any] = {}  # data and Init-NCA, kept with every checkpoint
        self.folder: Path | None = None  # a new run's is made when its first iteration starts
        if parameters.resume:
            self.folder = _folder_to_resume(experiment, parameters)
            self.parameters = _merged_parameters(self.folder, parameters)

    def __str__(self) -> str:
        if self.folder is None:
            return f"a new run of {self.experiment}"
        return f"{self.folder.name}, from iteration {_resumable_step(self.folder)}"

    def iterations(
        self, training: Training, dataset: WindDataset, init_nca: CA | None = None
    ) -> Iterator[int]:
        """Yield the numbers of the iterations to do, saving checkpoints between them.

        Parameters
        ----------
        training : Training
            Holds all state that a checkpoint must keep; restored first when resuming.
        dataset : WindDataset
            What is trained on; its fingerprint, the range of its cells and the height of its
            tallest building are kept.
        init_nca : CA, optional
            The frozen rule that this one is trained on top of.

        Raises
        ------
        InputError
            If a resumed run was made from other data, or on top of another Init-NCA.
        """
        below = {"init_fingerprint": fingerprint_of(init_nca)} if init_nca else {}
        cells = dataset.cell_sizes
        tallest = float(dataset.states[:, TOPO].max())
        self.about = {"cells": [float(cells.min()), float(cells.max())], "tallest": tallest}
        self.about |= below
        fingerprint = dataset.fingerprint()
        epochs = self.parameters.epochs
        if self.folder:  # resumed, or this cell is run once more after an interrupt
            done = self._restore(training, fingerprint)
        else:
            done = 0
            self.folder = new_folder(output_path(self.parameters.output_dir), self.experiment)
            write_json(self.folder / "config.json", self._config(fingerprint))
            self._save(training, 0)
        with Progress(self.experiment, done, epochs) as progress:
            for iteration in range(done, epochs):
                yield iteration
                done = iteration + 1
                if done % CHECKPOINT_EVERY == 0 or done == epochs:
                    self._save(training, done)
                progress.update(done)

    def log(self, iteration: int, values: dict[str, Tensor | float]) -> None:
        """Append one row to ``rows`` and to ``metrics.csv``; scalars only."""
        scalars = {name: torch.as_tensor(value).item() for name, value in values.items()}
        row = {"iteration": iteration} | scalars
        append_row(self.folder / "metrics.csv", row)
        self.rows.append(row)

    def save_figures(self, figures: dict[str, Figure]) -> None:
        """Write figures as ``<name>.png`` into the run folder."""
        for name, figure in figures.items():
            figure.savefig(self.folder / f"{name}.png", dpi=120)

    def _config(self, fingerprint: str) -> dict[str, Any]:
        values = {k: v for k, v in vars(self.parameters).items() if k in PARAMETERS}
        return {
            "experiment": self.experiment,
            "parameters": values,
            "data_fingerprint": fingerprint,
            **self.about,
            "git_revision": git_revision(),
            "versions": {
                "pinca_lib": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "platform": platform.platform(),
            "torch_threads": torch.get_num_threads(),
        }

    def _save(self, training: Training, done: int) -> None:
        """Write pool and checkpoint; the checkpoint's rename is what makes the pair count."""
        log = self.folder / "metrics.csv"
        if log.exists():
            flush_to_disk(log)
        pool = self.folder / f"ca_pool_step_{done}.pth"
        save_tensors(training.pool.state_dict(), pool)
        saved = training.state_dict() | self.about | {"epoch": done}
        save_tensors(saved, checkpoint_path(self.folder, done))
        for old in checkpoints(self.folder)[:-CHECKPOINTS_KEPT]:
            old.unlink()
        for old in self.folder.glob("ca_pool_step_*.pth"):
            if old != pool:
                old.unlink()

    def _restore(self, training: Training, fingerprint: str) -> int:
        config = read_json(self.folder / "config.json")
        if config["data_fingerprint"] != fingerprint:
            raise InputError(
                f"{self.folder}: the data in data_dir={self.parameters.data_dir!r} is not what "
                "this run was trained on; restore it, or start a new run with resume=''"
            )
        if config.get("init_fingerprint") != self.about.get("init_fingerprint"):
            raise InputError(
                f"{self.folder}: init_checkpoint={self.parameters.init_checkpoint!r} is not the "
                "Init-NCA that this run was trained on top of; name that one, or start a new run "
                "with resume=''"
            )
        done = _resumable_step(self.folder)
        pool = load_tensors(self.folder / f"ca_pool_step_{done}.pth")
        training.load_state_dict(load_tensors(checkpoint_path(self.folder, done)))
        training.pool.load_state_dict(pool)
        self.rows = cut_log(self.folder / "metrics.csv", done)
        return done


def _resumable_step(folder: Path) -> int:
    for path in reversed(checkpoints(folder)):
        step = int(path.stem.rpartition("_")[2])
        if (folder / f"ca_pool_step_{step}.pth").exists():
            return step
    raise InputError(f"{folder}: holds no checkpoint with its pool; this run cannot be resumed")


def _folder_to_resume(experiment: str, parameters: SimpleNamespace) -> Path:
    if parameters.resume != "latest":
        folder = input_path("resume", parameters.resume)
    else:
        output_dir = output_path(parameters.output_dir)
        found = sorted(p for p in output_dir.glob(f"{experiment}_*") if checkpoints(p))
        if not found:
            raise InputError(f"resume='latest': no run of {experiment} in {output_dir}")
        folder = found[-1]
    config = read_json(folder / "config.json")
    if config.get("experiment") != experiment:
        raise InputError(f"{folder}: a run of {config.get('experiment')}, not of {experiment}")
    _resumable_step(folder)
    return folder


def _merged_parameters(folder: Path, now: SimpleNamespace) -> SimpleNamespace:
    """The run's own parameters, with those of FREE_ON_RESUME that are given anew."""
    then = read_json(folder / "config.json")["parameters"]
    if missing := vars(now).keys() - then.keys() - {"given"}:
        raise InputError(
            f"{folder}: made by an older version, which had no {', '.join(sorted(missing))}; "
            "start a new run with resume='' (its checkpoint still serves as init_checkpoint)"
        )
    for name in sorted(now.given - FREE_ON_RESUME):
        if getattr(now, name) != then.get(name):
            raise InputError(
                f"parameter {name}={getattr(now, name)!r}: the run to resume ({folder}) has "
                f"{then.get(name)!r}; leave it out, or start a new run with resume=''"
            )
    anew = {name: getattr(now, name) for name in now.given & FREE_ON_RESUME}
    if not now.given:  # not papermill: an edited cell can make the run longer
        anew["epochs"] = max(now.epochs, then["epochs"])
    return SimpleNamespace(**(then | anew), given=now.given)
