"""Run folders: save what a training needs, and resume it exactly where it stopped.

A folder ``<output_dir>/<experiment>_<YYYYmmdd-HHMMSS>/`` contains

    config.json              all parameters, versions, the fingerprint of the data, the git revision
    metrics.csv              one row per iteration
    ca_model_step_<i>.pth    the newest three checkpoints: weights, optimiser, learning rate
                             schedule and state of the random numbers after i iterations
    ca_pool_step_<i>.pth     the sample pool that belongs to the newest checkpoint
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

CHECKPOINT_EVERY = 50  # iterations; a power cut loses at most this many
CHECKPOINTS_KEPT = 3
# Parameters that may change when a run is resumed.
FREE_ON_RESUME = {"epochs", "device", "data_dir", "init_checkpoint", "output_dir", "resume"}


class Run:
    """One run of an experiment, new or resumed.

    Parameters
    ----------
    experiment : str
        Name of the experiment. The folder's name starts with it.
    parameters : SimpleNamespace
        From ``read_parameters``. If ``resume`` names a run folder, or is ``"latest"``, that run is
        continued with its own parameters. Only ``epochs``, ``device``, ``output_dir``, ``data_dir``
        (if it holds the same data) and ``init_checkpoint`` (if it holds the same weights) may be
        changed.

    Attributes
    ----------
    parameters : SimpleNamespace
        The parameters of the run: for a resumed run, its own.
    rows : list of dict
        The rows of the log so far.

    Raises
    ------
    InputError
        If the run to resume does not exist, is damaged, or has other parameters than those given.
    """

    def __init__(self, experiment: str, parameters: SimpleNamespace):
        self.experiment, self.parameters = experiment, parameters
        self.rows: list[dict[str, float]] = []
        self.about: dict[str, Any] = {}  # on data and Init-NCA, saved in every checkpoint
        self._folder: Path | None = None  # of a new run; made when its first iteration starts
        if parameters.resume:
            self._folder = _folder_to_resume(experiment, parameters)
            self.parameters = _merged_parameters(self._folder, parameters)

    @property
    def folder(self) -> Path:
        """The run folder.

        Raises
        ------
        RuntimeError
            If the run is new and its first iteration has not started: only then is the folder made.
        """
        if self._folder is None:
            raise RuntimeError(
                f"this run of {self.experiment} has no folder yet: it is made when the first "
                "iteration starts"
            )
        return self._folder

    def __str__(self) -> str:
        if self._folder is None:
            return f"a new run of {self.experiment}"
        return f"{self._folder.name}, from iteration {_resumable_step(self._folder)}"

    def iterations(
        self, training: Training, dataset: WindDataset, init_nca: CA | None = None
    ) -> Iterator[int]:
        """Yield the numbers of the remaining iterations, and save checkpoints between them.

        Parameters
        ----------
        training : Training
            The training that checkpoints save. If the run is resumed, it is restored first.
        dataset : WindDataset
            The training data. The run saves their fingerprint, the least and largest cell size and
            the height of the tallest building.
        init_nca : CA, optional
            The frozen rule below the one that is trained.

        Raises
        ------
        InputError
            If a resumed run was trained on other data, or on top of another Init-NCA.
        """
        cells = dataset.cell_sizes
        tallest = float(dataset.states[:, TOPO].max())
        self.about = {"cells": [float(cells.min()), float(cells.max())], "tallest": tallest}
        if init_nca:
            self.about["init_fingerprint"] = fingerprint_of(init_nca)
        fingerprint = dataset.fingerprint()
        epochs = self.parameters.epochs
        if self._folder:  # the run is resumed, or the notebook cell is run again after an interrupt
            done = self._restore(training, fingerprint)
        else:
            done = 0
            self._folder = new_folder(output_path(self.parameters.output_dir), self.experiment)
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
        """Append a row to ``rows`` and to ``metrics.csv``.

        Parameters
        ----------
        iteration : int
        values : dict of str to Tensor or float
            Scalars, by name.
        """
        scalars = {name: torch.as_tensor(value).item() for name, value in values.items()}
        row = {"iteration": iteration} | scalars
        append_row(self.folder / "metrics.csv", row)
        self.rows.append(row)

    def save_figures(self, figures: dict[str, Figure]) -> None:
        """Save figures as ``<name>.png`` in the run folder."""
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
        """Save the sample pool, then the checkpoint, and delete what is no longer needed.

        A checkpoint without its pool cannot be resumed. So the pool comes first: once the
        checkpoint is there, the pair is complete.
        """
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
        """Restore the newest checkpoint, and return the number of iterations that are done."""
        config = read_json(self.folder / "config.json")
        if config["data_fingerprint"] != fingerprint:
            raise InputError(
                f"{self.folder}: the data in data_dir={self.parameters.data_dir!r} is not what "
                "this run was trained on; restore it, or start a new run with resume=''"
            )
        if config.get("init_fingerprint") != self.about.get("init_fingerprint"):
            raise InputError(
                f"{self.folder}: init_checkpoint={self.parameters.init_checkpoint!r} is not the "
                "Init-NCA that this run was trained on top of; give that one, or start a new run "
                "with resume=''"
            )
        done = _resumable_step(self.folder)
        pool = load_tensors(self.folder / f"ca_pool_step_{done}.pth")
        training.load_state_dict(load_tensors(checkpoint_path(self.folder, done)))
        training.pool.load_state_dict(pool)
        self.rows = cut_log(self.folder / "metrics.csv", done)
        return done


def _resumable_step(folder: Path) -> int:
    """Return the number of iterations of the newest checkpoint that has its pool."""
    for path in reversed(checkpoints(folder)):
        step = int(path.stem.rpartition("_")[2])
        if (folder / f"ca_pool_step_{step}.pth").exists():
            return step
    raise InputError(
        f"{folder}: cannot be resumed; it has no pair of ca_model_step_<i>.pth and "
        "ca_pool_step_<i>.pth"
    )


def _folder_to_resume(experiment: str, parameters: SimpleNamespace) -> Path:
    """Return the folder that ``resume`` names, after checks."""
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
        raise InputError(f"{folder}: is a run of {config.get('experiment')}, not of {experiment}")
    _resumable_step(folder)
    return folder


def _merged_parameters(folder: Path, now: SimpleNamespace) -> SimpleNamespace:
    """Return the run's own parameters, updated by the given ones that are in FREE_ON_RESUME."""
    then = read_json(folder / "config.json")["parameters"]
    if missing := vars(now).keys() - then.keys() - {"given"}:
        raise InputError(
            f"{folder}: was made by an older version without the parameters "
            f"{', '.join(sorted(missing))}; start a new run with resume='' (the checkpoints of the "
            "old one can still be given as init_checkpoint)"
        )
    for name in sorted(now.given - FREE_ON_RESUME):
        if getattr(now, name) != then.get(name):
            raise InputError(
                f"parameter {name}={getattr(now, name)!r}: the run to resume ({folder}) has "
                f"{then.get(name)!r}; leave it out, or start a new run with resume=''"
            )
    changed = {name: getattr(now, name) for name in now.given & FREE_ON_RESUME}
    if not now.given:  # without papermill, an edit of the parameters cell can extend the run
        changed["epochs"] = max(now.epochs, then["epochs"])
    return SimpleNamespace(**(then | changed), given=now.given)
