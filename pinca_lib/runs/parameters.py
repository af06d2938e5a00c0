"""Notebook parameters: their types and ranges, and reading them with clear errors.

A notebook sets its defaults in the cell tagged ``parameters``, one annotated line each; papermill
adds a cell that sets what was given with ``-p``. ``read_parameters(globals())`` then checks all.
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pinca_lib.errors import InputError, shown

MARKER = Path("notebooks", "jupytext.toml")  # what every checkout of the project has
EXPERIMENT_SEGMENTS = 16  # of a rollout, with gradient_checkpoints = True


def find_project_root(working: Path, package: Path) -> Path:
    """Return the project's root: where its data are, and where outputs go.

    It is the nearest folder at or above the working folder that is a checkout, else the checkout
    that the package was installed from, else, for a package without a checkout, the working folder.
    """
    places = [working, *working.parents, package.parent]
    return next((place for place in places if (place / MARKER).is_file()), working)


PROJECT_ROOT = find_project_root(Path.cwd(), Path(__file__).resolve().parents[1])


@dataclass(frozen=True)
class Parameter:
    """What a parameter may be: its type, and a closed range or a choice of values.

    ``special`` is a number that is admitted besides the range.
    """

    type: type
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    special: float | None = None

    def check(self, name: str, value: Any) -> Any:
        """Return the value in its proper type.

        Raises
        ------
        InputError
            If it is of another type or out of range.
        """
        wrong = InputError(f"parameter {name}={shown(value)!r}: expected {self.expected}")
        if self.type is str:
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = str(value)  # papermill reads `-p case 45` as a number
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
        """The admitted values in words."""
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
        The declared parameters, in their proper types, and ``given``, the set of names that
        papermill was given.

    Raises
    ------
    InputError
        If a parameter is unknown, of a wrong type or out of its range.
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
        if name == "gradient_checkpoints" and isinstance(value, bool):  # the experiment's switch
            value = EXPERIMENT_SEGMENTS if value else 0
        values[name] = PARAMETERS[name].check(name, value)
    if values.get("min_steps", 0) >= values.get("max_steps", math.inf):
        raise InputError(
            f"parameter max_steps={values['max_steps']}: expected more than "
            f"min_steps={values['min_steps']}, since steps are drawn from [min_steps, max_steps)"
        )
    if values.get("batch_size", 0) > values.get("pool_size", math.inf):
        raise InputError(
            f"parameter batch_size={values['batch_size']}: expected at most "
            f"pool_size={values['pool_size']}, since samples are drawn without replacement"
        )
    if values.get("swaps", 0) > values.get("batch_size", math.inf):
        raise InputError(
            f"parameter swaps={values['swaps']}: expected at most "
            f"batch_size={values['batch_size']}, the samples of an iteration"
        )
    return SimpleNamespace(**values, given=frozenset(given))


def _declared_and_given(namespace: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Names in the notebook's parameters cell, and names in the cell that papermill put after."""
    declared, given = set(), set()
    for source in namespace.get("In", ()):  # IPython's history; a plain script has none
        try:
            cell = ast.parse(source).body
        except (SyntaxError, ValueError):  # a magic, or a cell that did not run
            continue
        names = {n.target.id for n in cell if isinstance(n, ast.AnnAssign) and n.value}
        if names & PARAMETERS.keys():
            declared, given = names, set()
        elif source.startswith("# Parameters"):
            given = {n.targets[0].id for n in cell if isinstance(n, ast.Assign)}
    return declared or PARAMETERS.keys() & namespace.keys(), given


def input_path(name: str, value: Path | str) -> Path:
    """Resolve a path that a parameter names: from the project's root, else the working folder.

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
    """Resolve a path to write to: from the project's root, wherever the notebook was started."""
    return PROJECT_ROOT / value
