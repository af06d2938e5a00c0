"""Run folders: save what a training needs, and resume it exactly where it stopped.

A folder ``<output_dir>/<experiment>_<YYYYmmdd-HHMMSS>/`` contains

    config.json              all parameters, versions, the fingerprint of the data, the git revision
    metrics.csv              one row per iteration
    ca_model_step_<i>.pth    the newest three checkpoints: weights, optimiser, learning rate
                             schedule and state of the random numbers after i iterations
    ca_pool_step_<i>.pth     the sample pool that belongs to the newest checkpoint
    .lock                    held by the process that trains in the folder

A checkpoint and its pool carry the digest of ``config.json``, and a checkpoint that of the log so
far. When a run is resumed, what was changed since then is refused or reported. If the newest
checkpoint is damaged, an older one is used. Pools are large, so older ones are not kept: a
training then begins with a fresh pool, as it does every 500 iterations anyway.

Of several processes that train together, the first one writes all files. They hold the parts of the
pool and the random numbers of all processes, so a run can go on with another number of processes.
"""

import platform
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from matplotlib.figure import Figure
from torch import Tensor

from pinca_lib import __version__
from pinca_lib.automaton import CA
from pinca_lib.channels import TOPO
from pinca_lib.datasets import WindDataset
from pinca_lib.errors import InputError, first_line, shown
from pinca_lib.runs.checkpoints import checkpoint_path, checkpoints, fingerprint_of
from pinca_lib.runs.files import (
    digest_of,
    git_revision,
    locked,
    new_folder,
    read_json,
    write_json,
)
from pinca_lib.runs.log import Log
from pinca_lib.runs.parameters import PARAMETERS, output_path
from pinca_lib.runs.progress import Progress
from pinca_lib.runs.resuming import folder_to_resume, merged_parameters
from pinca_lib.runs.tensor_files import load_tensors, save_tensors, size_of
from pinca_lib.training import SamplePool, SamplePools, Training
from pinca_lib.training.processes import PROCESSES
from pinca_lib.writing import written_whole

CHECKPOINT_EVERY = 50  # iterations; a power cut loses at most this many
CHECKPOINTS_KEPT = 3
PATIENCE = 60.0  # s, how long the last checkpoint waits for space on the disk


class Run:
    """One run of an experiment, new or resumed.

    Parameters
    ----------
    experiment : str
        Name of the experiment. The folder's name starts with it.
    parameters : SimpleNamespace
        From ``read_parameters``. If ``resume`` names a run folder, or is ``"latest"``, that run is
        continued with its own parameters. Only ``epochs``, ``device``, ``output_dir``, ``data_dir``
        and ``larger_dir`` (if they hold the same data) and ``init_checkpoint`` (if it holds the
        same weights) may be changed.

    Attributes
    ----------
    parameters : SimpleNamespace
        The parameters of the run: for a resumed run, its own.

    Raises
    ------
    InputError
        If the run to resume does not exist, is damaged, has other parameters than those given, or
        is trained by another process, or if several processes cannot share its samples equally.
    """

    def __init__(self, experiment: str, parameters: SimpleNamespace):
        self.experiment, self.parameters = experiment, parameters
        self.about: dict[str, Any] = {}  # on data and Init-NCA, saved in every checkpoint
        self._folder: Path | None = None  # of a new run; made when its first iteration starts
        self._log: Log | None = None
        self._lock: FileLock | None = None
        self._config_digest = ""
        if parameters.resume:
            self._folder = folder_to_resume(experiment, parameters)
            self._lock_folder()
            self.parameters = merged_parameters(self._folder, parameters)
        for name in ("pool_size", "batch_size"):
            PROCESSES.share(name, getattr(self.parameters, name, 0))

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

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows of the log so far."""
        return self._log.rows if self._log else []

    def __str__(self) -> str:
        if self._folder is None:
            return f"a new run of {self.experiment}"
        return f"{self._folder.name}, from iteration {_step(checkpoints(self._folder)[-1])}"

    def iterations(
        self,
        training: Training,
        dataset: WindDataset,
        init_nca: CA | None = None,
        larger: Sequence[WindDataset] = (),
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
        larger : sequence of WindDataset
            Training data on other grids.

        Raises
        ------
        InputError
            If a resumed run was trained on other data, or on top of another Init-NCA, if none of
            its checkpoints is sound, or if the disk stays full.
        """
        datasets = [dataset, *larger]
        cells = torch.cat([data.cell_sizes for data in datasets])
        tallest = max(float(data.states[:, TOPO].max()) for data in datasets)
        self.about = {"cells": [float(cells.min()), float(cells.max())], "tallest": tallest}
        if init_nca:
            self.about["init_fingerprint"] = fingerprint_of(init_nca)
        fingerprint = "+".join(data.fingerprint() for data in datasets)
        epochs = self.parameters.epochs
        if self._folder:  # the run is resumed, or the notebook cell is run again after an interrupt
            self._lock_folder()
            done = self._restore(training, fingerprint)
        else:
            done = 0
            if PROCESSES.is_first:
                self._folder = new_folder(output_path(self.parameters.output_dir), self.experiment)
            self._folder = PROCESSES.same(self._folder)
            self._lock_folder()
            self._log = Log(self.folder / "metrics.csv")
            self._begin(training, fingerprint)
        with Progress(self.experiment, done, epochs) as progress:
            for iteration in range(done, epochs):
                yield iteration
                done = iteration + 1
                if done % CHECKPOINT_EVERY == 0 or done == epochs:
                    self._try_to_save(training, done, is_last=done == epochs)
                progress.update(done)
        if self._lock:
            self._lock.release(force=True)
        PROCESSES.same(None)  # all wait until the last checkpoint is saved

    def log(self, iteration: int, values: dict[str, Tensor | float]) -> None:
        """Append a row to ``rows`` and to ``metrics.csv``.

        Parameters
        ----------
        iteration : int
        values : dict of str to Tensor or float
            Scalars, by name; of several processes, the means are logged.

        Raises
        ------
        RuntimeError
            If the run is new and its first iteration has not started.
        """
        scalars = {name: torch.as_tensor(value).item() for name, value in values.items()}
        if self._log is None:
            raise RuntimeError(f"{self}: rows can be logged when its first iteration has started")
        if PROCESSES.count > 1:
            means = PROCESSES.mean(torch.tensor(list(scalars.values()), dtype=torch.float64))
            scalars = dict(zip(scalars, means.tolist(), strict=True))
        row = {"iteration": iteration} | scalars
        if PROCESSES.is_first:
            self._log.append(row)
        else:
            self._log.rows.append(row)

    def save_figures(self, figures: dict[str, Figure]) -> None:
        """Save figures as ``<name>.png`` in the run folder; warn if that is not possible."""
        if not PROCESSES.is_first:
            return
        for name, figure in figures.items():
            path = self.folder / f"{name}.png"
            try:
                with written_whole(path) as partial:
                    figure.savefig(partial, dpi=120)
            except OSError as error:
                warnings.warn(f"{path}: cannot be written ({error.strerror})", stacklevel=2)

    def _config(self, fingerprint: str) -> dict[str, Any]:
        values = {k: v for k, v in vars(self.parameters).items() if k in PARAMETERS}
        return {
            "experiment": self.experiment,
            "begun": datetime.now(UTC).isoformat(),
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
            "processes": PROCESSES.count,
        }

    def _lock_folder(self) -> None:
        if PROCESSES.is_first:
            self._lock = locked(self.folder)

    def _begin(self, training: Training, fingerprint: str) -> None:
        """Write the configuration of a new run, and its first checkpoint."""
        states = _states(training)
        if not PROCESSES.is_first:
            return
        try:
            write_json(self.folder / "config.json", self._config(fingerprint))
            self._config_digest = digest_of(read_json(self.folder / "config.json"))
            self._save(states, 0)
        except OSError as error:
            raise InputError(self._unsaved(states, 0, error)) from error

    def _save(self, states: tuple[dict[str, Any], dict[str, Any]], done: int) -> None:
        """Save the sample pool, then the checkpoint, and delete what is no longer needed.

        A checkpoint without its pool cannot be resumed exactly. So the pool comes first: once the
        checkpoint is there, the pair is complete.
        """
        assert self._log is not None
        with suppress(OSError):  # the log is less than the weights; its rows are written later
            self._log.flush()
        pool = self.folder / f"ca_pool_step_{done}.pth"
        belongs = {"epoch": done, "config": self._config_digest}
        try:
            save_tensors(states[0] | belongs, pool)
            saved = states[1] | self.about | belongs | {"log": self._log.digest()}
            save_tensors(saved, checkpoint_path(self.folder, done))
        except OSError:
            pool.unlink(missing_ok=True)  # to leave its space to the next try
            raise
        for old in checkpoints(self.folder)[:-CHECKPOINTS_KEPT]:
            _delete(old)
        for old in self.folder.glob("ca_pool_step_*.pth"):
            if old != pool:
                _delete(old)

    def _try_to_save(self, training: Training, done: int, is_last: bool) -> None:
        """Save a checkpoint. On a full disk, go on training, or wait with the last checkpoint."""
        states = _states(training)
        if not PROCESSES.is_first:
            return
        last_try = time.monotonic() + PATIENCE * is_last
        while True:
            try:
                return self._save(states, done)
            except OSError as error:
                problem = self._unsaved(states, done, error)
            if is_last and time.monotonic() > last_try:
                raise InputError(f"{problem}; make space, and resume the run")
            then = f"waiting for {PATIENCE:g} s" if is_last else "the training goes on without it"
            warnings.warn(f"{problem}; {then}: please make space", stacklevel=3)
            if not is_last:
                return None
            time.sleep(1)

    def _unsaved(self, states: tuple[dict, dict], done: int, error: OSError) -> str:
        """Return why a checkpoint could not be saved, and how much space it needs."""
        needed = size_of(states) / 1e6
        free = shutil.disk_usage(self.folder).free / 1e6
        return (
            f"{self.folder}: the checkpoint after {done} iterations cannot be written "
            f"({error.strerror or error}); it needs {needed:.0f} MB, {free:.0f} MB are free"
        )

    def _restore(self, training: Training, fingerprint: str) -> int:
        """Restore the newest sound checkpoint; return the number of iterations that are done."""
        config = read_json(self.folder / "config.json")
        self._check_origin(config, fingerprint)
        self._config_digest = digest_of(config)
        done, saved = self._newest_restored(training)
        try:
            self._restored(self.folder / f"ca_pool_step_{done}.pth", training.pool)
        except InputError as error:
            _warn(
                f"{error}; going on with a fresh sample pool, so the run will differ from an "
                "uninterrupted one"
            )
            training.pool.refresh()
        path = self.folder / "metrics.csv"
        self._log = Log.resumed(path, done) if PROCESSES.is_first else Log(path)
        if PROCESSES.is_first and saved.get("log", self._log.digest()) != self._log.digest():
            _warn(
                f"{self._log.path}: rows of the first {done} iterations were changed or deleted; "
                f"going on with the {len(self.rows)} that are there"
            )
        self._log.rows = PROCESSES.same(self._log.rows)
        then, now = config.get("torch_threads"), torch.get_num_threads()
        if then != now and next(training.rule.parameters()).device.type == "cpu":
            _warn(
                f"{self.folder}: was begun with {shown(then)} threads and goes on with {now}, so "
                "the last digits of its numbers will differ from an uninterrupted run"
            )
        if (before := config.get("processes", 1)) != PROCESSES.count:
            _warn(
                f"{self.folder}: was begun by {shown(before)} processes and goes on with "
                f"{PROCESSES.count}, so it will differ from an uninterrupted run"
            )
        return done

    def _check_origin(self, config: dict[str, Any], fingerprint: str) -> None:
        """Check that data and Init-NCA are those of the run."""
        if config.get("data_fingerprint") != fingerprint:
            given = f"data_dir={self.parameters.data_dir!r}"
            if larger := getattr(self.parameters, "larger_dir", ""):
                given += f" or in larger_dir={larger!r}"
            raise InputError(
                f"{self.folder}: the data in {given} is not what this run was trained on; restore "
                "it, or start a new run with resume=''"
            )
        if config.get("init_fingerprint") != self.about.get("init_fingerprint"):
            raise InputError(
                f"{self.folder}: init_checkpoint={self.parameters.init_checkpoint!r} is not the "
                "Init-NCA that this run was trained on top of; give that one, or start a new run "
                "with resume=''"
            )

    def _newest_restored(self, training: Training) -> tuple[int, dict[str, Any]]:
        """Restore the newest sound checkpoint; return its iteration and content."""
        for path in reversed(checkpoints(self.folder)):
            try:
                return _step(path), self._restored(path, training)
            except InputError as error:
                _warn(f"{error}; going back to the checkpoint before it")
        raise InputError(
            f"{self.folder}: cannot be resumed; it has no sound checkpoint (ca_model_step_<i>.pth) "
            "of this run"
        )

    def _restored(self, path: Path, part: Training | SamplePool | SamplePools) -> dict[str, Any]:
        """Load a file of this run into the training or its pool, and return its content."""
        saved = load_tensors(path)
        belongs = {"epoch": _step(path), "config": self._config_digest}
        try:
            differs = [name for name in belongs if saved.get(name, belongs[name]) != belongs[name]]
            if not differs:
                part.load_state_dict(saved)
        except Exception as error:  # files of another kind fail in many ways
            raise InputError(f"{path}: does not fit this run ({first_line(error)})") from error
        if "epoch" in differs:
            raise InputError(
                f"{path}: is of iteration {shown(saved['epoch'])}; it was renamed, or is of "
                "another run"
            )
        if differs:
            raise InputError(
                f"{path}: does not belong to config.json, which was changed since, or is of "
                "another run; restore it"
            )
        return saved


def _states(training: Training) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is saved of the pool and of the rest of a training, of all its processes."""
    return training.pool.state_dict(), training.state_dict()


def _step(path: Path) -> int:
    """Return the number of iterations in the name of a checkpoint or a sample pool."""
    return int(path.stem.rpartition("_")[2])


def _warn(text: str) -> None:
    """Warn at the line that called the run."""
    warnings.warn(text, stacklevel=4)


def _delete(path: Path) -> None:
    """Delete a file. If another program holds it, the next checkpoint tries again."""
    with suppress(OSError):
        path.unlink()
