"""Metrics of predicted fields, over the cells in air of one case, as used in wind engineering.

With prediction p, simulation y and error e = p - y over the cells in air:

    relative L2   ||e|| / ||y||            for vectors: over both components together
    R2            1 - sum e^2 / sum (y - mean y)^2
    MAE, NMAE     mean |e|,  sum |e| / sum |y|
    FAC2          share of cells with 1/2 <= p / y <= 2, or |p| and |y| both <= W
    hit rate q    share of cells with |e| <= D |y| or |e| <= W, D = 0.25 (VDI 3783-9)

Relative L2, R2 and NMAE of "all" are means over the fields. FAC2 and the hit rate depend on W, the
error that counts as none; the names of these metrics state it.
If a prediction holds NaN or infinity, all its metrics are NaN.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pinca_lib.channels import (
    DWDZ,
    FIELDS,
    FLUX,
    GEO_MASK,
    NAMES,
    PREDICTED,
    SPEED,
    TKE,
    WIND_X,
    WIND_Y,
    U,
    V,
)
from pinca_lib.evaluation.scaled_metrics import ScaledPhysicsMetrics, structural_similarity
from pinca_lib.physics import ALPHA, continuity_residual

HIT_RATE_D = 0.25  # relative error that counts as a hit
HIT_RATE_W = (0.01, 0.02, 0.05, 0.1)  # m/s, absolute errors that count as none
CALM = 0.1  # m/s; the direction of a weaker wind is not evaluated
NEAR = 8.0  # m; cells within this distance of a building are "near"
ROUNDING = 1e-6  # m/s or m²/s²; a smaller violation of a bound counts as rounding

METRICS = {  # what people look at first of what ``evaluate`` returns, with labels for tables
    "relative_l2_wind": "relative error of (u, v)",
    "relative_l2_Uped": "relative error of mean speed",
    "relative_l2_TKEped": "relative error of TKE",
    "r2_Uped": "R² of mean speed",
    "mae_Uped": "mean absolute error of mean speed (m/s)",
    "relative_l2_wind_near": "relative error of (u, v) within 8 m of a building",
    "direction_error": "error of direction (°)",
    "fac2_Uped_w0.05": "FAC2 of mean speed (W = 0.05 m/s)",
    "hit_rate_uped_w0.05": "hit rate of u (W = 0.05 m/s)",
    "correlation_dwdz": "correlation of ∂w/∂z",
    "broken_TKEped": "share of cells with TKE < 0",
    "broken_Tuwped": "share of cells with |flux| > 2.25 TKE",
    "broken_Uped": "share of cells with mean speed < |(u, v)|",
    "broken_energy": "share of cells with mean speed² > |(u, v)|² + 2 TKE",
    "continuity": "mean residual of continuity (1/s)",
    **{f"score_{name}": f"score: {name}" for name in (*ScaledPhysicsMetrics.SCORES, "mean")},
}


def evaluate(
    prediction: Tensor, target: Tensor, extent: Sequence[float], has_dwdz: bool
) -> dict[str, float]:
    """Return all metrics of one case.

    Parameters
    ----------
    prediction : Tensor of shape (C, H, W)
        C >= 12, in the units of ``pinca_lib.channels``.
    target : Tensor of shape (12, H, W)
        The simulation, in the same units.
    extent : (height, width) in metres
    has_dwdz : bool
        Whether channel 11 of the target was simulated. If not, it is not evaluated.

    Returns
    -------
    dict of str to float
        Metrics ``<metric>_<field>``, also of the cells near buildings (``…_near``), and the
        results of ``violations`` and ``scores``. ``mae`` has the unit of its field, the direction
        error is in degrees, and the others are dimensionless. NaN where a metric is not defined.
    """
    air = target[GEO_MASK].numpy() > 0
    fields = range(len(NAMES))[PREDICTED if has_dwdz else FIELDS]
    p, y = (x[PREDICTED].double().numpy()[:, air] for x in (prediction, target))
    own = {NAMES[k]: (p[k - PREDICTED.start], y[k - PREDICTED.start]) for k in fields}
    near = distance_to_buildings(air, extent)[air] <= NEAR
    found = {}
    for name, (a, b) in own.items():
        found[f"relative_l2_{name}"] = relative_l2(a, b)
        found[f"relative_l2_{name}_near"] = relative_l2(a[near], b[near])
        found[f"r2_{name}"] = r2(a, b)
        found[f"mae_{name}"] = float(np.abs(a - b).mean())
        found[f"nmae_{name}"] = _ratio(np.abs(a - b).sum(), np.abs(b).sum())
    for metric in ("relative_l2", "r2", "nmae"):
        found[f"{metric}_all"] = float(np.mean([found[f"{metric}_{name}"] for name in own]))
    wind = slice(U - PREDICTED.start, V - PREDICTED.start + 1)
    speed, true_speed = own[NAMES[SPEED]]
    found["relative_l2_wind"] = relative_l2(p[wind], y[wind])
    found["relative_l2_wind_near"] = relative_l2(p[wind][:, near], y[wind][:, near])
    found["direction_error"] = direction_error(p[wind], y[wind])
    for name, (a, b) in (("uped", own["uped"]), ("vped", own["vped"]), ("Uped", own["Uped"])):
        for limit in HIT_RATE_W:
            found[f"hit_rate_{name}_w{limit:g}"] = hit_rate(a, b, limit)
    for limit in HIT_RATE_W:
        found[f"fac2_Uped_w{limit:g}"] = fac2(speed, true_speed, limit)
    if has_dwdz:
        found["correlation_dwdz"] = correlation(*own[NAMES[DWDZ]])
    found |= violations(prediction, target, extent) | scores(prediction, target, extent, has_dwdz)
    return found if np.isfinite(p).all() else dict.fromkeys(found, np.nan)


def scores(
    prediction: Tensor, target: Tensor, extent: Sequence[float], has_dwdz: bool
) -> dict[str, float]:
    """Return the six scores of ``scaled_metrics``, their mean, and the SSIM of each field.

    The target of this case sets the scale. All scores are from 0 to 1 (1 is best). They count all
    cells, with the prediction set to zero in buildings.

    Parameters
    ----------
    prediction, target, extent, has_dwdz
        As in ``evaluate``. If ``has_dwdz`` is False, ``score_continuity`` and ``score_mean`` are
        left out.

    Returns
    -------
    dict of str to float
        ``score_<name>`` and ``ssim_<field>``.
    """
    guess = torch.where(target[GEO_MASK] > 0, prediction, 0)[None]
    height, width = map(float, extent)
    extents = [(height, width)]
    found = ScaledPhysicsMetrics(target[None], extents)(guess, target[None], extents)
    names = [name for name in found if has_dwdz or name not in ("continuity", "mean")]
    similar = {
        f"ssim_{name}": float(structural_similarity(guess[:, [k]].nan_to_num(), target[None, [k]]))
        for k, name in zip(range(len(NAMES))[FIELDS], NAMES[FIELDS], strict=True)
    }
    return {f"score_{name}": float(found[name]) for name in names} | similar


def violations(prediction: Tensor, target: Tensor, extent: Sequence[float]) -> dict[str, float]:
    """Return the share of cells that break each bound, and the mean residual of continuity.

    Four bounds are checked: the three of ``physics``, and a fourth, which no rule is built to keep:
    <sqrt(u^2 + v^2)>^2 <= <u^2 + v^2> <= <u>^2 + <v>^2 + 2 TKE. The derivatives of the residual are
    those of ``physics``: one-sided at the edges of the domain. Next to a wall they include the cell
    inside the wall, where u and v are zero.

    Parameters
    ----------
    prediction, target, extent
        As in ``evaluate``; only the air mask of the target is used.

    Returns
    -------
    dict of str to float
        ``broken_<bound>``, shares of the cells in air, and ``continuity``, the mean of
        |du/dx + dv/dy + dw/dz| over these cells, 1/s.
    """
    air = target[GEO_MASK].numpy() > 0
    u, v, speed, tke, flux, _ = prediction[PREDICTED].double().numpy()[:, air]
    broken = {
        "TKEped": -tke,
        "Tuwped": np.abs(flux) - ALPHA * np.maximum(tke, 0),
        "Uped": np.hypot(u, v) - speed,
        "energy": speed - np.sqrt(u**2 + v**2 + 2 * np.maximum(tke, 0)),
    }
    shares = {f"broken_{name}": float((x > ROUNDING).mean()) for name, x in broken.items()}
    height, width = map(float, extent)
    residual = continuity_residual(prediction[None], [(height, width)])[0].numpy()
    return shares | {"continuity": float(np.abs(residual[air]).mean())}


def relative_l2(p: np.ndarray, y: np.ndarray) -> float:
    """Return the relative L2 error ||p - y|| / ||y||; NaN if y is zero."""
    return _ratio(np.linalg.norm(p - y), np.linalg.norm(y))


def r2(p: np.ndarray, y: np.ndarray) -> float:
    """Return the coefficient of determination, 1 - sum (p - y)^2 / sum (y - mean y)^2.

    NaN if y is constant.
    """
    return 1 - _ratio(((p - y) ** 2).sum(), ((y - y.mean()) ** 2).sum() if np.ptp(y) else 0)


def correlation(p: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation of p and y; NaN if one of them is constant."""
    if np.ptp(p) == 0 or np.ptp(y) == 0:
        return np.nan
    p, y = p - p.mean(), y - y.mean()
    return _ratio((p * y).sum(), np.linalg.norm(p) * np.linalg.norm(y))


def hit_rate(p: np.ndarray, y: np.ndarray, w: float, d: float = HIT_RATE_D) -> float:
    """Return the share of values with an error |p - y| of at most d |y|, or at most w.

    Source: VDI 3783-9.
    """
    error = np.abs(p - y)
    return float(((error <= d * np.abs(y)) | (error <= w)).mean())


def fac2(p: np.ndarray, y: np.ndarray, w: float) -> float:
    """Return the share of values with 1/2 <= p / y <= 2, or with |p| and |y| both at most w.

    Meant for quantities that are never negative, such as speeds.
    """
    within = (p >= 0.5 * y) & (p <= 2 * y)
    return float((within | ((np.abs(p) <= w) & (np.abs(y) <= w))).mean())


def direction_error(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean angle between predicted and simulated wind, 0 to 180 degrees.

    Only cells whose simulated wind exceeds ``CALM`` count. A predicted wind of exactly zero has no
    direction; it counts as an error of 90 degrees, the mean error of a random direction.

    Parameters
    ----------
    p, y : ndarray of shape (2, N)
        Predicted and simulated (u, v), m/s.

    Returns
    -------
    float
        NaN if no simulated wind exceeds ``CALM``.
    """
    blowing = np.hypot(*y) > CALM
    if not blowing.any():
        return np.nan
    product = (p[0] + 1j * p[1]) * (y[0] - 1j * y[1])
    angle = np.where(product == 0, 90, np.degrees(np.abs(np.angle(product))))
    return float(angle[blowing].mean())


def distance_to_buildings(air: np.ndarray, extent: Sequence[float]) -> np.ndarray:
    """Return the distance of each cell to the nearest building, across the periodic edges.

    Parameters
    ----------
    air : ndarray of shape (H, W), bool
        True in air.
    extent : (height, width) in metres

    Returns
    -------
    ndarray of shape (H, W)
        Distance between the centres of cells, m; 0 in buildings, infinite if there are no
        buildings.
    """
    if air.all():
        return np.full(air.shape, np.inf)
    sampling = [float(length) / cells for length, cells in zip(extent, air.shape, strict=True)]
    around = np.tile(air, (3, 3))
    distance = ndimage.distance_transform_edt(around, sampling)
    height, width = air.shape
    return distance[height : 2 * height, width : 2 * width]


def layout_distance(layout: np.ndarray, known: Sequence[np.ndarray]) -> float:
    """Return how different a layout is from the nearest known layout.

    The distance of two windows is 1 minus their best correlation over all periodic shifts, mirror
    images and rotations by 90 degrees; the augmentation of the training shows the same variants.
    All layouts are cut into square windows whose side is the shortest side among them, so that
    layouts of different size can be compared. For each window of ``layout`` the distance to the
    nearest known window counts; the mean over the windows is returned.

    Parameters
    ----------
    layout : ndarray of shape (H, W)
        1 in air and 0 in buildings.
    known : sequence of ndarrays of shape (H', W')
        Likewise, with cells of the same size.

    Returns
    -------
    float
        0 if the layout is known, about 1 if it has nothing in common with the known ones.
    """
    side = min(length for plane in (layout, *known) for length in plane.shape)

    def windows(plane: np.ndarray) -> Iterator[np.ndarray]:
        for y in range(0, plane.shape[0] - side + 1, side):
            for x in range(0, plane.shape[1] - side + 1, side):
                window = plane[y : y + side, x : x + side].astype(float)
                window -= window.mean()
                yield window / max(np.linalg.norm(window), 1e-12)

    variants = [np.rot90(mirrored, turns) for plane in known for window in windows(plane)
                for mirrored in (window, window.T) for turns in range(4)]  # fmt: skip
    others = [np.fft.rfft2(window).conj() for window in variants]
    nearest = [max(np.fft.irfft2(own * other, (side, side)).max() for other in others)
               for own in map(np.fft.rfft2, windows(layout))]  # fmt: skip
    return float(1 - np.mean(nearest))


class MeanFlow:
    """Baseline that ignores the buildings: the mean of the training data, turned to the wind.

    Parameters
    ----------
    cases : sequence of Tensor of shape (12, H, W)
        Training cases, of any sizes, in the units of ``pinca_lib.channels``.
    """

    def __init__(self, cases: Sequence[Tensor]):
        air = torch.cat([case[:, case[GEO_MASK] > 0] for case in cases], dim=1)  # (12, N)
        self.along = (air[U] * air[WIND_X] + air[V] * air[WIND_Y]).mean()
        self.speed, self.tke = air[SPEED].mean(), air[TKE].mean()
        # <u'w'> is the x component of a vector, like u, so it is proportional to the wind's x
        # component; the factor is a least-squares fit.
        self.flux = (air[FLUX] * air[WIND_X]).sum() / (air[WIND_X] ** 2).sum().clamp(min=1e-12)

    def __call__(self, target: Tensor) -> Tensor:
        """Predict a case from its base channels.

        Mean speed and TKE are those of the training data. (u, v) is the mean component along the
        wind, with none across it. The flux is proportional to the wind's x component. dw/dz is
        zero.

        Parameters
        ----------
        target : Tensor of shape (12, H, W)
            Only channels 0-5 are used.

        Returns
        -------
        Tensor of shape (12, H, W)
        """
        guess = target.clone()
        guess[U], guess[V] = self.along * target[WIND_X], self.along * target[WIND_Y]
        guess[SPEED], guess[TKE] = self.speed, self.tke
        guess[FLUX], guess[DWDZ] = self.flux * target[WIND_X], 0
        guess[PREDICTED] *= target[GEO_MASK]
        return guess


def _ratio(part: float | np.floating, whole: float | np.floating) -> float:
    """Return part / whole, or NaN if whole is zero."""
    return float(part / whole) if whole else np.nan


def with_median(rows: Sequence[dict]) -> list[dict]:
    """Return the rows of a table and one more row, ``case`` "median", with the column medians."""
    keys = dict.fromkeys(key for row in rows for key in row if key != "case")
    return [*rows, {"case": "median"} | {key: median(rows, key) for key in keys}]


def median(rows: Sequence[dict], key: str) -> float:
    """Return the median of a column over the rows with a finite value; NaN if there are none."""
    values = [row[key] for row in rows if np.isfinite(row.get(key, np.nan))]
    return float(np.median(values)) if values else np.nan
