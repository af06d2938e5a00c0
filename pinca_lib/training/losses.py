"""The losses of the two experiments: data, physics, and what keeps a rollout from running away."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import HIDDEN_LIMIT
from pinca_lib.channels import DYNAMIC, FIELDS, GEO_MASK, KNOWN_COUNT, PREDICTED
from pinca_lib.physics import PhysicsLoss
from pinca_lib.training.pool import Batch
from pinca_lib.training.texture import filter_features, texture_loss, vgg_features

FieldLoss = Callable[[Tensor, Batch], Tensor]

WEIGHTS = (2.0, 1.0, 1.0, 0.5, 0.5)  # of (u, v) as one vector, speed, TKE, flux, dwdz


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
    return _relative(state[:, PREDICTED] - batch.target[:, PREDICTED], batch)


def _relative(difference: Tensor, batch: Batch) -> Tensor:
    """Weighted sum of ||d||^2 / ||y||^2 of differences (B, 6, H, W), mean over the batch."""
    air = batch.target[:, GEO_MASK, None]

    def energy(fields: Tensor) -> Tensor:
        u, v, *others = (fields.square() * air).sum((2, 3)).unbind(1)
        return torch.stack([u + v, *others], dim=1)  # (B, 5)

    size = energy(batch.target[:, PREDICTED])
    weights = batch.known[:, 1:] * torch.tensor(WEIGHTS).to(size)
    return (weights * energy(difference) / torch.where(size > 0, size, 1)).sum(1).mean()


def unrest(state: Tensor, after: Tensor, batch: Batch) -> Tensor:
    """Change of states (B, C, H, W) in a step: of fields as errors count, of the memory squared.

    A rule that errs little may still wander around what is right for ever; one that rests keeps a
    field, and forgets how it came to it.
    """
    change = after - state
    memory = change[:, KNOWN_COUNT:]
    of_memory = memory.square().sum() / max(memory.numel(), 1)
    return _relative(change[:, PREDICTED], batch) + of_memory


def overflow(values: Tensor, limit: float = 1.0) -> Tensor:
    """Return how far each value lies beyond -limit…limit."""
    return (values - values.clamp(-limit, limit)).abs()


def total_overflow(name: str, state: Tensor, held: slice) -> Tensor:
    """Return the overflow that goes with a field loss.

    With ``"relative"`` it is the mean over the hidden channels, which no data holds, beyond
    ``HIDDEN_LIMIT``; else, as in the experiment, the sum over the channels ``held``, beyond 1.
    """
    if name != "relative":
        return overflow(state[:, held]).sum()
    hidden = state[:, KNOWN_COUNT:]
    return overflow(hidden, HIDDEN_LIMIT).mean() if hidden.numel() else state.new_zeros(())


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
    lambda_mse, lambda_pinn, lambda_overflow, lambda_rest : float
        Weights of the three, and of the ``unrest``.
    """

    def __init__(
        self,
        name: str,
        alpha: float,
        lambda_mse: float,
        lambda_pinn: float,
        lambda_overflow: float,
        lambda_rest: float = 0.0,
    ):
        self.name, self.field_loss, self.physics = name, field_loss(name), PhysicsLoss(alpha)
        self.lambda_mse, self.lambda_pinn = lambda_mse, lambda_pinn
        self.lambda_overflow, self.lambda_rest = lambda_overflow, lambda_rest

    def __call__(
        self, state: Tensor, batch: Batch, after: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms, ``loss`` their weighted sum.

        Parameters
        ----------
        state : Tensor of shape (B, C, H, W)
        batch : Batch
        after : Tensor of shape (B, C, H, W), optional
            The state one step later; without it, rest is not asked for.
        """
        mse = self.field_loss(state, batch)
        over = total_overflow(self.name, state, FIELDS)
        pinn, terms = self.physics(state, batch.extents)
        loss = self.lambda_mse * mse + self.lambda_pinn * pinn + self.lambda_overflow * over
        if after is not None:
            terms["rest"] = unrest(state.detach(), after, batch)
            loss = loss + self.lambda_rest * terms["rest"]
        return {"loss": loss, "mse": mse, "overflow": over, **terms}
