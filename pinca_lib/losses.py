"""The losses of the two experiments: data, physics, and what keeps a rollout from running away."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.channels import DYNAMIC, FIELDS, GEO_MASK, KNOWN_COUNT, PREDICTED
from pinca_lib.physics import PhysicsLoss
from pinca_lib.pool import Batch
from pinca_lib.texture import filter_features, texture_loss, vgg_features

FieldLoss = Callable[[Tensor, Batch], Tensor]

WEIGHTS = (2.0, 1.0, 1.0, 0.5, 0.5)  # of (u, v) as one vector, speed, TKE, flux, dwdz
MEMORY_LIMIT = 3.0  # of the hidden channels


def field_loss(name: str) -> FieldLoss:
    """Return the loss of that name: ``"relative"``, ``"pixel"``, ``"filters"`` or ``"vgg"``.

    Raises
    ------
    InputError
        If VGG16 is asked for and its weights are not at hand.
    """
    if name in ("relative", "pixel"):
        return relative_loss if name == "relative" else pixel_loss
    features = vgg_features() if name == "vgg" else filter_features
    return lambda state, batch: texture_loss(state, _target(state, batch), features)


def _target(state: Tensor, batch: Batch) -> Tensor:
    """Return the target, with what is predicted in place of what is not known: no error there."""
    target = batch.target.clone()
    known = batch.known[:, : FIELDS.stop - FIELDS.start, None, None]
    target[:, FIELDS] = torch.where(known, target[:, FIELDS], state[:, FIELDS].detach())
    return target


def pixel_loss(state: Tensor, batch: Batch) -> Tensor:
    """Mean squared difference of the five fields, over all cells, for a state (B, C, H, W)."""
    return F.mse_loss(state[:, FIELDS], _target(state, batch)[:, FIELDS])


def relative_loss(state: Tensor, batch: Batch) -> Tensor:
    """Weighted sum of ||e||^2 / ||y||^2 over the air of each case, mean over the batch.

    The error e of a field is measured by the field y itself, since a momentum flux is a hundredth
    of a velocity, and a dense quarter's wind half of an open one's. The velocity counts as one
    vector; what is not known costs nothing. An all-zero prediction costs 5 where all is known.
    """
    air, truth = batch.target[:, GEO_MASK, None], batch.target[:, PREDICTED]

    def energy(fields: Tensor) -> Tensor:
        u, v, *others = (fields.square() * air).sum((2, 3)).unbind(1)
        return torch.stack([u + v, *others], dim=1)  # (B, 5)

    error, size = energy(state[:, PREDICTED] - truth), energy(truth)
    weights = batch.known[:, 1:] * torch.tensor(WEIGHTS).to(error)
    return (weights * error / torch.where(size > 0, size, 1)).sum(1).mean()


def overflow(values: Tensor, limit: float = 1.0) -> Tensor:
    """Return how far each value lies beyond -limit…limit."""
    return (values - values.clamp(-limit, limit)).abs()


def total_overflow(name: str, state: Tensor, held: slice) -> Tensor:
    """Return the overflow that goes with a field loss.

    With ``"relative"`` it is the mean over the hidden channels, which no data holds, beyond
    ``MEMORY_LIMIT``; else, as in the experiment, the sum over the channels ``held``, beyond 1.
    """
    if name != "relative":
        return overflow(state[:, held]).sum()
    hidden = state[:, KNOWN_COUNT:]
    return overflow(hidden, MEMORY_LIMIT).mean() if hidden.numel() else state.new_zeros(())


class InitLoss:
    """Loss of the Init-NCA: a field loss, and the overflow.

    Parameters
    ----------
    name : str
        Of the ``field_loss``. The overflow is held over every channel that the rule writes.
    lambda_overflow : float
        Weight of the overflow.
    """

    def __init__(self, name: str, lambda_overflow: float):
        self.name, self.field_loss = name, field_loss(name)
        self.lambda_overflow = lambda_overflow

    def __call__(self, state: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms, ``loss`` their weighted sum, for a state of shape (B, C, H, W)."""
        field = self.field_loss(state, batch)
        over = total_overflow(self.name, state, DYNAMIC)
        return {"loss": field + self.lambda_overflow * over, "field": field, "overflow": over}


class PILoss:
    """Loss of the PI-NCA: data, physics, and the overflow.

    Parameters
    ----------
    name : str
        Of the loss of the data, ``"relative"`` or ``"pixel"``. The overflow is held over the five
        fields.
    alpha : float
        Bound of |<u'w'>| / TKE in the physics.
    lambda_mse, lambda_pinn, lambda_overflow : float
        Weights of the three.
    """

    def __init__(
        self,
        name: str,
        alpha: float,
        lambda_mse: float,
        lambda_pinn: float,
        lambda_overflow: float,
    ):
        self.name, self.field_loss, self.physics = name, field_loss(name), PhysicsLoss(alpha)
        self.lambda_mse, self.lambda_pinn = lambda_mse, lambda_pinn
        self.lambda_overflow = lambda_overflow

    def __call__(self, state: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms, ``loss`` their weighted sum, for a state of shape (B, C, H, W)."""
        mse = self.field_loss(state, batch)
        over = total_overflow(self.name, state, FIELDS)
        pinn, terms = self.physics(state, batch.extents)
        loss = self.lambda_mse * mse + self.lambda_pinn * pinn + self.lambda_overflow * over
        return {"loss": loss, "mse": mse, "overflow": over, **terms}
