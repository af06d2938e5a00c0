"""The laws that a mean flow obeys, as residuals, and the loss that penalises breaking them.

Three are bounds on one-point statistics of a turbulent flow, the fourth is continuity:

    TKE >= 0                              turbulent kinetic energy is a sum of squares
    |<u'w'>| <= alpha TKE                 the momentum flux is bounded by the energy
    <sqrt(u^2 + v^2)> >= sqrt(<u>^2 + <v>^2)    Jensen's inequality
    d<u>/dx + d<v>/dy + d<w>/dz = 0       incompressible flow

The bounds can be penalised, or kept exactly: ``realisable`` projects every cell onto them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pinca_lib.channels import DWDZ, FLUX, SPEED, TKE, U, V

Extents = Tensor | Sequence[tuple[float, float]]
"""Height and width in metres of each sample's domain: (B, 2), or B pairs."""

ALPHA = 2.25  # bound of |<u'w'>| / TKE; a realisable stress has 1, the experiment leaves room
MARGIN = 1e-6  # by which a projection overshoots, so that rounding breaks no bound


def realisable(fields: Tensor, alpha: float = ALPHA) -> Tensor:
    """Raise TKE and speed, and shorten the flux, where fields break a bound.

    Parameters
    ----------
    fields : Tensor of shape (B, 5, H, W)
        u, v, speed, TKE, flux.
    alpha : float
        Bound of |<u'w'>| / TKE.

    Returns
    -------
    Tensor of shape (B, 5, H, W)
        With 0 <= TKE, |<u'w'>| <= alpha TKE and |(<u>, <v>)| <= speed in every cell, however they
        are rounded; u and v are as they were. Where no bound is broken, or met to within
        ``MARGIN``, nothing changes. (The squares of winds below 1e-19 m/s are 0 in float32, and so
        is their least speed.)
    """
    u, v, speed, tke, flux = fields.unbind(1)
    speed = torch.maximum(speed, (1 + MARGIN) * torch.sqrt(u**2 + v**2))
    tke = torch.relu(tke)
    most = (1 - MARGIN) * alpha * tke
    return torch.stack([u, v, speed, tke, torch.minimum(torch.maximum(flux, -most), most)], dim=1)


def negative_energy(state: Tensor) -> Tensor:
    """Violation of TKE >= 0, (B, H, W), m²/s²: zero where the bound holds."""
    return torch.relu(-state[:, TKE])


def excess_flux(state: Tensor, alpha: float = ALPHA) -> Tensor:
    """Violation of |<u'w'>| <= alpha TKE, (B, H, W), m²/s²; negative TKE counts as none."""
    return torch.relu(state[:, FLUX].abs() - alpha * torch.relu(state[:, TKE]))


def missing_speed(state: Tensor) -> Tensor:
    """Violation of mean speed >= speed of the mean, (B, H, W), m/s.

    The 1e-8 m²/s² under the root keeps its gradient finite in still air.
    """
    speed_of_mean = torch.sqrt(state[:, U] ** 2 + state[:, V] ** 2 + 1e-8)
    return torch.relu(speed_of_mean - state[:, SPEED])


def horizontal_gradients(state: Tensor, extents: Extents) -> tuple[Tensor, Tensor]:
    """Return du/dx and dv/dy, each (B, H, W) in 1/s.

    Second-order central differences, one-sided at the domain's edges (``torch.gradient``).
    Rows run along y, columns along x, and the cell size is extent / number of cells.
    """
    height, width = state.shape[-2:]
    extents = torch.as_tensor(extents).to(state)  # (B, 2)
    dy = (extents[:, 0] / height).view(-1, 1, 1)
    dx = (extents[:, 1] / width).view(-1, 1, 1)
    (du,) = torch.gradient(state[:, U], dim=-1)
    (dv,) = torch.gradient(state[:, V], dim=-2)
    return du / dx, dv / dy


def continuity_residual(state: Tensor, extents: Extents) -> Tensor:
    """Return d<u>/dx + d<v>/dy + d<w>/dz, (B, H, W) in 1/s, with the state's own d<w>/dz."""
    du_dx, dv_dy = horizontal_gradients(state, extents)
    return du_dx + dv_dy + state[:, DWDZ]


class PhysicsLoss(nn.Module):
    """Weighted sum of the four residuals (version 4 of the experiment's loss).

    Parameters
    ----------
    alpha : float
        Bound of |<u'w'>| / TKE.
    weights : dict of str to float, optional
        Weight of each term; terms left out keep weight 1, terms of weight 0 are not computed.

    Raises
    ------
    ValueError
        If a weight names no term.
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
            C >= 12; u, v, speed in m/s, TKE and flux in m²/s², dwdz in 1/s.
        extents : (B, 2) in metres, or None
            Height and width of each domain. Without them continuity cannot be evaluated and
            its term is zero.

        Returns
        -------
        total : Tensor, scalar
        terms : dict of str to Tensor
            Each term unweighted, and ``L_physics_total``.
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
