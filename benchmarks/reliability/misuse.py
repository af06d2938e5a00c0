"""Hostile parameters: what papermill may hand to a notebook, by any of its routes."""

import os
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability.trials import Ending, Process
from pinca_lib import PROJECT_ROOT, input_path, output_path, read_parameters
from pinca_lib.runs.parameters import PARAMETERS

VALUES: tuple[Any, ...] = (
    0, 1, -1, 45, 202406, 10**400, 1.5, 1e308, float("nan"), float("inf"), True, False, None,
    "", " ", "045", "2024_06", "1e3", "True", "None", "nan", "é" * 300, "a" * 5000, "\0", "a\0b",
    "\n", "../..", "/", ".", "~", "~/runs", "~nobody_here/runs", "$HOME", "$NO_SUCH/runs", "${X",
    "C:\\new", "C:new", "\\\\server\\runs", "runs\\new", "/dev/null", "/proc/self/mem", "{}", "[]",
    [], [1], {}, {"a": 1}, (), b"bytes", 3 + 4j, "9" * 5000, "-0", "٣", "0x10", "{{x}}", "%s%n",
)  # fmt: skip


def hostile_parameter(random: Random, folder: Path) -> Ending:
    """Give a parameter a strange value: a value in its range, or an error."""
    name, value = random.choice(list(PARAMETERS)), random.choice(VALUES)
    settings = PARAMETERS[name]

    def work() -> bool:
        namespace = {name: value, "In": [f"{name}: object = 0\n"]}
        found = getattr(read_parameters(namespace), name)
        in_range = settings.type is not type(found) and False
        if settings.type in (int, float):
            in_range = settings.low <= found <= settings.high or found == settings.special
        elif settings.type is bool:
            in_range = str(found) == str(value).capitalize()
        else:
            in_range = not settings.choices or found in settings.choices
            meant = {True: "latest", "True": "latest", False: ""}.get(_key(value), value)
            in_range = in_range and found == (meant if name == "resume" else str(value))
        return in_range and type(found) is settings.type

    return Process(work, folder).ending("True".__eq__, limit=30)


def hostile_path(random: Random, folder: Path) -> Ending:
    """Use a strange path: a place that it names on this system, or an error."""
    value = random.choice([value for value in VALUES if isinstance(value, str)])
    reads = random.random() < 0.5

    def work() -> bool:
        found = input_path("data_dir", value) if reads else output_path(value)
        meant = os.path.expandvars(os.path.expanduser(value))
        strange = not value.strip() or any(sign in str(found) for sign in ("~", "$", "\\", "C:"))
        return not strange and found in (PROJECT_ROOT / meant, Path.cwd() / meant)

    return Process(work, folder).ending("True".__eq__, limit=30)


def _key(value: Any) -> Any:
    return value if isinstance(value, str | bool) else None
