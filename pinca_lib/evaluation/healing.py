"""How a rollout heals after an edit: how far it is from one that began in the edited city."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK, U, V, fresh_states
from pinca_lib.cities import brush, build
from pinca_lib.evaluation.scoring import distance_to_buildings, relative_l2
from pinca_lib.rollouts import rollout

RADIUS = 4.0  # of the house, cells
HEIGHT = 20.0  # m


def healing_errors(
    rules: Sequence[CA], case: Tensor, extent: Sequence[float], steps: int, times: int = 1
) -> list[float]:
    """Build a round house into the largest open place of a city, and return the errors of healing.

    Parameters
    ----------
    rules : sequence of CA
    case : Tensor of shape (>= 6, H, W)
        Of which channels 0-5 are used.
    extent : (height, width) in metres
    steps : int
        Of the rollout before the house is built, and between two looks at the field after that.
    times : int
        How often it is looked at.

    Returns
    -------
    list of float
        Relative L2 of (u, v) over the air, healed against begun anew, both after as many steps.
    """
    base = case[None].to(rules[0].w1.weight.device)
    air = case[GEO_MASK].numpy() > 0
    place = divmod(int(distance_to_buildings(air, extent).argmax()), air.shape[1])
    house = brush(air.shape, [place], RADIUS)
    healed = build(rollout(rules, fresh_states(base), steps), house.to(base.device), HEIGHT)
    anew = rollout(rules, fresh_states(healed), steps)
    found = []
    for _ in range(times):
        healed, anew = (rollout(rules, state, steps) for state in (healed, anew))
        winds = [state[0, [U, V]].cpu()[:, torch.from_numpy(air) & ~house].numpy()
                 for state in (healed, anew)]  # fmt: skip
        found.append(relative_l2(*winds))
    return found
