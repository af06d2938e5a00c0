"""The laws that a mean flow obeys, as residuals and bounds, and a loss on the residuals.

Three laws are bounds on the statistics of a turbulent flow at one point. The fourth is continuity:

    TKE >= 0                                    turbulent kinetic energy is a sum of squares
    |<u'w'>| <= alpha TKE                       the energy bounds the momentum flux
    <sqrt(u^2 + v^2)> >= sqrt(<u>^2 + <v>^2)    Jensen's inequality
    d<u>/dx + d<v>/dy + d<w>/dz = 0             incompressible flow

``PhysicsLoss`` penalises violations. ``realisable`` removes violations of the three bounds exactly,
by projecting every cell onto them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pinca_lib.channels import DWDZ, FLUX, SPEED, TKE, U, V

Extents = Tensor | Sequence[tuple[float, float]]
"""Height and width of the domain of each sample, in metres: (B, 2), or B pairs."""

ALPHA = 2.25  # bound of |<u'w'>| / TKE: Cauchy-Schwarz gives 1, the original experiment took more
MARGIN = 1e-6  # a projection overshoots by this ratio, so that rounding cannot break a bound


def realisable(fields: Tensor, alpha: float = ALPHA) -> Tensor:
    """Raise TKE and speed and shrink the flux where fields break a bound.

    Parameters
    ----------
    fields : Tensor of shape (B, 5, H, W)
        u, v and speed in m/s, TKE and flux in m²/s².
    alpha : float
        Bound of |<u'w'>| / TKE.

    Returns
    -------
    Tensor of shape (B, 5, H, W)
        Fields with 0 <= TKE, |<u'w'>| <= alpha TKE and |(<u>, <v>)| <= speed in every cell, also
        after rounding. u and v are unchanged, and so are cells that keep all bounds by a margin of
        ``MARGIN``. (In float32 the square of a wind below 1e-19 m/s is 0, so its speed may be 0.)
    """
    u, v, speed, tke, flux = fields.unbind(1)
    speed = torch.maximum(speed, (1 + MARGIN) * torch.sqrt(u**2 + v**2))
    tke = torch.relu(tke)
    largest = (1 - MARGIN) * alpha * tke
    flux = torch.minimum(torch.maximum(flux, -largest), largest)
    return torch.stack([u, v, speed, tke, flux], dim=1)


def negative_energy(state: Tensor) -> Tensor:
    """Return the violation of TKE >= 0, (B, H, W) in m²/s²: zero where the bound holds."""
    return torch.relu(-state[:, TKE])


def excess_flux(state: Tensor, alpha: float = ALPHA) -> Tensor:
    """Return the violation of |<u'w'>| <= alpha max(TKE, 0), (B, H, W) in m²/s²."""
    return torch.relu(state[:, FLUX].abs() - alpha * torch.relu(state[:, TKE]))


def missing_speed(state: Tensor) -> Tensor:
    """Return the violation of mean speed >= speed of the mean wind, (B, H, W) in m/s.

    The 1e-8 m²/s² under the square root keeps the gradient finite in still air.
    """
    speed_of_mean = torch.sqrt(state[:, U] ** 2 + state[:, V] ** 2 + 1e-8)
    return torch.relu(speed_of_mean - state[:, SPEED])


def horizontal_gradients(state: Tensor, extents: Extents) -> tuple[Tensor, Tensor]:
    """Return d<u>/dx and d<v>/dy, each (B, H, W) in 1/s.

    Central differences of second order, one-sided at the edges of the domain (``torch.gradient``).
    y increases with the row and x with the column. The cell size is extent / number of cells.
    """
    height, width = state.shape[-2:]
    extents = torch.as_tensor(extents).to(state)  # (B, 2)
    dy = (extents[:, 0] / height).view(-1, 1, 1)
    dx = (extents[:, 1] / width).view(-1, 1, 1)
    (du,) = torch.gradient(state[:, U], dim=-1)
    (dv,) = torch.gradient(state[:, V], dim=-2)
    return du / dx, dv / dy


def continuity_residual(state: Tensor, extents: Extents) -> Tensor:
    """Return d<u>/dx + d<v>/dy + d<w>/dz, (B, H, W) in 1/s; d<w>/dz is a channel of the state."""
    du_dx, dv_dy = horizontal_gradients(state, extents)
    return du_dx + dv_dy + state[:, DWDZ]


class PhysicsLoss(nn.Module):
    """Weighted sum of the four residuals (version 4 of the loss of the original experiment).

    Parameters
    ----------
    alpha : float
        Bound of |<u'w'>| / TKE.
    weights : dict of str to float, optional
        Weight of each term in ``TERMS``. The default is 1. A term of weight 0 is not computed.

    Raises
    ------
    ValueError
        If a name in ``weights`` is not a term.
    """

    TERMS = ("L_k_neg", "L_flux", "L_u_bound", "L_continuity")

    def __init__(self, alpha: float = ALPHA, weights: dict[str, float] | None = None):
        super().__init__()
        unknown = set(weights or {}) - set(self.TERMS)
        if unknown:
            raise ValueError(f"unknown physics terms {sorted(unknown)}; choose from {self.TERMS}")
        self.alpha = alpha
        self.weights = dict.fromkeys(self.TERMS, 1.0) | (weights or {})

    def forward(self, state: Tensor, extents: Extents | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the loss.

        Parameters
        ----------
        state : Tensor of shape (B, C, H, W)
            C >= 12; u, v and speed in m/s, TKE and flux in m²/s², dwdz in 1/s.
        extents : (B, 2) in metres, or None
            Height and width of each domain. If None, continuity cannot be evaluated, and its
            term is zero.

        Returns
        -------
        total : Tensor, scalar
        terms : dict of str to Tensor
            Each term without its weight, and the total as ``L_physics_total``.
        """
        residuals = {
            "L_k_neg": lambda: negative_energy(state).mean(),
            "L_flux": lambda: excess_flux(state, self.alpha).mean(),
            "L_u_bound": lambda: missing_speed(state).mean(),
            "L_continuity": lambda: (
                state.new_zeros(())
                if extents is None
                else continuity_residual(state, extents).square().mean()
            ),
        }
        active = [name for name in self.TERMS if self.weights[name] > 0]
        terms = {name: residuals[name]() for name in active}
        total = sum((self.weights[name] * terms[name] for name in active), state.new_zeros(()))
        return total, terms | {"L_physics_total": total}
