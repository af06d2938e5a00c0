"""The sample pool: states that live on between training steps, so that rules learn to persist."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinca_lib.channels import BASE, DYNAMIC, STATE_COUNT, split_base
from pinca_lib.datasets import WindDataset


@dataclass(frozen=True)
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
    """

    slots: Tensor
    state: Tensor
    target: Tensor
    extents: Tensor


def fresh_states(cases: Tensor, channels: int = STATE_COUNT) -> Tensor:
    """Return states that hold the cases' base channels and are zero beyond.

    Parameters
    ----------
    cases : Tensor of shape (N, >= 6, H, W)
        Channels 0-5 are taken.
    channels : int
        Channels C of the states.

    Returns
    -------
    Tensor of shape (N, C, H, W)
    """
    states = cases.new_zeros(len(cases), channels, *cases.shape[-2:])
    states[:, BASE] = cases[:, BASE]
    return states


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
    """

    def __init__(
        self,
        dataset: WindDataset,
        size: int,
        random: np.random.Generator,
        device: torch.device | str = "cpu",
        channels: int = STATE_COUNT,
    ):
        self.size, self.channels, self.random = size, channels, random
        self.targets = dataset.states.to(device)  # (N, 12, H, W)
        self.extents = dataset.extents.to(device)  # (N, 2)
        self.refresh()

    def __len__(self) -> int:
        return self.size

    def refresh(self) -> None:
        """Draw the cases anew, each as often as any other to within one, and start all at zero."""
        count = len(self.targets)
        rounds = [self.random.permutation(count) for _ in range(-(-self.size // count))]
        self._lay(torch.from_numpy(np.concatenate(rounds)[: self.size]))

    def _lay(self, cases: Tensor) -> None:
        self.cases = cases.to(self.targets.device)  # (P,)
        self.states = fresh_states(self.targets[self.cases], self.channels)

    def sample(self, count: int, restart_first: bool = False) -> Batch:
        """Draw samples without replacement.

        Parameters
        ----------
        count : int
            Samples to draw, at most ``len(self)``.
        restart_first : bool
            Set everything but the base channels of the first sample to zero, so that the rule
            does not forget how to begin.
        """
        drawn = self.random.choice(self.size, count, replace=False)
        slots = torch.from_numpy(drawn).to(self.cases.device)
        state = self.states[slots]  # a copy
        if restart_first:
            state[0, DYNAMIC] = 0
        cases = self.cases[slots]
        return Batch(slots, state, self.targets[cases], self.extents[cases])

    def write(self, batch: Batch, state: Tensor) -> None:
        """Put the states that became of a batch, (B, C, H, W), back into their places."""
        self.states[batch.slots] = state.detach()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what changes: the cases and the states beyond their base channels."""
        return {"cases": self.cases, "dynamic": split_base(self.states)[1]}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned, over the same data set."""
        self._lay(saved["cases"])
        self.states[:, DYNAMIC] = saved["dynamic"].to(self.states)
