"""The sample pool: states that are kept between iterations, so that rules learn to stay stable.

See Mordvintsev et al. 2020, "Growing Neural Cellular Automata".
"""

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
from pinca_lib.training.processes import PROCESSES

LARGE = 2**32  # bytes
RUNAWAY = 100.0  # of a dynamic channel; fields and hidden channels are of order 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples drawn from the pool.

    Attributes
    ----------
    slots : Tensor of shape (B,), int64
        Positions of the samples in the pool.
    state : Tensor of shape (B, C, H, W)
    target : Tensor of shape (B, 12, H, W)
        Channels 0-11 of each sample's simulated case.
    extents : Tensor of shape (B, 2)
        Height and width of each domain, m.
    known : Tensor of shape (B, 6), bool
        Which of the target's channels 6-11 come from data. The others are zero.
    """

    slots: Tensor
    state: Tensor
    target: Tensor
    extents: Tensor
    known: Tensor


class SamplePool:
    """A fixed number of states, each of which belongs to a case of the data set.

    Processes that train together share the pool: each holds a part of it, and draws its share of
    every batch from that part.

    Parameters
    ----------
    dataset : WindDataset
    size : int
        Number of states in the pool, in all processes together.
    random : numpy.random.Generator
        Source of all random numbers.
    device : torch.device or str
        Device that holds the states, and the targets if they take at most ``LARGE`` bytes. Others
        stay where the data set has them, and go to the device batch by batch.
    channels : int
        Number of channels of a state.
    augment : bool
        Shift a case at random whenever it is put into the pool, and also mirror and turn it if the
        data set marks it as ``turnable`` (see ``augmentation``).
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
        self.size = PROCESSES.share("pool_size", size)
        self.channels, self.random, self.augment = channels, random, augment
        self.device, self.targets = torch.device(device), dataset.states  # (N, 12, H, W)
        if self.targets.nbytes <= LARGE:
            self.targets = self.targets.to(device)
        self.extents = dataset.extents.to(device)  # (N, 2)
        self.known = torch.ones(len(dataset), len(PREDICTED_CHANNELS), dtype=torch.bool)
        self.known[:, DWDZ - PREDICTED.start] = dataset.has_dwdz
        self.turnable = dataset.turnable.tolist()
        self.refresh()

    def __len__(self) -> int:
        return self.size

    def refresh(self) -> None:
        """Fill the pool with fresh states of newly drawn cases.

        The numbers of times that any two cases occur differ by at most one.
        """
        count = len(self.targets)
        rounds = [self.random.permutation(count) for _ in range(-(-self.size // count))]
        cases = np.concatenate(rounds)[: self.size].tolist()
        self._fill(cases, [self._draw_move(case) for case in cases])

    def _draw_move(self, case: int) -> Move:
        if not self.augment:
            return Move()
        return Move.drawn(self.targets.shape[-2:], self.random, self.turnable[case])

    def _fill(self, cases: list[int], moves: list[Move]) -> None:
        """Put fresh states of some cases into the pool."""
        self.cases, self.moves = cases, moves
        shape = (self.size, self.channels, *self.targets.shape[-2:])
        self.states = torch.zeros(shape, dtype=self.targets.dtype, device=self.device)
        for slot in range(self.size):
            self.states[slot, BASE] = self.target(slot)[BASE]

    def target(self, slot: int) -> Tensor:
        """Return the moved case that the state in a slot is trained towards, (12, H, W)."""
        return self.moves[slot].state(self.targets[self.cases[slot]].to(self.device))

    def sample(self, count: int, restarts: int = 0, swaps: int = 0) -> Batch:
        """Draw samples without replacement.

        Parameters
        ----------
        count : int
            Number of samples in all processes together, at most the size of the pool.
        restarts : int
            Number of samples, the first of the batch, that start from a fresh state. Without them,
            the rule would forget how to start. A pool with augmentation also draws a new case for
            each.
        swaps : int
            Number of samples, the next of the batch, that keep their flow but get another case, as
            after an edit of the city. Rules learn from them to heal.
        """
        count = PROCESSES.share("batch_size", count)
        restarts, swaps = self._drawn_share(restarts), self._drawn_share(swaps)
        slots = self.random.choice(self.size, count, replace=False).tolist()
        changed = restarts + swaps
        for slot in slots[0 if self.augment else restarts : changed]:
            self.cases[slot] = int(self.random.integers(len(self.targets)))
            self.moves[slot] = self._draw_move(self.cases[slot])
        drawn = [(self.cases[slot], self.moves[slot]) for slot in slots]
        target = torch.stack([self.target(slot) for slot in slots])
        state = self.states[slots]  # a copy
        state[:changed, BASE] = target[:changed, BASE]
        state[:changed, DYNAMIC] *= target[:changed, GEO_MASK, None] > 0  # zero in new buildings
        state[:restarts, DYNAMIC] = 0
        extents = torch.stack([move.extent(self.extents[case]) for case, move in drawn])
        known = torch.stack([move.known(self.known[case]) for case, move in drawn])
        return Batch(torch.tensor(slots), state, target, extents, known.to(target.device))

    def _drawn_share(self, number: int) -> int:
        """Return this process's share of a number, rounded at random so that the mean is right."""
        whole, rest = divmod(number, PROCESSES.count)
        return whole + int(rest > 0 and self.random.random() < rest / PROCESSES.count)

    def write(self, batch: Batch, state: Tensor) -> None:
        """Put the states of a batch, (B, C, H, W), back into the pool after their rollout.

        A state with a value beyond ``RUNAWAY``, or with NaN, is replaced by a fresh one. Otherwise
        it could keep growing until its values overflow.
        """
        largest = state.detach()[:, DYNAMIC].abs().amax((1, 2, 3))
        is_sound = (largest < RUNAWAY).view(-1, 1, 1, 1)  # False for NaN
        self.states[batch.slots] = torch.where(
            is_sound, state.detach(), fresh_states(batch.target, self.channels)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: cases, their moves, and the dynamic channels.

        The parts of all processes are joined to one pool; all processes have to ask for it.
        """
        return {name: PROCESSES.joined(part) for name, part in self._part().items()}

    def _part(self) -> dict[str, Tensor]:
        return {
            "cases": torch.tensor(self.cases),
            "moves": torch.tensor([astuple(move) for move in self.moves]),
            "dynamic": split_base(self.states)[1],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, on any number of processes.

        The data set has to be the same.

        Raises
        ------
        ValueError
            If it is of a pool of another size.
        """
        part = self._part()
        for name, own in part.items():
            shapes = tuple(saved[name].shape), (self.size * PROCESSES.count, *own.shape[1:])
            if shapes[0] != shapes[1]:
                raise ValueError("{} has the shape {}, expected {}".format(name, *shapes))
            part[name] = PROCESSES.part(saved[name])
        moves = [Move(*row[:2], *map(bool, row[2:])) for row in part["moves"].tolist()]
        self._fill(part["cases"].tolist(), moves)
        self.states[:, DYNAMIC] = part["dynamic"].to(self.states)
