"""Training: the two experiments' losses, and the descent that both share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import DYNAMIC, FIELDS
from pinca_lib.physics import PhysicsLoss
from pinca_lib.pool import Batch, SamplePool
from pinca_lib.texture import pixel_loss

MILESTONES, DECAY = (1000, 2000), 0.3  # of the learning rate, iterations


def seed_everything(seed: int) -> np.random.Generator:
    """Seed torch, and return the generator of all other draws."""
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


class Training:
    """What a training changes: the rule, its optimiser and schedule, the pool, random numbers.

    Parameters
    ----------
    rule : CA
        The rule to train.
    pool : SamplePool
    learning_rate : float
        Of Adam, before it decays.
    """

    def __init__(self, rule: CA, pool: SamplePool, learning_rate: float):
        self.rule, self.pool, self.random = rule, pool, pool.random
        self.optimiser = torch.optim.Adam(rule.parameters(), learning_rate)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.optimiser, MILESTONES, DECAY)

    def draw_steps(self, low: int, high: int) -> int:
        """Draw the number of steps of an iteration from [low, high)."""
        return int(self.random.integers(low, high))

    def descend(self, loss: Tensor) -> None:
        """Take one step of Adam along the normalised gradient.

        The gradient of each parameter is divided by its norm, as in Mordvintsev et al. 2020,
        "Growing Neural Cellular Automata": long rollouts make its size meaningless.

        Raises
        ------
        FloatingPointError
            If the loss or its gradient is NaN or infinite; nothing is changed then.
        """
        self.optimiser.zero_grad()
        loss.backward()
        gradients = [p.grad for p in self.rule.parameters() if p.grad is not None]
        norms = [gradient.norm() for gradient in gradients]
        if not torch.stack([loss.detach(), *norms]).isfinite().all():
            raise FloatingPointError(
                f"training has diverged: the loss is {loss.item():g}, its gradients' norms are "
                f"{', '.join(f'{norm.item():g}' for norm in norms)}; start anew with a smaller "
                "learning_rate or fewer steps"
            )
        for gradient, norm in zip(gradients, norms, strict=True):
            gradient /= norm + 1e-8
        self.optimiser.step()
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a checkpoint keeps, except the pool."""
        return {
            "model_state_dict": self.rule.state_dict(),
            "optimizer_state_dict": self.optimiser.state_dict(),
            "schedule_state_dict": self.schedule.state_dict(),
            "random": self.random.bit_generator.state,
            "torch_random": torch.get_rng_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.rule.load_state_dict(saved["model_state_dict"])
        self.optimiser.load_state_dict(saved["optimizer_state_dict"])
        self.schedule.load_state_dict(saved["schedule_state_dict"])
        self.random.bit_generator.state = saved["random"]
        torch.set_rng_state(saved["torch_random"])


def overflow(values: Tensor) -> Tensor:
    """Sum of how far values lie outside -1…1: keeps a rollout from running away."""
    return (values - values.clamp(-1, 1)).abs().sum()


class InitLoss:
    """Loss of the Init-NCA: a field loss, and the overflow of every channel that it writes.

    Parameters
    ----------
    field_loss : callable
        Of state and target, e.g. from ``texture.field_loss``.
    lambda_overflow : float
        Weight of the overflow.
    """

    def __init__(self, field_loss: Callable[[Tensor, Tensor], Tensor], lambda_overflow: float):
        self.field_loss, self.lambda_overflow = field_loss, lambda_overflow

    def __call__(self, state: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms, ``loss`` their weighted sum, for a state of shape (B, C, H, W)."""
        field, over = self.field_loss(state, batch.target), overflow(state[:, DYNAMIC])
        return {"loss": field + self.lambda_overflow * over, "field": field, "overflow": over}


class PILoss:
    """Loss of the PI-NCA: data, physics, and the overflow of the five fields.

    Parameters
    ----------
    alpha : float
        Bound of |<u'w'>| / TKE in the physics.
    lambda_mse, lambda_pinn, lambda_overflow : float
        Weights of the three.
    """

    def __init__(self, alpha: float, lambda_mse: float, lambda_pinn: float, lambda_overflow: float):
        self.physics = PhysicsLoss(alpha)
        self.lambda_mse, self.lambda_pinn = lambda_mse, lambda_pinn
        self.lambda_overflow = lambda_overflow

    def __call__(self, state: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms, ``loss`` their weighted sum, for a state of shape (B, C, H, W)."""
        mse, over = pixel_loss(state, batch.target), overflow(state[:, FIELDS])
        pinn, terms = self.physics(state, batch.extents)
        loss = self.lambda_mse * mse + self.lambda_pinn * pinn + self.lambda_overflow * over
        return {"loss": loss, "mse": mse, "overflow": over, **terms}
