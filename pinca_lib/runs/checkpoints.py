"""Find checkpoints, and load rules from them."""

import hashlib
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import FIELDS, FLUX_Y, STATE_COUNT
from pinca_lib.errors import InputError, shown
from pinca_lib.runs.parameters import PARAMETERS, input_path
from pinca_lib.runs.tensor_files import load_tensors

UNITS = 1e-9, 1e9  # smallest and largest size of a channel; those of real data are 1e-3 to 1e2


def load_rules(init_checkpoint: Path | str, pi_checkpoint: Path | str) -> list[CA]:
    """Load an Init-NCA and the PI-NCA that works on top of it, and freeze their weights.

    Parameters
    ----------
    init_checkpoint, pi_checkpoint : Path or str
        As for ``load_rule``.

    Returns
    -------
    list of CA
        In the order in which a step applies them.

    Raises
    ------
    InputError
        As ``load_rule``, or if the two do not belong together.
    """
    init_nca = load_rule(input_path("init_checkpoint", init_checkpoint))
    return [init_nca, load_rule(input_path("pi_checkpoint", pi_checkpoint), init_nca=init_nca)]


def load_rule(path: Path | str, channels: int = STATE_COUNT, init_nca: CA | None = None) -> CA:
    """Load a trained rule, and freeze its weights.

    Parameters
    ----------
    path : Path or str
        A ``.pth`` file with the key ``model_state_dict``, or a run folder, whose newest checkpoint
        is used. A relative path starts at the project's root, or else at the working folder.
    channels : int
        Number of channels that the rule must have.
    init_nca : CA, optional
        The Init-NCA that the rule will be used on top of.

    Returns
    -------
    CA
        In evaluation mode, on the CPU.

    Raises
    ------
    InputError
        If there is no checkpoint, it does not hold a rule with these channels, or it states that
        the rule was trained on top of another Init-NCA.
    """
    path = input_path("checkpoint", path)
    if path.is_dir():
        found = checkpoints(path)
        if not found:
            raise InputError(f"{path}: no checkpoint (ca_model_step_<i>.pth) in this folder")
        path = found[-1]
    saved = load_tensors(path)
    weights = saved.get("model_state_dict") if isinstance(saved, dict) else None
    expected = CA(channels).state_dict()
    rule_with_all_parts = partial(
        CA,
        channels,
        units=torch.ones(channels),
        alpha=1.0 if channels >= FIELDS.stop else None,
        follows_wind=channels > FLUX_Y,
        scale=2,
    )
    optional = rule_with_all_parts().state_dict()
    if not isinstance(weights, dict) or not expected.keys() <= weights.keys() <= optional.keys():
        raise InputError(
            f"{path}: not a checkpoint of this automaton; expected a dict whose "
            f"'model_state_dict' holds {', '.join(expected)}, and optionally "
            f"{', '.join(sorted(optional.keys() - expected.keys()))}"
        )
    bias = weights["w1.bias"]
    hidden = bias.numel() if isinstance(bias, Tensor) else 1
    hidden = min(max(1, hidden), round(PARAMETERS["hidden"].high))
    # Not on the meta device: this draws random numbers, and those that a training draws after it
    # are to be the same as in former versions.
    expected = rule_with_all_parts(hidden=hidden).state_dict()
    for key, found in weights.items():
        shape, expected_shape = tuple(getattr(found, "shape", ())), tuple(expected[key].shape)
        if not isinstance(found, Tensor) or shape != expected_shape:
            raise InputError(
                f"{path}: {key} has shape {shape}, expected {expected_shape} for a rule of "
                f"{channels} channels and {hidden} hidden units; use a checkpoint that was trained "
                f"with {channels} channels"
            )
        if found.is_complex() or found.is_floating_point() != expected[key].is_floating_point():
            raise InputError(f"{path}: {key} is of {found.dtype}, expected {expected[key].dtype}")
        if not found.double().isfinite().all():
            raise InputError(
                f"{path}: {key} holds NaN or infinity; that training had diverged; use an earlier "
                "checkpoint"
            )
    if init_nca:
        fingerprint = fingerprint_of(init_nca)
        if saved.get("init_fingerprint", fingerprint) != fingerprint:
            raise InputError(
                f"{path}: was trained on top of another Init-NCA than the given one; use an "
                "init_checkpoint and a pi_checkpoint that belong together"
            )
    for key, name in (("_scale", "scale"), ("alpha", "alpha")):
        value, limits = float(weights.get(key, 1)), PARAMETERS[name]
        if not limits.low <= value <= limits.high:
            raise InputError(f"{path}: {key} is {value:g}, expected {limits.expected}")
    if "units" in weights:
        smallest, largest = weights["units"].min().item(), weights["units"].max().item()
        if not UNITS[0] <= smallest <= largest <= UNITS[1]:
            raise InputError(
                f"{path}: units go from {smallest:g} to {largest:g}, expected sizes of channels, "
                f"from {UNITS[0]:g} to {UNITS[1]:g}"
            )
    rule = CA(
        channels,
        hidden,
        units=weights.get("units"),
        alpha=weights.get("alpha"),
        follows_wind="_follows_wind" in weights,
        scale=int(weights.get("_scale", 1)),
    )
    rule.load_state_dict(weights)
    rule.cells = _cells(path, saved.get("cells"))
    rule.tallest = _tallest(path, saved.get("tallest"))
    return rule.eval().requires_grad_(False)


def start_from(rule: CA, path: Path | str) -> None:
    """Copy the weights and natural units of a trained rule into another, to continue its training.

    The ``scale`` is not copied, so that the rule's cells can keep their width in metres on another
    grid: 8 m are two cells of 4 m, or four cells of 2 m.

    Parameters
    ----------
    rule : CA
        The rule to change.
    path : Path or str
        As for ``load_rule``.

    Raises
    ------
    InputError
        As ``load_rule``, or if the two rules differ in their parts or shapes.
    """
    before, own = load_rule(path, rule.channels).state_dict(), rule.state_dict()
    before, own = ({k: v for k, v in weights.items() if k != "_scale"} for weights in (before, own))
    shapes, own_shapes = ({k: v.shape for k, v in weights.items()} for weights in (before, own))
    if shapes != own_shapes:
        differ = sorted(key for key, _ in shapes.items() ^ own_shapes.items())
        raise InputError(
            f"{path}: differs from this run's rule in "
            f"{', '.join(dict.fromkeys(differ))}; give the run the values of hidden, "
            "natural_units, bounded and follows_wind that the checkpoint was trained with "
            "(follows_wind takes effect only on data that state their row_order)"
        )
    rule.load_state_dict(before, strict=False)


def _cells(path: Path, found: Any) -> tuple[float, float] | None:
    """Check the least and largest side of the training data's cells, m; None if not stated."""
    if found is None:
        return None
    try:
        least, most = map(float, found)
    except (TypeError, ValueError, OverflowError):
        least = most = math.nan
    if not 0 < least <= most < math.inf:
        raise InputError(
            f"{path}: cells is {shown(found)}, expected the least and largest side in m"
        )
    return least, most


def _tallest(path: Path, found: Any) -> float | None:
    """Check the height of the tallest building in the training data, m; None if not stated."""
    if found is None or (isinstance(found, float) and 0 <= found < math.inf):
        return found
    raise InputError(f"{path}: tallest is {shown(found)}, expected the height of a building in m")


def fingerprint_of(rule: CA) -> str:
    """Return the SHA-256 of a rule's weights; it changes if any of them changes."""
    digest = hashlib.sha256()
    for key, tensor in rule.state_dict().items():
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint after ``step`` iterations."""
    return folder / f"ca_model_step_{step}.pth"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a run folder, oldest first."""
    found = {
        int(match[1]): path
        for path in folder.glob("ca_model_step_*.pth")
        if (match := re.fullmatch(r"ca_model_step_(\d+)\.pth", path.name))
    }
    return [found[step] for step in sorted(found)]
