"""Make and lock a run folder, and read and write its configuration."""

import hashlib
import json
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

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
    except (OSError, ValueError) as error:
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
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({shown(error)}); is this a run folder?"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError(f"{path}: not the config.json of a run")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the configuration of a run as JSON."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def digest_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the configuration of a run, however its JSON is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def locked(folder: Path) -> FileLock:
    """Lock a run folder for this process, and return the lock, which can be released.

    The system releases a lock when its process ends, however it ends. So none can be left behind.

    Raises
    ------
    InputError
        If another process has locked the folder, or it cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0, thread_local=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another process trains in this folder; wait until it has ended, or stop it "
            "(an interrupted notebook keeps its run until its kernel is shut down)"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return lock


def git_revision() -> str | None:
    """Return the git revision of the project, or None without a git checkout or without git."""
    command = ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
