"""Scores: six metrics of predicted fields, scaled to 0…1 (1 is best) to be comparable."""

import importlib.util
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from pinca_lib.channels import DWDZ, FIELDS, PREDICTED, SPEED
from pinca_lib.datasets.parts import mean_over_cases
from pinca_lib.physics import (
    ALPHA,
    Extents,
    continuity_residual,
    excess_flux,
    horizontal_gradients,
    missing_speed,
    negative_energy,
)

WINDOW = 11  # side of SSIM's window, cells; on smaller grids the largest odd number that fits


@cache
def declare_torchvision_operators() -> torch.library.Library | None:
    """Make ``import torchvision``, which piq needs, work with a CPU-only torch.

    PyPI's torchvision for Linux is built for CUDA. With a CPU-only torch its compiled operators do
    not load, and its import fails with "operator torchvision::nms does not exist". This package
    never calls these operators, so declaring their names is enough. A torchvision whose operators
    load is left unchanged.

    Returns
    -------
    torch.library.Library or None
        The declarations, or None if none were needed. They exist as long as this object does; the
        cache keeps it.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for compiled in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(compiled))
            return None
        except OSError:
            continue
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


declare_torchvision_operators()
import piq  # noqa: E402  (imports torchvision)


def scaled(value: Tensor, best: Tensor, worst: Tensor) -> Tensor:
    """Map a metric to 0…1: 1 at or beyond ``best``, 0 at or beyond ``worst``, linear in between."""
    span = worst - best
    inside = ((worst - value) / torch.where(span == 0, 1, span)).clamp(0, 1)
    return torch.where(span == 0, (value <= best).to(inside), inside)


class ScaledPhysicsMetrics:
    """Compute six scores and their mean, on a scale that the targets set.

    ============= ===================================== ================= ====================
    score         metric                                1 at              0 at
    ============= ===================================== ================= ====================
    mae           mean |prediction - target|            0                 the all-zero field's
    ssim          structural similarity (piq)           1                 0
    tke           share of cells with TKE >= 0          1                 0
    flux          share with |<u'w'>| <= alpha TKE      the target's own  0
    speed         mean (|(<u>, <v>)| - mean speed)+     the target's own  no speed at all
    continuity    mean |du/dx + dv/dy + dw/dz|          the target's own  terms of one sign
    ============= ===================================== ================= ====================

    "The target's own" is the value of the metric for the targets. "No speed at all" is its value
    for the targets with the mean speed set to zero. "Terms of one sign" is the mean of
    |du/dx| + |dv/dy| + |dw/dz| over the targets. All means are over all cells, including buildings.
    ``mae`` and ``ssim`` use the five fields (channels 6-10). For ``ssim`` the target's minimum and
    maximum scale each channel of prediction and target to 0…1; values outside are clamped.

    Parameters
    ----------
    targets : Tensor of shape (N, 12, H, W)
        The data that set the scale of the physical scores, in the units of
        ``pinca_lib.channels``.
    extents : (N, 2) in metres
        Height and width of each domain.
    alpha : float
        Upper bound of |<u'w'>| / TKE.
    """

    SCORES = ("mae", "ssim", "tke", "flux", "speed", "continuity")

    def __init__(self, targets: Tensor, extents: Extents, alpha: float = ALPHA):
        self.alpha = alpha
        zero = targets.new_zeros(())
        flux, speed, no_speed, continuity, one_sign = mean_over_cases(
            self._references, targets, torch.as_tensor(extents)
        )
        self.references = {  # the metric at score 1 and at score 0
            "tke": (zero, zero + 1),
            "flux": (flux, zero + 1),
            "speed": (speed, no_speed),
            "continuity": (continuity, one_sign),
        }

    def _references(self, targets: Tensor, extents: Tensor) -> Tensor:
        """Return the metrics that set the scale, (5,)."""
        du_dx, dv_dy = horizontal_gradients(targets, extents)
        still = targets.clone()
        still[:, SPEED] = 0
        return torch.stack(
            [
                self._outside_flux_bound(targets),
                missing_speed(targets).mean(),
                missing_speed(still).mean(),
                continuity_residual(targets, extents).abs().mean(),
                (du_dx.abs() + dv_dy.abs() + targets[:, DWDZ].abs()).mean(),
            ]
        )

    def _outside_flux_bound(self, state: Tensor) -> Tensor:
        return (excess_flux(state, self.alpha) > 0).float().mean()

    @torch.no_grad()
    def __call__(
        self, state: Tensor, target: Tensor, extents: Extents, known: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Score predictions against their targets.

        Parameters
        ----------
        state : Tensor of shape (B, C, H, W)
            Predictions, C >= 12, in the units of ``pinca_lib.channels``.
        target : Tensor of shape (B, 12, H, W)
            In the same units.
        extents : (B, 2) in metres
            Height and width of each domain.
        known : Tensor of shape (B, >= 5), bool, optional
            Which fields of each target are data; ``mae`` and ``ssim`` use only these. All by
            default.

        Returns
        -------
        dict of str to Tensor
            The six scores and their ``mean``, each a scalar from 0 to 1. All are NaN if a
            predicted field holds NaN or infinity.
        """
        if not state[:, PREDICTED].isfinite().all():
            return dict.fromkeys((*self.SCORES, "mean"), state.new_full((), torch.nan))
        fields, truth = state[:, FIELDS], target[:, FIELDS]
        if known is None:
            known = torch.ones(fields.shape[:2], dtype=torch.bool, device=fields.device)
        known = known[:, : fields.shape[1]]
        zero = fields.new_zeros(())
        values = {
            "tke": (negative_energy(state) > 0).float().mean(),
            "flux": self._outside_flux_bound(state),
            "speed": missing_speed(state).mean(),
            "continuity": continuity_residual(state, extents).abs().mean(),
        }
        scores = {
            "mae": scaled((fields - truth)[known].abs().mean(), zero, truth[known].abs().mean()),
            "ssim": structural_similarity(fields[known][None], truth[known][None]),
            **{
                name: scaled(value, *(reference.to(value) for reference in self.references[name]))
                for name, value in values.items()
            },
        }
        return scores | {"mean": torch.stack([*scores.values()]).mean()}


def structural_similarity(fields: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity (SSIM), averaged over samples and channels.

    The minimum and maximum of each channel of ``truth`` scale that channel of both inputs to 0…1,
    with values outside clamped. A channel that is constant in ``truth`` is only shifted to 0.

    Parameters
    ----------
    fields, truth : Tensor of shape (B, K, H, W)
        Predictions and targets, in the same units.

    Returns
    -------
    Tensor, scalar
        From 0 to 1 (equal); negative similarity counts as 0.
    """
    low, high = truth.amin((2, 3), keepdim=True), truth.amax((2, 3), keepdim=True)
    span = torch.where(high > low, high - low, 1)
    planes = [((x - low) / span).clamp(0, 1).flatten(0, 1)[:, None] for x in (fields, truth)]
    side = min(WINDOW, *fields.shape[-2:])
    return piq.ssim(*planes, kernel_size=side - 1 + side % 2, data_range=1.0).clamp(0, 1)
