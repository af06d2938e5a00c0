"""The states of a film: few steps between frames at first, when most happens, then more."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.rollouts.dispatch import rollout


def steps_before(frame: int) -> int:
    """Return the number of steps before a frame: 1, doubled every 30 frames, at most 8."""
    return min(2 ** (frame // 30), 8)


def rollout_frames(rules: Sequence[CA], state: Tensor, frames: int) -> Iterator[tuple[int, Tensor]]:
    """Run a rollout and yield its state after the steps that ``steps_before`` gives for each frame.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step.
    state : Tensor of shape (1, C, H, W)
        State at the start; not yielded.
    frames : int
        Number of states to yield.

    Yields
    ------
    steps : int
        Number of steps so far.
    state : Tensor of shape (C, H, W)
    """
    taken = 0
    for frame in range(frames):
        steps = steps_before(frame)
        state = rollout(rules, state, steps)
        taken += steps
        yield taken, state[0]
