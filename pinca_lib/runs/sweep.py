"""Many trainings: a notebook with many parameters, as tasks on a Dask cluster.

Each task has a folder of its own in the sweep's folder:

    <task>/notebook.ipynb                   the notebook as papermill ran it
    <task>/<experiment>_<YYYYmmdd-HHMMSS>/  the run folder, as of any training
    <task>/result.json                      the last row of the log; the task is done

Dask schedules, repeats and moves the tasks. A task that is started again goes on from the newest
checkpoint in its folder, so a worker that dies costs what its task did since then.
"""

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pinca_lib.errors import InputError, first_line, needed, shown
from pinca_lib.runs.checkpoints import checkpoints
from pinca_lib.runs.parameters import PARAMETERS, PROJECT_ROOT, checked
from pinca_lib.writing import written_whole

REPEATS = 1  # how often a task that failed is tried again
QUIET = ["--log-level=CRITICAL"]  # of the kernel, whose messages would go to the sweep's own output
OWN = ("output_dir", "resume")  # parameters that a sweep sets itself


@dataclass(frozen=True)
class Task:
    """One training of a sweep.

    Attributes
    ----------
    notebook : Path
    folder : Path
        Its own folder.
    settings : dict
        What sets it apart from the other tasks.
    parameters : dict
        All parameters that are given to the notebook, but for ``output_dir`` and ``resume``.
    """

    notebook: Path
    folder: Path
    settings: dict[str, Any]
    parameters: dict[str, Any]

    @property
    def result(self) -> dict[str, Any] | None:
        """The last row of the log, if the task is done with these parameters."""
        try:
            found = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found["result"] if found.get("parameters") == self.parameters else None


def sweep_tasks(
    notebook: Path | str,
    folder: Path | str,
    settings: Mapping[str, Sequence[Any]],
    common: Mapping[str, Any] | None = None,
) -> list[Task]:
    """Return a task for every combination of settings.

    Parameters
    ----------
    notebook : Path or str
        Of a training, such as ``notebooks/01_init_nca.ipynb``.
    folder : Path or str
        Of the sweep.
    settings : mapping of str to sequence
        The values of each parameter that is varied.
    common : mapping, optional
        Parameters that all tasks share.

    Raises
    ------
    InputError
        If a parameter is unknown, a value is not valid, or there is nothing to vary.
    """
    given = dict(common or {})
    for name, values in settings.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise InputError(f"settings: {shown(name)} is {shown(values)}; expected a list")
    for name in [*settings, *given]:
        if name not in PARAMETERS:
            raise InputError(f"settings: unknown parameter {shown(name)!r}")
        if name in OWN:
            raise InputError(f"settings: {name} is set by the sweep itself")
    tasks = []
    for values in itertools.product(*settings.values()):
        own = {name: checked(name, v) for name, v in zip(settings, values, strict=True)}
        name = ",".join(f"{key}={value}" for key, value in own.items())
        place = Path(folder) / re.sub(r"[^\w=,.+-]+", "-", name)
        tasks.append(Task(Path(notebook), place, own, given | own))
    if len({task.folder for task in tasks}) < len(tasks) or not settings:
        raise InputError("settings: expected at least one list of values that differ")
    return tasks


def train(task: Task) -> dict[str, Any]:
    """Run a task, or go on with it, and return the last row of its log.

    Raises
    ------
    InputError
        With the message of the notebook, if it stopped with an error.
    """
    import papermill

    if (done := task.result) is not None:
        return done
    task.folder.mkdir(parents=True, exist_ok=True)
    given = task.parameters | {"output_dir": str(task.folder)}
    runs = sorted(run for run in task.folder.iterdir() if run.is_dir() and checkpoints(run))
    if runs:
        given["resume"] = str(runs[-1])
    began = time.monotonic()
    try:
        papermill.execute_notebook(
            task.notebook, task.folder / "notebook.ipynb", given, cwd=PROJECT_ROOT,
            progress_bar=False, extra_arguments=QUIET,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise InputError(f"{task.folder.name}: {error.ename}: {shown(error.evalue, 300)}") from None
    # A worker that died before its first checkpoint leaves a log, too, but an older one.
    log = max(task.folder.glob("*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    row = pd.read_csv(log).iloc[-1].to_dict()
    result = row | {"run": log.parent.name, "seconds": round(time.monotonic() - began, 1)}
    with written_whole(task.folder / "result.json") as partial:
        content = {"parameters": task.parameters, "result": result}
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return result


def connect(scheduler: str = "", workers: int = 2):
    """Return a client of a Dask cluster.

    Parameters
    ----------
    scheduler : str
        Address of a scheduler that runs already, such as ``tcp://10.0.0.1:8786``: one on a SLURM
        or Kubernetes cluster, say. Its workers need this project and the same files. Without it, a
        cluster of this machine's cores is started.
    workers : int
        Processes of the cluster on this machine, of one thread each.

    Raises
    ------
    InputError
        If Dask is missing, or the scheduler does not answer.
    """
    needed("distributed", "a sweep", "cluster")
    from distributed import Client, LocalCluster

    if not scheduler:
        return Client(LocalCluster(n_workers=workers, threads_per_worker=1))
    try:
        return Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"scheduler={shown(scheduler)!r}: no answer ({first_line(error)}); start one with "
            "`dask scheduler`, and workers with `dask worker ADDRESS`"
        ) from error


def sweep_tables(tasks: Sequence[Task], client) -> Iterator[pd.DataFrame]:
    """Run tasks on a Dask cluster and yield the table of all tasks whenever one has ended.

    Parameters
    ----------
    tasks : sequence of Task
    client : distributed.Client

    Yields
    ------
    DataFrame
        A row for each task: its settings, ``state`` ("waiting", "done" or "failed"), the last row
        of its log, and the ``error`` of those that failed.
    """
    from distributed import as_completed

    rows = [task.settings | {"state": "waiting", "error": ""} for task in tasks]
    futures = {}
    for number, task in enumerate(tasks):
        if (done := task.result) is not None:
            rows[number] |= {"state": "done"} | done
        else:
            futures[client.submit(train, task, retries=REPEATS, pure=False)] = number
    yield pd.DataFrame(rows)
    for future in as_completed(list(futures)):
        number = futures[future]
        if future.status == "finished":
            rows[number] |= {"state": "done"} | future.result()
        else:
            error = future.exception()  # none if the scheduler is gone
            said = first_line(error) if error else "the scheduler is gone; run the sweep again"
            rows[number] |= {"state": "failed", "error": said}
        future.release()
        yield pd.DataFrame(rows)
