"""The losses of the Init-NCA and the PI-NCA: data, physics, overflow and rest."""

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
    """Return a loss between predicted and simulated fields.

    Parameters
    ----------
    name : str
        ``"relative"``, ``"pixel"``, or a texture loss with the features ``"filters"`` or ``"vgg"``.

    Returns
    -------
    callable
        Takes a state (B, C, H, W) and a ``Batch``, and returns a scalar.

    Raises
    ------
    InputError
        If the name is ``"vgg"`` and the weights of VGG16 are not on this machine.
    """
    if name in ("relative", "pixel"):
        return relative_loss if name == "relative" else pixel_loss
    features = vgg_features() if name == "vgg" else filter_features
    return lambda state, batch: texture_loss(state, _target(state, batch), features)


def _target(state: Tensor, batch: Batch) -> Tensor:
    """Return the target with unknown fields replaced by the prediction, so that they cost nothing.

    The shape is that of the target, (B, 12, H, W).
    """
    target = batch.target.clone()
    known = batch.known[:, : FIELDS.stop - FIELDS.start, None, None]
    target[:, FIELDS] = torch.where(known, target[:, FIELDS], state[:, FIELDS].detach())
    return target


def pixel_loss(state: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error over the five fields and all cells of a state (B, C, H, W)."""
    return F.mse_loss(state[:, FIELDS], _target(state, batch)[:, FIELDS])


def relative_loss(state: Tensor, batch: Batch) -> Tensor:
    """Return the sum over fields of weight ||e||^2 / ||y||^2, as the mean over the batch.

    The norms are over the cells in air of one case. The error e of a field is divided by the field
    y itself, because fields differ in size: a momentum flux is about a hundredth of a velocity, and
    the wind in a dense quarter about half of that in an open one. (u, v) counts as one vector. The
    weights are ``WEIGHTS``. Unknown fields cost nothing. If all fields are known, an all-zero
    prediction costs 5.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
    batch : Batch
    """
    return _relative(state[:, PREDICTED] - batch.target[:, PREDICTED], batch)


def _relative(difference: Tensor, batch: Batch) -> Tensor:
    """Return the sum of weight ||d||^2 / ||y||^2 for differences d (B, 6, H, W), batch mean."""
    air = batch.target[:, GEO_MASK, None]

    def energy(fields: Tensor) -> Tensor:
        u, v, *others = (fields.square() * air).sum((2, 3)).unbind(1)
        return torch.stack([u + v, *others], dim=1)  # (B, 5)

    size = energy(batch.target[:, PREDICTED])
    weights = batch.known[:, 1:] * torch.tensor(WEIGHTS).to(size)
    return (weights * energy(difference) / torch.where(size > 0, size, 1)).sum(1).mean()


def unrest(state: Tensor, after: Tensor, batch: Batch) -> Tensor:
    """Return how much a state changes in one more step.

    A rule can have a small error and still never settle: its fields keep moving around the right
    ones. This loss makes a rollout converge to a state that no longer depends on the path to it.

    Parameters
    ----------
    state, after : Tensor of shape (B, C, H, W)
        The state, and the state one step later.
    batch : Batch

    Returns
    -------
    Tensor, scalar
        The change of the fields, weighted and scaled as in ``relative_loss``, plus the mean square
        of the change of the hidden channels.
    """
    change = after - state
    hidden = change[:, KNOWN_COUNT:]
    hidden_change = hidden.square().sum() / max(hidden.numel(), 1)
    return _relative(change[:, PREDICTED], batch) + hidden_change


def overflow(values: Tensor, limit: float = 1.0) -> Tensor:
    """Return how far each value is outside -limit…limit: zero inside."""
    return (values - values.clamp(-limit, limit)).abs()


def total_overflow(name: str, state: Tensor, held: slice) -> Tensor:
    """Return the overflow that is used together with a field loss.

    Parameters
    ----------
    name : str
        Name of the ``field_loss``.
    state : Tensor of shape (B, C, H, W)
    held : slice
        Channels that the original experiment keeps within -1…1.

    Returns
    -------
    Tensor, scalar
        For ``"relative"``, the mean over the hidden channels of what exceeds ``HIDDEN_LIMIT``:
        the data do not limit these channels. For the other losses, as in the original experiment,
        the sum over the channels ``held`` of what exceeds 1.
    """
    if name != "relative":
        return overflow(state[:, held]).sum()
    hidden = state[:, KNOWN_COUNT:]
    return overflow(hidden, HIDDEN_LIMIT).mean() if hidden.numel() else state.new_zeros(())


class InitLoss:
    """Loss of the Init-NCA: a field loss plus the overflow.

    Parameters
    ----------
    name : str
        Name of the ``field_loss``. The overflow is ``total_overflow`` of the dynamic channels.
    lambda_overflow : float
        Weight of the overflow.
    """

    def __init__(self, name: str, lambda_overflow: float):
        self.name, self.field_loss = name, field_loss(name)
        self.lambda_overflow = lambda_overflow

    def __call__(self, state: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the terms for a state (B, C, H, W); ``loss`` is their weighted sum."""
        field = self.field_loss(state, batch)
        over = total_overflow(self.name, state, DYNAMIC)
        return {"loss": field + self.lambda_overflow * over, "field": field, "overflow": over}


class PILoss:
    """Loss of the PI-NCA: data, physics, overflow, and rest.

    Parameters
    ----------
    name : str
        Name of the ``field_loss`` on the data, ``"relative"`` or ``"pixel"``. The overflow is
        ``total_overflow`` of the five fields.
    alpha : float
        Upper bound of |<u'w'>| / TKE in the ``PhysicsLoss``.
    lambda_mse, lambda_pinn, lambda_overflow, lambda_rest : float
        Weights of the data, the physics, the overflow and the ``unrest``.
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
        """Return the terms; ``loss`` is their weighted sum.

        Parameters
        ----------
        state : Tensor of shape (B, C, H, W)
        batch : Batch
        after : Tensor of shape (B, C, H, W), optional
            The state one step later. Without it, the loss has no term ``rest``.

        Returns
        -------
        dict of str to Tensor
            ``loss``, ``mse``, ``overflow``, the terms of ``PhysicsLoss``, and ``rest``; scalars.
        """
        mse = self.field_loss(state, batch)
        over = total_overflow(self.name, state, FIELDS)
        pinn, terms = self.physics(state, batch.extents)
        loss = self.lambda_mse * mse + self.lambda_pinn * pinn + self.lambda_overflow * over
        if after is not None:
            terms["rest"] = unrest(state.detach(), after, batch)
            loss = loss + self.lambda_rest * terms["rest"]
        return {"loss": loss, "mse": mse, "overflow": over, **terms}
