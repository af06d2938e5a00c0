"""Which run is resumed, and with which parameters."""

import warnings
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from pinca_lib.errors import InputError, shown
from pinca_lib.runs.checkpoints import checkpoints
from pinca_lib.runs.files import read_json
from pinca_lib.runs.parameters import PARAMETERS, checked, input_path, output_path

# Parameters that may change when a run is resumed.
FREE_ON_RESUME = {
    "epochs", "device", "data_dir", "larger_dir", "init_checkpoint", "output_dir", "resume",
}  # fmt: skip
# Parameters that were added later, with the values under which a run is as it was before.
ADDED_LATER = {"gradient_checkpoints": 0, "start_checkpoint": "", "larger_dir": ""}


def folder_to_resume(experiment: str, parameters: SimpleNamespace) -> Path:
    """Return the run folder that the parameter ``resume`` names.

    Parameters
    ----------
    experiment : str
    parameters : SimpleNamespace
        From ``read_parameters``; ``resume`` is a run folder, or ``"latest"`` in ``output_dir``.

    Raises
    ------
    InputError
        If there is none, it is of another experiment, or it has no checkpoint.
    """
    if parameters.resume != "latest":
        folder = input_path("resume", parameters.resume)
    else:
        output_dir = output_path(parameters.output_dir)
        found = [p for p in output_dir.glob(f"{experiment}_*") if checkpoints(p)]
        if not found:
            raise InputError(f"resume='latest': no run of {experiment} in {output_dir}")
        folder = max(found, key=_begun)
    config = read_json(folder / "config.json")
    if config.get("experiment") != experiment:
        raise InputError(
            f"{folder}: is a run of {shown(config.get('experiment'))}, not of {experiment}"
        )
    if not checkpoints(folder):
        raise InputError(f"{folder}: cannot be resumed; it has no ca_model_step_<i>.pth")
    return folder


def _begun(folder: Path) -> float:
    """Return when a run was begun, in s. Names hold the local time, which depends on the place."""
    path = folder / "config.json"
    try:
        return datetime.fromisoformat(read_json(path)["begun"]).timestamp()
    except (InputError, KeyError, TypeError, ValueError):  # of an older version, or damaged
        return (path if path.exists() else folder).stat().st_mtime


def merged_parameters(folder: Path, now: SimpleNamespace) -> SimpleNamespace:
    """Return the run's own parameters, updated by the given ones that are in ``FREE_ON_RESUME``.

    Parameters
    ----------
    folder : Path
        The run folder.
    now : SimpleNamespace
        From ``read_parameters``.

    Raises
    ------
    InputError
        If the run's own parameters are damaged or too old, or a given one differs from the run's.
    """
    path = folder / "config.json"
    try:
        found = read_json(path)["parameters"]
        then = {k: checked(k, v) if k in PARAMETERS else v for k, v in found.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    missing = sorted(vars(now).keys() - then.keys() - {"given"})
    if added := {name: ADDED_LATER[name] for name in missing if name in ADDED_LATER}:
        warnings.warn(f"{path}: of an older version, so it gets {added}", stacklevel=3)
        then |= added
    if missing := [name for name in missing if name not in added]:
        raise InputError(
            f"{path}: lacks {', '.join(missing)}; it was made by an older version, or damaged; "
            "start a new run with resume='' (the checkpoints of the old one can still be given as "
            "init_checkpoint)"
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
