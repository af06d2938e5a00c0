"""Random edits of a live rollout, as the viewer lets people make them."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from math import inf, nan
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from benchmarks.reliability.trials import Ending, Process
from pinca_lib import PROJECT_ROOT, load_dataset, load_rules
from pinca_lib.channels import (
    BASE,
    DYNAMIC,
    FLUX,
    GEO_MASK,
    SPEED,
    TKE,
    TOPO,
    WIND_X,
    WIND_Y,
    U,
    V,
)
from pinca_lib.errors import InputError
from pinca_lib.physics import ALPHA
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.scenes import CaseScene, Scene

EDITS = 100  # of one trial
SIDE = 32  # cells
HEIGHTS = (3.0, 20.0, 300.0, 0.0, -5.0, 1e30, nan, inf)
DIRECTIONS = (0.0, 45.0, 90.5, 359.99, -720.0, 1e9, nan, inf)


def edited_rollout(random: Random, folder: Path) -> Ending:
    """Edit a rollout a hundred times: what it must never break holds after every edit."""

    def work() -> bool:
        live = LiveRollout(_rules(), random.choice(_scenes()))
        bases: list[Tensor] = []  # what undo must bring back
        for _ in range(EDITS):
            before = live.state[BASE].clone()
            change = random.choice(CHANGES)
            with suppress(InputError):  # what it cannot do, it says, and does nothing
                if change is _open:
                    live, bases, before = _open(random, live), [], live.state[BASE]
                else:
                    change(random, live)
            if change is _undo:
                expected = bases.pop() if bases else before
                assert torch.equal(live.state[BASE], expected)
            elif change is not _open and not torch.equal(live.state[BASE], before):
                bases.append(before)
            check(live)
        return True

    return Process(work, folder).ending("True".__eq__)


def check(live: LiveRollout) -> None:
    """Check what holds for every state of a rollout."""
    state = live.state
    assert state.isfinite().all()
    air = state[GEO_MASK]
    assert ((air == 0) | (air == 1)).all()
    assert air.any()
    assert ((state[TOPO] > 0) == (air == 0)).all()
    assert not state[DYNAMIC, air == 0].any()
    assert (torch.hypot(state[WIND_X], state[WIND_Y]) - 1).abs().max() < 0.01
    assert state[TKE].min() >= 0
    assert (state[FLUX].abs() <= ALPHA * state[TKE] + 1e-6).all()
    assert (torch.hypot(state[U], state[V]) <= state[SPEED] + 1e-6).all()
    steps = [step for step, *_ in live.record()]
    assert steps == sorted(steps)
    assert len(live.history) <= live.history.capacity
    names, curves = live.curves()
    assert curves.shape == (1 + len(names), len(steps))
    assert live.fresh is None or torch.equal(live.fresh[BASE], state[BASE])


def _cells(random: Random, live: LiveRollout) -> Tensor:
    """Return cells as a brush covers them; rarely none or all."""
    if random.random() < 0.05:
        return torch.full((SIDE, SIDE), random.random() < 0.5)
    points = [(random.randrange(SIDE), random.randrange(SIDE)) for _ in range(random.randrange(4))]
    return live.scene.brushed(points, random.choice((0, 1.5, 4, 40, -1, nan)))


def _build(random: Random, live: LiveRollout) -> None:
    live.build(_cells(random, live), random.choice(HEIGHTS))


def _clear(random: Random, live: LiveRollout) -> None:
    live.clear(_cells(random, live))


def _turn(random: Random, live: LiveRollout) -> None:
    live.turn_wind(random.choice(DIRECTIONS))


def _advance(random: Random, live: LiveRollout) -> None:
    live.advance(random.choice((1, 2, 8)))


def _restart(random: Random, live: LiveRollout) -> None:
    live.restart()


def _revert(random: Random, live: LiveRollout) -> None:
    live.revert()


def _compare(random: Random, live: LiveRollout) -> None:
    live.compare_with_fresh_rollout(random.random() < 0.5)


def _undo(random: Random, live: LiveRollout) -> None:
    live.undo()


def _open(random: Random, live: LiveRollout) -> LiveRollout:
    return LiveRollout(live.rules, random.choice(_scenes()))


CHANGES: tuple[Callable, ...] = (
    _build, _build, _build, _clear, _clear, _turn, _turn, _advance, _advance, _advance, _undo,
    _undo, _restart, _revert, _compare, _open,
)  # fmt: skip


@cache
def _scenes() -> list[Scene]:
    cases = load_dataset(PROJECT_ROOT / "data" / "test", SIDE)
    return [CaseScene(cases[index]) for index in range(0, len(cases), 5)]


@cache
def _rules() -> list:
    return load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
