"""Notebook parameters: their types and ranges, and functions that read and check them.

A notebook sets its defaults in the cell tagged ``parameters``, one annotated line per parameter.
Papermill adds a cell after it with the values given by ``-p``. Then ``read_parameters(globals())``
checks all of them.
"""

import ast
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

from pinca_lib.errors import InputError, shown

MARKER = Path("notebooks", "jupytext.toml")  # a file that is in every checkout of the project
EXPERIMENT_SEGMENTS = 16  # segments of a rollout if gradient_checkpoints is True


def find_project_root(working: Path, package: Path) -> Path:
    """Return the root of the project, which contains its data and outputs.

    This is the nearest folder, at or above the working folder, that is a checkout of the project.
    If there is none, it is the checkout that the package was installed from, and if that does not
    exist either, the working folder.

    Parameters
    ----------
    working : Path
        The working folder.
    package : Path
        The folder of the installed package.
    """
    places = [working, *working.parents, package.parent]
    return next((place for place in places if (place / MARKER).is_file()), working)


PROJECT_ROOT = find_project_root(Path.cwd(), Path(__file__).resolve().parents[1])


@dataclass(frozen=True)
class Parameter:
    """Type and permitted values of a parameter.

    Attributes
    ----------
    type : type
        str, bool, int or float.
    low, high : float
        Closed range of a number.
    choices : tuple of str
        Permitted texts; any text if empty.
    special : float or None
        A number that is permitted although it is outside the range.
    may_be_number : bool
        Whether a text may be given as a number. For names and paths this is refused: papermill and
        YAML turn ``045`` and ``2024_06`` into 45 and 202406, and what was meant is lost.
    """

    type: type
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    special: float | None = None
    may_be_number: bool = False

    def check(self, name: str, value: Any) -> Any:
        """Return a value, converted to the type of the parameter.

        Raises
        ------
        InputError
            If the value has another type or is out of range.
        """
        wrong = InputError(f"parameter {name}={shown(value)!r}: expected {self.expected}")
        if self.type is str:
            if isinstance(value, int | float) and not isinstance(value, bool):
                if not self.may_be_number:
                    raise InputError(
                        f"parameter {name}={shown(value)}: expected text, not a number; "
                        "papermill's -p turns text like 045 or 2024_06 into numbers: write "
                        f"-r {name} 045"
                    )
                value = str(value)
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise wrong
            return value
        if self.type is bool:
            value = _as_bool(value)
            if not isinstance(value, bool):
                raise wrong
            return value
        try:
            if isinstance(value, bool):
                raise wrong
            number = float(value)
            whole = math.isfinite(number) and number == int(number)
        except (TypeError, ValueError, OverflowError):
            raise wrong from None
        inside = self.low <= number <= self.high or number == self.special
        if not inside or (self.type is int and not whole):
            raise wrong
        return int(number) if self.type is int else number

    @property
    def expected(self) -> str:
        """The permitted values in words."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        if self.type is str:
            return "text"
        if self.type is bool:
            return "True or False"
        kind = "a whole number" if self.type is int else "a number"
        special = "" if self.special is None else f", or {self.special:g}"
        return f"{kind} from {self.low:g} to {self.high:g}{special}"


PARAMETERS = {
    "data_dir": Parameter(str),
    "larger_dir": Parameter(str),
    "output_dir": Parameter(str),
    "resume": Parameter(str),
    "device": Parameter(str),
    "init_checkpoint": Parameter(str),
    "ensemble": Parameter(str),
    "pi_checkpoint": Parameter(str),
    "start_checkpoint": Parameter(str),
    "case": Parameter(str),
    "train_dir": Parameter(str),
    "measured_dir": Parameter(str),
    "steps": Parameter(int, 1, 100_000),
    "epochs": Parameter(int, 1, 10_000_000),
    "seed": Parameter(int, 0, 2**32 - 1),
    "image_size": Parameter(int, 16, 4096, special=0),
    "pool_size": Parameter(int, 1, 65_536),
    "batch_size": Parameter(int, 1, 4096),
    "learning_rate": Parameter(float, 1e-8, 1.0),
    "min_steps": Parameter(int, 1, 100_000),
    "max_steps": Parameter(int, 2, 100_000),
    "frames": Parameter(int, 1, 100_000),
    "alpha": Parameter(float, 0.0, 1e6),
    "lambda_mse": Parameter(float, 0.0, 1e6),
    "lambda_pinn": Parameter(float, 0.0, 1e6),
    "lambda_overflow": Parameter(float, 0.0, 1e6),
    "lambda_rest": Parameter(float, 0.0, 1e6),
    "init_loss": Parameter(str, choices=("relative", "pixel", "filters", "vgg")),
    "pi_loss": Parameter(str, choices=("relative", "pixel")),
    "hidden": Parameter(int, 1, 4096),
    "scale": Parameter(int, 1, 64),
    "natural_units": Parameter(bool),
    "bounded": Parameter(bool),
    "follows_wind": Parameter(bool),
    "anneal": Parameter(bool),
    "augment": Parameter(bool),
    "restart_every": Parameter(int, 1, 10_000_000),
    "swaps": Parameter(int, 0, 10_000_000),
    "recorded": Parameter(int, 1, 100_000),
    "weight_decay": Parameter(float, 0.0, 100.0),
    "average": Parameter(float, 0.0, 0.99999),
    "gradient_checkpoints": Parameter(int, 0, 100_000),
    "quick": Parameter(bool),
    "rounds": Parameter(int, 1, 1000),
    "buildings": Parameter(str),
    "proposal": Parameter(str),
    "site": Parameter(str),
    "height_field": Parameter(str),
    "default_height": Parameter(float, 2.0, 300.0, special=0),
    "crs": Parameter(str, may_be_number=True),
    "unit": Parameter(str, choices=("", "m", "mm", "cm", "ft", "in")),
    "up": Parameter(str, choices=("", "y", "z")),
    "terrain": Parameter(str),
    "wind_from": Parameter(str, may_be_number=True),
    "wind_speed": Parameter(float, 0.1, 80.0),
    "wind_height": Parameter(float, 1.0, 400.0),
    "roughness": Parameter(str, may_be_number=True),
    "climate": Parameter(str),
    "criterion": Parameter(str),
    "experiment": Parameter(str, choices=("init_nca", "pi_nca")),
    "settings": Parameter(str),
    "scheduler": Parameter(str),
    "workers": Parameter(int, 1, 1024),
    "memory": Parameter(float, 0.5, 100_000.0),
}


def checked(name: str, value: Any) -> Any:
    """Return the value of a parameter of ``PARAMETERS``, converted to its type.

    Raises
    ------
    InputError
        If the value has another type or is out of range.
    """
    if name in ("resume", "gradient_checkpoints"):
        value = _as_bool(value)
    if name == "resume" and isinstance(value, bool):  # `-p resume True`
        value = "latest" if value else ""
    if name == "gradient_checkpoints" and isinstance(value, bool):  # as in the experiment
        value = EXPERIMENT_SEGMENTS if value else 0
    return PARAMETERS[name].check(name, value)


def _as_bool(value: Any) -> Any:
    """Return the bool that a text means, or the value itself. Papermill's ``-r`` gives texts."""
    return {"true": True, "false": False}.get(str(value).lower(), value)


def read_parameters(namespace: Mapping[str, Any]) -> SimpleNamespace:
    """Check a notebook's parameters.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()``.

    Returns
    -------
    SimpleNamespace
        The parameters of the notebook, converted to their types, and ``given``, a frozenset of the
        names that were given to papermill.

    Raises
    ------
    InputError
        If a parameter is unknown, has a wrong type, is out of range, or contradicts another one.
    """
    declared, given = _declared_and_given(namespace)
    for name in given - declared:
        raise InputError(
            f"unknown parameter {shown(name)!r}; this notebook has: {', '.join(sorted(declared))}"
        )
    values = {name: checked(name, namespace[name]) for name in PARAMETERS.keys() & declared}
    if values.get("min_steps", 0) >= values.get("max_steps", math.inf):
        raise InputError(
            f"parameter max_steps={values['max_steps']}: expected more than "
            f"min_steps={values['min_steps']}, because steps are drawn from [min_steps, max_steps)"
        )
    if values.get("batch_size", 0) > values.get("pool_size", math.inf):
        raise InputError(
            f"parameter batch_size={values['batch_size']}: expected at most "
            f"pool_size={values['pool_size']}, because samples are drawn without replacement"
        )
    if values.get("swaps", 0) > values.get("batch_size", math.inf):
        raise InputError(
            f"parameter swaps={values['swaps']}: expected at most "
            f"batch_size={values['batch_size']}, the number of samples per iteration"
        )
    return SimpleNamespace(**values, given=frozenset(given))


def _declared_and_given(namespace: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return the names set in the parameters cell, and those set in papermill's cell after it."""
    declared: set[str] = set()
    given: set[str] = set()
    for source in namespace.get("In", ()):  # IPython's history; plain scripts have none
        try:
            cell = ast.parse(source).body
        except (SyntaxError, ValueError):  # the cell has a magic command or a syntax error
            continue
        targets = (n.target for n in cell if isinstance(n, ast.AnnAssign) and n.value)
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if names & PARAMETERS.keys():
            declared, given = names, set()
        elif source.startswith("# Parameters"):
            assigned = (n.targets[0] for n in cell if isinstance(n, ast.Assign))
            given = {target.id for target in assigned if isinstance(target, ast.Name)}
    return declared or PARAMETERS.keys() & namespace.keys(), given


def input_path(name: str, value: Path | str) -> Path:
    """Return the path of an existing file or folder that a parameter names.

    A relative path starts at the project's root or, if nothing exists there, at the working folder.
    ``~`` and environment variables are filled in.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error message.
    value : Path or str
        Its value; of a file with several layers, one may be named as in
        ``town.gpkg|layername=buildings``.

    Raises
    ------
    InputError
        If it is empty, or nothing exists at either place.
    """
    file, *layer = str(value).partition("|layername=")
    path = _filled_in(name, file)
    places = [PROJECT_ROOT / path, Path.cwd() / path]
    for place in places:
        if os.path.exists(place):  # unlike ``Path.exists``, for any text
            return Path("".join([str(place), *layer]))
    looked = " and ".join(dict.fromkeys(map(str, places)))
    raise InputError(f"parameter {name}={shown(value)!r}: nothing there; looked at {looked}")


def output_path(value: str) -> Path:
    """Return the path of ``output_dir``, the folder to write to.

    A relative path starts at the project's root. ``~`` and environment variables are filled in.

    Raises
    ------
    InputError
        If it is empty, or a path of another system.
    """
    return PROJECT_ROOT / _filled_in("output_dir", value)


def _filled_in(name: str, value: Path | str) -> Path:
    """Return a path with ``~`` and environment variables filled in; refuse those of other systems.

    Otherwise ``~``, ``$RUNS`` and ``C:\\new`` would become folders of these names in the project.
    """
    text = os.path.expandvars(os.path.expanduser(value))
    if text.strip() and os.path.exists(PROJECT_ROOT / text):
        return Path(text)
    problem = "" if text.strip() else "expected a path; '.' is the project's root"
    if text.startswith("~") or re.search(r"\$\w|\$\{", text):
        problem = "there is no such user or environment variable"
    windows = PureWindowsPath(text)
    if os.name != "nt" and ("\\" in text or windows.drive):
        problem = "is a path of Windows"
    if os.name == "nt" and windows.root and not windows.drive:
        problem = "is not a path of Windows, which begins with a drive"
    if problem:
        raise InputError(f"parameter {name}={shown(value)!r}: {problem}")
    return Path(text)
