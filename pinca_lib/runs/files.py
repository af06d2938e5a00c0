"""Make a run folder, and read and write its configuration and its log."""

import json
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from pinca_lib.errors import InputError, shown
from pinca_lib.runs.parameters import PROJECT_ROOT
from pinca_lib.writing import written_whole


def new_folder(output_dir: Path, experiment: str) -> Path:
    """Make and return ``<output_dir>/<experiment>_<YYYYmmdd-HHMMSS>``.

    Raises
    ------
    InputError
        If the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        while True:
            folder = output_dir / f"{experiment}_{datetime.now():%Y%m%d-%H%M%S}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:  # another run started within the same second
                time.sleep(1)
    except OSError as error:
        raise InputError(f"output_dir: cannot write to {output_dir} ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of the ``config.json`` of a run.

    Raises
    ------
    InputError
        If the file cannot be read, or is not the configuration of a run.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({shown(error)}); is this a run folder?"
        ) from error
    if not isinstance(content, dict) or "parameters" not in content:
        raise InputError(f"{path}: not the config.json of a run")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the configuration of a run as JSON."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV log; a new log first gets a row with the names of its columns."""
    table = pd.DataFrame([row])
    table.to_csv(path, mode="a", header=not path.exists(), index=False, na_rep="nan")


def cut_log(path: Path, before: int) -> list[dict[str, float]]:
    """Remove the rows of a log from some iteration on, and incomplete rows.

    Parameters
    ----------
    path : Path
        A CSV file with a column ``iteration``. If no row is left, it is deleted.
    before : int
        Rows of this and later iterations are removed.

    Returns
    -------
    list of dict
        The rows that are left.
    """
    if not path.exists():
        return []
    log = pd.read_csv(path, dtype=str, keep_default_na=False)
    log = log[(log != "").all(axis=1)]  # a power cut can leave a row with fewer columns
    log = log[log["iteration"].astype(int) < before]
    if log.empty:
        path.unlink()
        return []
    with written_whole(path) as partial:
        log.to_csv(partial, index=False)
    return log.map(float).to_dict("records")


def git_revision() -> str | None:
    """Return the git revision of the project, or None without a git checkout or without git."""
    command = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
