"""Scores of a predicted field: six in 0…1, 1 best, that can be read beside each other."""

import importlib.util
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from pinca_lib.channels import DWDZ, FIELDS, PREDICTED, SPEED
from pinca_lib.physics import (
    ALPHA,
    Extents,
    continuity_residual,
    excess_flux,
    horizontal_gradients,
    missing_speed,
    negative_energy,
)

WINDOW = 11  # cells a side, of SSIM; smaller on smaller grids, and always odd


@cache
def declare_torchvision_operators() -> torch.library.Library | None:
    """Make ``import torchvision``, which piq needs, work beside a torch for the CPU alone.

    PyPI's torchvision for Linux is built for CUDA; beside a CPU-only torch
    its compiled operators do not load, and its import fails with "operator torchvision::nms does
    not exist". Nothing here calls them, so it is enough to declare their names. A torchvision that
    loads is left as it is.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    for library in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(library))
            return None
        except OSError:
            continue
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # kept by the cache: its declarations live as long as it does


declare_torchvision_operators()
import piq  # noqa: E402  (imports torchvision)


def scaled(value: Tensor, best: Tensor, worst: Tensor) -> Tensor:
    """Map a figure to 0…1: 1 at or beyond ``best``, 0 at or beyond ``worst``, linear between."""
    span = worst - best
    inside = ((worst - value) / torch.where(span == 0, 1, span)).clamp(0, 1)
    return torch.where(span == 0, (value <= best).to(inside), inside)


class ScaledPhysicsMetrics:
    """Six scores and their mean, scaled by what the target itself reaches.

    ============= ===================================== ================= ====================
    score         figure                                1 at              0 at
    ============= ===================================== ================= ====================
    mae           mean |prediction - target|            0                 the all-zero field's
    ssim          structural similarity (piq)           1                 0
    tke           share of cells with TKE >= 0          1                 0
    flux          share with |<u'w'>| <= alpha TKE      the target's own  0
    speed         mean (|(<u>, <v>)| - mean speed)+     the target's own  no speed at all
    continuity    mean |du/dx + dv/dy + dw/dz|          the target's own  terms of one sign
    ============= ===================================== ================= ====================

    The last worst case is the mean of |du/dx| + |dv/dy| + |dw/dz| over the target. The scores of
    ``mae`` and ``ssim`` are over the five fields (channels 6-10), in all cells; for ``ssim`` each
    channel of prediction and target is scaled by the target's minimum and maximum and clamped.

    Parameters
    ----------
    targets : Tensor of shape (N, 12, H, W)
        The data that set the scale of the physical scores.
    extents : (N, 2) in metres
        Height and width of each domain.
    alpha : float
        Bound of |<u'w'>| / TKE.
    """

    SCORES = ("mae", "ssim", "tke", "flux", "speed", "continuity")

    def __init__(self, targets: Tensor, extents: Extents, alpha: float = ALPHA):
        self.alpha = alpha
        zero = targets.new_zeros(())
        gradients = [*horizontal_gradients(targets, extents), targets[:, DWDZ]]
        still = targets.clone()
        still[:, SPEED] = 0
        self.references = {  # figure of the target, worst case
            "tke": (zero, zero + 1),
            "flux": (self._outside_flux_bound(targets), zero + 1),
            "speed": (missing_speed(targets).mean(), missing_speed(still).mean()),
            "continuity": (
                continuity_residual(targets, extents).abs().mean(),
                sum(gradient.abs() for gradient in gradients).mean(),
            ),
        }

    def _outside_flux_bound(self, state: Tensor) -> Tensor:
        return (excess_flux(state, self.alpha) > 0).float().mean()

    @torch.no_grad()
    def __call__(
        self, state: Tensor, target: Tensor, extents: Extents, known: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Score states against their targets.

        Parameters
        ----------
        state : Tensor of shape (B, C, H, W)
            Predictions, C >= 12.
        target : Tensor of shape (B, 12, H, W)
        extents : (B, 2) in metres
        known : Tensor of shape (B, >= 5), bool, optional
            Which of the target's fields are data; ``mae`` and ``ssim`` leave the others out.

        Returns
        -------
        dict of str to Tensor
            The six scores and ``mean``, each a scalar in 0…1; NaN if the prediction has NaN.
        """
        if not state[:, PREDICTED].isfinite().all():
            return dict.fromkeys((*self.SCORES, "mean"), state.new_full((), torch.nan))
        fields, truth = state[:, FIELDS], target[:, FIELDS]
        if known is None:
            known = torch.ones(fields.shape[:2], dtype=torch.bool, device=fields.device)
        known = known[:, : fields.shape[1]]
        zero = fields.new_zeros(())
        figures = {
            "tke": (negative_energy(state) > 0).float().mean(),
            "flux": self._outside_flux_bound(state),
            "speed": missing_speed(state).mean(),
            "continuity": continuity_residual(state, extents).abs().mean(),
        }
        scores = {
            "mae": scaled((fields - truth)[known].abs().mean(), zero, truth[known].abs().mean()),
            "ssim": structural_similarity(fields[known][None], truth[known][None]),
            **{name: scaled(figures[name], *self.references[name]) for name in figures},
        }
        return scores | {"mean": torch.stack([*scores.values()]).mean()}


def structural_similarity(fields: Tensor, truth: Tensor) -> Tensor:
    """Mean SSIM over samples and channels, each scaled to 0…1 by its target; clamped to 0…1.

    Parameters
    ----------
    fields, truth : Tensor of shape (B, K, H, W)
        A channel that is constant in the target counts with its deviations unscaled.
    """
    low, high = truth.amin((2, 3), keepdim=True), truth.amax((2, 3), keepdim=True)
    span = torch.where(high > low, high - low, 1)
    planes = [((x - low) / span).clamp(0, 1).flatten(0, 1)[:, None] for x in (fields, truth)]
    side = min(WINDOW, *fields.shape[-2:])
    return piq.ssim(*planes, kernel_size=side - 1 + side % 2, data_range=1.0).clamp(0, 1)
