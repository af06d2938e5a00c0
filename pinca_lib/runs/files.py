"""The files of a run folder: made anew, written to the disk, read with checks."""

import csv
import json
import os
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from pinca_lib.errors import InputError, shown
from pinca_lib.runs.parameters import PROJECT_ROOT


def new_folder(output_dir: Path, experiment: str) -> Path:
    """Make and return ``<output_dir>/<experiment>_<YYYYmmdd-HHMMSS>``.

    Raises
    ------
    InputError
        If nothing can be written there.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        while True:
            folder = output_dir / f"{experiment}_{datetime.now():%Y%m%d-%H%M%S}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:  # another run began in this very second
                time.sleep(1)
    except OSError as error:
        raise InputError(f"output_dir: cannot write to {output_dir} ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read the configuration of a run.

    Raises
    ------
    InputError
        If it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({shown(error)}); is this a run folder?") from error
    if not isinstance(content, dict) or "parameters" not in content:
        raise InputError(f"{path}: not the config.json of a run")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a configuration to the disk."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    flush_to_disk(path)


def rewrite_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """Put rows in the place of a log, which vanishes if there are none."""
    if not rows:
        path.unlink()
        return
    partial = path.with_name(path.name + ".part")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def flush_to_disk(path: Path) -> None:
    """Return when a file is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def git_revision() -> str | None:
    """Return the project's git revision, if it is a checkout and git is at hand."""
    command = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
