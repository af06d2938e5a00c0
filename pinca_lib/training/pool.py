"""The sample pool: states that live on between training steps, so that rules learn to persist."""

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinca_lib.channels import (
    BASE,
    DWDZ,
    DYNAMIC,
    GEO_MASK,
    PREDICTED,
    PREDICTED_CHANNELS,
    STATE_COUNT,
    fresh_states,
    split_base,
)
from pinca_lib.datasets import WindDataset
from pinca_lib.training.augmentation import Move

RUNAWAY = 100.0  # in any channel that a rule writes; fields and memory are of order 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples drawn from the pool.

    Attributes
    ----------
    slots : Tensor of shape (B,), int64
        Their places in the pool.
    state : Tensor of shape (B, C, H, W)
    target : Tensor of shape (B, 12, H, W)
        The data's channels 0-11 of each sample's case.
    extents : Tensor of shape (B, 2)
        Height and width of each domain, m.
    known : Tensor of shape (B, 6), bool
        Which of the target's channels 6-11 are data; the others are zero.
    """

    slots: Tensor
    state: Tensor
    target: Tensor
    extents: Tensor
    known: Tensor


class SamplePool:
    """A fixed number of states, each belonging to a case of the data set.

    Parameters
    ----------
    dataset : WindDataset
    size : int
        Number of states kept.
    random : numpy.random.Generator
        Source of all draws.
    device : torch.device
        Where states and targets are kept.
    channels : int
        Channels of a state.
    augment : bool
        Shift every case at random when it is laid in, and mirror and turn it if the data set
        says that it may be (``augmentation``).
    """

    def __init__(
        self,
        dataset: WindDataset,
        size: int,
        random: np.random.Generator,
        device: torch.device | str = "cpu",
        channels: int = STATE_COUNT,
        augment: bool = False,
    ):
        self.size, self.channels, self.random, self.augment = size, channels, random, augment
        self.targets = dataset.states.to(device)  # (N, 12, H, W)
        self.extents = dataset.extents.to(device)  # (N, 2)
        self.known = torch.ones(len(dataset), len(PREDICTED_CHANNELS), dtype=torch.bool)
        self.known[:, DWDZ - PREDICTED.start] = dataset.has_dwdz
        self.turnable = dataset.turnable.tolist()
        self.refresh()

    def __len__(self) -> int:
        return self.size

    def refresh(self) -> None:
        """Draw the cases anew, each as often as any other to within one, and start all at zero."""
        count = len(self.targets)
        rounds = [self.random.permutation(count) for _ in range(-(-self.size // count))]
        cases = np.concatenate(rounds)[: self.size].tolist()
        self._lay(cases, [self._drawn_move(case) for case in cases])

    def _drawn_move(self, case: int) -> Move:
        if not self.augment:
            return Move()
        return Move.drawn(self.targets.shape[-2:], self.random, self.turnable[case])

    def _lay(self, cases: list[int], moves: list[Move]) -> None:
        self.cases, self.moves = cases, moves
        shape = (self.size, self.channels, *self.targets.shape[-2:])
        self.states = self.targets.new_zeros(shape)
        for slot in range(self.size):
            self.states[slot, BASE] = self.target(slot)[BASE]

    def target(self, slot: int) -> Tensor:
        """Return what the state in a slot is to become, (12, H, W)."""
        return self.moves[slot].state(self.targets[self.cases[slot]])

    def sample(self, count: int, restarts: int = 0, swaps: int = 0) -> Batch:
        """Draw samples without replacement.

        Parameters
        ----------
        count : int
            Samples to draw, at most ``len(self)``.
        restarts : int
            Set everything but the base channels of the first so many to zero, lest the rule
            forget how to begin. A pool that augments draws other cases for them too.
        swaps : int
            Lay other cases under the wind of the next so many, that the rule learns to forget what
            it saw before an edit.
        """
        slots = self.random.choice(self.size, count, replace=False).tolist()
        begun = restarts + swaps
        for slot in slots[0 if self.augment else restarts : begun]:
            self.cases[slot] = int(self.random.integers(len(self.targets)))
            self.moves[slot] = self._drawn_move(self.cases[slot])
        drawn = [(self.cases[slot], self.moves[slot]) for slot in slots]
        target = torch.stack([self.target(slot) for slot in slots])
        state = self.states[slots]  # a copy
        state[:begun, BASE] = target[:begun, BASE]
        state[:begun, DYNAMIC] *= target[:begun, GEO_MASK, None] > 0
        state[:restarts, DYNAMIC] = 0
        extents = torch.stack([move.extent(self.extents[case]) for case, move in drawn])
        known = torch.stack([move.known(self.known[case]) for case, move in drawn])
        return Batch(torch.tensor(slots), state, target, extents, known.to(target.device))

    def write(self, batch: Batch, state: Tensor) -> None:
        """Put the states that became of a batch, (B, C, H, W), back into their places.

        One that ran away begins anew: left to itself it would grow until nothing is finite.
        """
        largest = state.detach()[:, DYNAMIC].abs().amax((1, 2, 3))
        is_sound = (largest < RUNAWAY).view(-1, 1, 1, 1)  # NaN is not
        self.states[batch.slots] = torch.where(
            is_sound, state.detach(), fresh_states(batch.target, self.channels)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what changes: cases, their moves, and the states beyond their base channels."""
        return {
            "cases": torch.tensor(self.cases),
            "moves": torch.tensor([astuple(move) for move in self.moves]),
            "dynamic": split_base(self.states)[1],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, over the same data set."""
        moves = [Move(*row[:2], *map(bool, row[2:])) for row in saved["moves"].tolist()]
        self._lay(saved["cases"].tolist(), moves)
        self.states[:, DYNAMIC] = saved["dynamic"].to(self.states)
