"""Models of several seeds that are used together: their mean, and error bars from their spread."""

import warnings
from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path

from pinca_lib.automaton import CA
from pinca_lib.errors import InputError, InputWarning
from pinca_lib.evaluation.error_bars import ErrorBars
from pinca_lib.runs.checkpoints import fingerprint_of, load_rules
from pinca_lib.runs.parameters import input_path


def load_ensemble(
    folder: Path | str, rules: Sequence[CA]
) -> tuple[list[list[CA]], ErrorBars | None]:
    """Load the models that belong to given rules, and their error bars.

    Parameters
    ----------
    folder : Path or str
        As for ``load_members``; also holds ``error_bars.json``, which ``benchmarks/calibrate.py``
        writes.
    rules : sequence of CA
        An Init-NCA and a PI-NCA on the device that is to be used: the first member.

    Returns
    -------
    (list of list of CA, ErrorBars or None)
        The members, ``rules`` first. If the bars were calibrated for others, the rules alone,
        without error bars; a warning says so.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    folder = input_path("ensemble", folder)
    members, bars = load_members(folder, rules), ErrorBars.read(folder / "error_bars.json")
    if bars.members == fingerprints_of(members):
        return members, bars
    warnings.warn(
        f"{folder.name}: belongs to other models than init_checkpoint and pi_checkpoint, so there "
        "are no error bars; calibrate some for yours (benchmarks/calibrate.py)",
        InputWarning,
        stacklevel=2,
    )
    return members[:1], None


def load_members(folder: Path | str, rules: Sequence[CA]) -> list[list[CA]]:
    """Load the models of a folder, after the rules that are the first.

    Parameters
    ----------
    folder : Path or str
        Holds ``init_nca_2.pth`` and ``pi_nca_2.pth``, the same for 3, and so on.
    rules : sequence of CA
        The other members are loaded to their device.

    Raises
    ------
    InputError
        If there is none, or one is damaged.
    """
    folder, device = Path(folder), rules[0].w1.weight.device
    members = [list(rules)]
    for number in takewhile(lambda n: (folder / f"pi_nca_{n}.pth").exists(), count(2)):
        rules = load_rules(folder / f"init_nca_{number}.pth", folder / f"pi_nca_{number}.pth")
        members.append([rule.to(device) for rule in rules])
    if len(members) == 1:
        raise InputError(f"{folder}: no further models (pi_nca_2.pth) in this folder")
    return members


def fingerprints_of(members: Sequence[Sequence[CA]]) -> tuple[str, ...]:
    """Return the fingerprint of each member's last rule, which was trained on top of the others."""
    return tuple(fingerprint_of(member[-1]) for member in members)
