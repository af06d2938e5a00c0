"""Notebook parameters: their types and ranges, and functions that read and check them.

A notebook sets its defaults in the cell tagged ``parameters``, one annotated line per parameter.
Papermill adds a cell after it with the values given by ``-p``. Then ``read_parameters(globals())``
checks all of them.
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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
    """

    type: type
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    special: float | None = None

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
                value = str(value)  # papermill turns `-p case 45` into a number
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise wrong
            return value
        if self.type is bool:
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
    "output_dir": Parameter(str),
    "resume": Parameter(str),
    "device": Parameter(str),
    "init_checkpoint": Parameter(str),
    "pi_checkpoint": Parameter(str),
    "start_checkpoint": Parameter(str),
    "case": Parameter(str),
    "train_dir": Parameter(str),
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
    "crs": Parameter(str),
    "unit": Parameter(str, choices=("", "m", "mm", "cm", "ft", "in")),
    "up": Parameter(str, choices=("", "y", "z")),
    "terrain": Parameter(str),
    "wind_from": Parameter(str),
    "wind_speed": Parameter(float, 0.1, 80.0),
    "wind_height": Parameter(float, 1.0, 400.0),
    "roughness": Parameter(str),
    "climate": Parameter(str),
    "criterion": Parameter(str),
}


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
    values = {}
    for name in PARAMETERS.keys() & declared:
        value = namespace[name]
        if name == "resume" and isinstance(value, bool):  # `-p resume True`
            value = "latest" if value else ""
        if name == "gradient_checkpoints" and isinstance(value, bool):  # as in the experiment
            value = EXPERIMENT_SEGMENTS if value else 0
        values[name] = PARAMETERS[name].check(name, value)
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

    Parameters
    ----------
    name : str
        Name of the parameter, for the error message.
    value : Path or str
        Its value.

    Raises
    ------
    InputError
        If nothing exists at either place.
    """
    places = [PROJECT_ROOT / value, Path.cwd() / value]
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(dict.fromkeys(map(str, places)))
    raise InputError(f"parameter {name}={shown(value)!r}: nothing there; looked at {looked}")


def output_path(value: str) -> Path:
    """Return a path to write to; a relative path starts at the project's root."""
    return PROJECT_ROOT / value
