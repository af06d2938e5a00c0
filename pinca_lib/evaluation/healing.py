"""Measure healing: after an edit, compare a rollout with one that began in the edited city."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK, U, V, fresh_states
from pinca_lib.cities import brush, build
from pinca_lib.evaluation.metrics import distance_to_buildings, relative_l2
from pinca_lib.rollouts import rollout

RADIUS = 4.0  # radius of the new building, cells
HEIGHT = 20.0  # height of the new building, m


def healing_errors(
    rules: Sequence[CA], case: Tensor, extent: Sequence[float], steps: int, times: int = 1
) -> list[float]:
    """Add a round building to a city during a rollout and measure how the field heals.

    The building is placed at the cell that is farthest from all buildings. Two rollouts are
    compared in the edited city: one that was edited after ``steps`` steps, and one that began
    there.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step.
    case : Tensor of shape (>= 6, H, W)
        Only channels 0-5 are used.
    extent : (height, width) in metres
    steps : int
        Steps before the edit, and between two comparisons after it.
    times : int
        Number of comparisons.

    Returns
    -------
    list of float
        For each comparison the relative L2 error of (u, v) over the cells in air: the edited
        rollout against the one that began in the edited city. Both have taken the same total
        number of steps: twice ``steps`` at the first comparison.
    """
    base = case[None].to(rules[0].w1.weight.device)
    air = case[GEO_MASK].numpy() > 0
    height, width = air.shape
    centre = divmod(int(distance_to_buildings(air, extent).argmax()), width)
    building = brush((height, width), [centre], RADIUS)
    edited = build(rollout(rules, fresh_states(base), steps), building.to(base.device), HEIGHT)
    fresh = rollout(rules, fresh_states(edited), steps)
    errors = []
    for _ in range(times):
        edited, fresh = (rollout(rules, state, steps) for state in (edited, fresh))
        winds = [state[0, [U, V]].cpu()[:, torch.from_numpy(air) & ~building].numpy()
                 for state in (edited, fresh)]  # fmt: skip
        errors.append(relative_l2(*winds))
    return errors
