"""Gradient descent, as the trainings of the Init-NCA and the PI-NCA share it."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from pinca_lib.channels import (
    FLUX,
    FLUX_Y,
    GEO_MASK,
    PREDICTED,
    STATE_COUNT,
    TOPO,
    U,
    V,
)
from pinca_lib.datasets.parts import mean_over_cases
from pinca_lib.training.pool import SamplePool
from pinca_lib.training.pools import SamplePools
from pinca_lib.training.processes import PROCESSES

MILESTONES, DECAY = (1000, 2000), 0.3  # iterations at which the learning rate drops, factor


def seed_everything(seed: int) -> np.random.Generator:
    """Seed torch, and return a NumPy generator for all other random numbers.

    Of several processes that train together, each gets another generator. Torch's numbers are the
    same in all of them, so that their rules begin with the same weights.
    """
    torch.manual_seed(seed)
    rank = PROCESSES.rank
    return np.random.default_rng([seed, rank] if rank else seed)


def channel_units(
    states: Tensor, channels: int = STATE_COUNT, follows_wind: bool = False
) -> Tensor:
    """Return the size of each channel: its root mean square over the data.

    Parameters
    ----------
    states : Tensor of shape (N, 12, H, W)
        The data. Building heights are averaged over all cells, channels 6-11 over the cells in
        air. The other channels are of order 1 and keep the size 1.
    channels : int
        Number of channels of the rule.
    follows_wind : bool
        Whether the rule uses the wind frame. Then u and v get the same size, and <v'w'>, which no
        data set has, gets the size of <u'w'>.

    Returns
    -------
    Tensor of shape (channels,)
        Sizes in SI units; 1 for channels that the data do not have.
    """
    units = torch.ones(channels, dtype=states.dtype, device=states.device)
    share_of_air = states[:, GEO_MASK].mean()
    heights = mean_over_cases(lambda part: part[:, TOPO].square().mean(), states)
    fields = mean_over_cases(lambda part: part[:, PREDICTED].square().mean((0, 2, 3)), states)
    units[TOPO], units[PREDICTED] = heights.sqrt(), (fields / share_of_air).sqrt()
    if follows_wind:
        units[[U, V]] = units[[U, V]].square().mean().sqrt()
        units[FLUX_Y] = units[FLUX]
    return torch.where(units > 0, units, 1)


def _cosine(share: float) -> float:
    """Return half a cosine: 1 at share 0, falling to 0 at share 1, and 0 beyond."""
    return (1 + math.cos(math.pi * min(share, 1))) / 2


class Training:
    """The state of a training: rule, optimiser, learning rate, sample pool and random numbers.

    Parameters
    ----------
    rule : Module
        The rule to train, or another network.
    pool : SamplePool or SamplePools
    learning_rate : float
        Initial learning rate of the optimiser, AdamW.
    ema_decay : float
        Decay of the exponential moving average of the weights, in 0…1: 0 keeps the newest weights,
        0.99 averages over about the last hundred iterations. ``average`` is a rule with these.
    weight_decay : float
        In every iteration, each weight shrinks by this share times the learning rate.
    iterations : int, optional
        Number of iterations of the whole training. The learning rate falls to 0 over them, along
        half a cosine (Loshchilov and Hutter 2017, "SGDR"). Without it, the learning rate is
        multiplied by ``DECAY`` at each of the ``MILESTONES``, as in the original experiment.
    is_normalised : bool
        Whether to divide the gradient of each parameter by its norm, as in Mordvintsev et al. 2020,
        "Growing Neural Cellular Automata". After a long rollout the norm says nothing about the
        right size of a step.
    """

    def __init__(
        self,
        rule: nn.Module,
        pool: SamplePool | SamplePools,
        *,
        learning_rate: float,
        ema_decay: float = 0.0,
        weight_decay: float = 0.0,
        iterations: int | None = None,
        is_normalised: bool = True,
    ):
        self.is_normalised = is_normalised
        self.rule, self.pool, self.random, self.ema_decay = rule, pool, pool.random, ema_decay
        self.average = deepcopy(rule).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            rule.parameters(), learning_rate, weight_decay=weight_decay
        )
        schedules = torch.optim.lr_scheduler
        self.schedule: schedules.LRScheduler
        if iterations is None:
            self.schedule = schedules.MultiStepLR(self.optimiser, MILESTONES, DECAY)
        else:
            self.schedule = schedules.LambdaLR(
                self.optimiser, lambda done: _cosine(done / iterations)
            )

    def draw_steps(self, low: int, high: int) -> int:
        """Return a random number of steps for an iteration, from [low, high).

        It is the same in all processes that train together, so that none waits for another.
        """
        return PROCESSES.same(int(self.random.integers(low, high)))

    def descend(self, loss: Tensor) -> None:
        """Take one step of gradient descent.

        Parameters
        ----------
        loss : Tensor, scalar
            Its gradient is averaged over the processes that train together.

        Raises
        ------
        FloatingPointError
            If the loss or a gradient is NaN or infinite. The weights then stay as they were.
        """
        self.optimiser.zero_grad()
        loss.backward()
        gradients = [p.grad for p in self.rule.parameters() if p.grad is not None]
        if PROCESSES.count > 1:
            loss = self._averaged(loss.detach(), gradients)
        norms = [gradient.norm() for gradient in gradients]
        if not torch.stack([loss.detach(), *norms]).isfinite().all():
            raise FloatingPointError(
                f"training has diverged: the loss is {loss.item():g}, the gradients' norms are "
                f"{', '.join(f'{norm.item():g}' for norm in norms)}; start again with a smaller "
                "learning_rate or fewer steps"
            )
        if self.is_normalised:
            for gradient, norm in zip(gradients, norms, strict=True):
                gradient /= norm + 1e-8
        self.optimiser.step()
        self.schedule.step()
        self._average()

    def _averaged(self, loss: Tensor, gradients: list[Tensor]) -> Tensor:
        """Return the mean of the loss over the processes, and replace gradients by their means.

        One NaN makes the mean NaN, so all processes stop if one diverges.
        """
        mean = PROCESSES.mean(parameters_to_vector([loss, *gradients]))
        sizes = [1, *(gradient.numel() for gradient in gradients)]
        loss, *means = mean.split(sizes)
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return loss[0]

    @torch.no_grad()
    def _average(self) -> None:
        """Update the average of the weights, which follows them faster in the first iterations."""
        done = self.schedule.last_epoch
        decay = min(self.ema_decay, done / (done + 9))
        for mean, weights in zip(self.average.parameters(), self.rule.parameters(), strict=True):
            mean.copy_(weights + decay * (mean - weights))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, without the pool; all processes have to ask for it."""
        random, *others = PROCESSES.all(self.random.bit_generator.state)
        return {
            "model_state_dict": self.average.state_dict(),
            "trained_state_dict": self.rule.state_dict(),
            "optimizer_state_dict": self.optimiser.state_dict(),
            "schedule_state_dict": self.schedule.state_dict(),
            "random": random,
            "random_of_others": others,
            "torch_random": torch.get_rng_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, on any number of processes.

        Those that the saved training did not have keep their own random numbers.
        """
        self.average.load_state_dict(saved["model_state_dict"])
        self.rule.load_state_dict(saved["trained_state_dict"])
        self.optimiser.load_state_dict(saved["optimizer_state_dict"])
        self.schedule.load_state_dict(saved["schedule_state_dict"])
        states = [saved["random"], *saved.get("random_of_others", [])]
        if PROCESSES.rank < len(states):
            self.random.bit_generator.state = states[PROCESSES.rank]
        torch.set_rng_state(saved["torch_random"])
