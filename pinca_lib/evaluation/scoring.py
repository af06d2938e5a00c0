"""How right a predicted field is: errors over the air of one case, as the wind community counts.

With prediction p, simulation y and error e = p - y over the cells in air:

    relative L2   ||e|| / ||y||            of vectors: over both components
    R2            1 - sum e^2 / sum (y - mean y)^2
    MAE, NMAE     mean |e|,  sum |e| / sum |y|
    FAC2          share of cells with 1/2 <= p / y <= 2, or |p| and |y| both <= W
    hit rate q    share of cells with |e| <= D |y| or |e| <= W, D = 0.25 (VDI 3783-9)

Over all fields, relative L2, R2 and NMAE are means over the fields. FAC2 and the hit rate depend on
W, the error that is taken as none; it is given beside them.
A prediction that is not finite has no figures at all: they are NaN.
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
from pinca_lib.evaluation.metrics import ScaledPhysicsMetrics, structural_similarity
from pinca_lib.physics import ALPHA, continuity_residual

HIT_RATE_D = 0.25
HIT_RATE_W = (0.01, 0.02, 0.05, 0.1)  # m/s
CALM = 0.1  # m/s; below it a direction means nothing
NEAR = 8.0  # m from a building
ROUNDING = 1e-6  # m/s, m²/s²; a bound broken by less is not broken


def evaluate(
    prediction: Tensor, target: Tensor, extent: Sequence[float], has_dwdz: bool
) -> dict[str, float]:
    """Return all figures of one case.

    Parameters
    ----------
    prediction : Tensor of shape (C, H, W)
        C >= 12.
    target : Tensor of shape (12, H, W)
    extent : (height, width) in metres
    has_dwdz : bool
        Whether channel 11 of the target was simulated; else it is left out.

    Returns
    -------
    dict of str to float
        Named ``<figure>_<field>``, in the units of the fields (``pinca_lib.channels``); NaN where
        a figure is not defined.
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
    for figure in ("relative_l2", "r2", "nmae"):
        found[f"{figure}_all"] = float(np.mean([found[f"{figure}_{name}"] for name in own]))
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
    """Return the six scores, scaled by what this case's target reaches, their mean, SSIM by field.

    All lie in 0…1, 1 best, and are over all cells, with nothing in buildings (``metrics``).
    Arguments are those of ``evaluate``; continuity has no score where ``has_dwdz`` is False, and
    then there is no mean.
    """
    guess = torch.where(target[GEO_MASK] > 0, prediction, 0)[None]
    extents = [tuple(map(float, extent))]
    found = ScaledPhysicsMetrics(target[None], extents)(guess, target[None], extents)
    names = [name for name in found if has_dwdz or name not in ("continuity", "mean")]
    similar = {
        f"ssim_{name}": float(structural_similarity(guess[:, [k]].nan_to_num(), target[None, [k]]))
        for k, name in zip(range(len(NAMES))[FIELDS], NAMES[FIELDS], strict=True)
    }
    return {f"score_{name}": float(found[name]) for name in names} | similar


def violations(prediction: Tensor, target: Tensor, extent: Sequence[float]) -> dict[str, float]:
    """Return the shares of the air that break each bound, and the mean residual of continuity.

    To the three bounds of ``physics`` comes a fourth, which the experiment did not have and no
    model here is made to keep: <sqrt(u^2 + v^2)>^2 <= <u^2 + v^2> <= <u>^2 + <v>^2 + 2 TKE.
    The residual, |du/dx + dv/dy + dw/dz| in 1/s, is taken over the air, with the derivatives of
    ``physics``: one-sided at the domain's edges, and across walls, inside which u and v are zero.
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
    residual = continuity_residual(prediction[None], [tuple(map(float, extent))])[0].numpy()
    return shares | {"continuity": float(np.abs(residual[air]).mean())}


def relative_l2(p: np.ndarray, y: np.ndarray) -> float:
    """Return ||p - y|| / ||y||."""
    return _ratio(np.linalg.norm(p - y), np.linalg.norm(y))


def r2(p: np.ndarray, y: np.ndarray) -> float:
    """Return 1 - sum (p - y)^2 / sum (y - mean y)^2, the coefficient of determination."""
    return 1 - _ratio(((p - y) ** 2).sum(), ((y - y.mean()) ** 2).sum() if np.ptp(y) else 0)


def correlation(p: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation; NaN where one of the two is constant."""
    if np.ptp(p) == 0 or np.ptp(y) == 0:
        return np.nan
    p, y = p - p.mean(), y - y.mean()
    return _ratio((p * y).sum(), np.linalg.norm(p) * np.linalg.norm(y))


def hit_rate(p: np.ndarray, y: np.ndarray, w: float, d: float = HIT_RATE_D) -> float:
    """Return the share of values that are right within d of their size, or within w."""
    error = np.abs(p - y)
    return float(((error <= d * np.abs(y)) | (error <= w)).mean())


def fac2(p: np.ndarray, y: np.ndarray, w: float) -> float:
    """Return the share of values within a factor of two, or that are both as small as w.

    For what is never negative, as speeds are.
    """
    within = (p >= 0.5 * y) & (p <= 2 * y)
    return float((within | ((np.abs(p) <= w) & (np.abs(y) <= w))).mean())


def direction_error(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean angle between winds (2, N), degrees, where the true one exceeds CALM.

    Where the prediction is still it has no direction, and counts as 90 degrees: what any guess
    is off on average.
    """
    blowing = np.hypot(*y) > CALM
    if not blowing.any():
        return np.nan
    product = (p[0] + 1j * p[1]) * (y[0] - 1j * y[1])
    turn = np.where(product == 0, 90, np.degrees(np.abs(np.angle(product))))
    return float(turn[blowing].mean())


def distance_to_buildings(air: np.ndarray, extent: Sequence[float]) -> np.ndarray:
    """Return each cell's distance to the next cell in a building, m, on the periodic plane.

    Parameters
    ----------
    air : ndarray of shape (H, W), bool
    extent : (height, width) in metres

    Returns
    -------
    ndarray of shape (H, W)
        Between the centres of cells; infinite where nothing is built.
    """
    if air.all():
        return np.full(air.shape, np.inf)
    sampling = [float(length) / cells for length, cells in zip(extent, air.shape, strict=True)]
    around = np.tile(air, (3, 3))
    distance = ndimage.distance_transform_edt(around, sampling)
    height, width = air.shape
    return distance[height : 2 * height, width : 2 * width]


def layout_distance(layout: np.ndarray, known: Sequence[np.ndarray]) -> float:
    """Return how unlike a layout is to the nearest known one: 0 for the same, about 1 for none.

    Two windows are as unlike as 1 - their best correlation over all periodic shifts, mirrors and
    quarter turns, as training sees them. Layouts are cut into square windows of the smallest side
    among them, each is held against all windows of the known ones, and the layout's mean is
    returned: so a large one can be set beside small ones.

    Parameters
    ----------
    layout : ndarray of shape (H, W)
        1 in air and 0 in buildings.
    known : sequence of ndarrays of shape (H', W')
        In cells of the same size.
    """
    side = min(length for plane in (layout, *known) for length in plane.shape)

    def windows(plane: np.ndarray) -> Iterator[np.ndarray]:
        for y in range(0, plane.shape[0] - side + 1, side):
            for x in range(0, plane.shape[1] - side + 1, side):
                window = plane[y : y + side, x : x + side].astype(float)
                window -= window.mean()
                yield window / max(np.linalg.norm(window), 1e-12)

    moved = [np.rot90(mirrored, turns) for plane in known for window in windows(plane)
             for mirrored in (window, window.T) for turns in range(4)]  # fmt: skip
    others = [np.fft.rfft2(window).conj() for window in moved]
    nearest = [max(np.fft.irfft2(own * other, (side, side)).max() for other in others)
               for own in map(np.fft.rfft2, windows(layout))]  # fmt: skip
    return float(1 - np.mean(nearest))


class MeanFlow:
    """The baseline that knows no building: the training data's mean, turned to the wind.

    Parameters
    ----------
    cases : sequence of Tensor of shape (12, H, W)
        Training cases, of any sizes.
    """

    def __init__(self, cases: Sequence[Tensor]):
        air = torch.cat([case[:, case[GEO_MASK] > 0] for case in cases], dim=1)  # (12, N)
        self.along = (air[U] * air[WIND_X] + air[V] * air[WIND_Y]).mean()
        self.speed, self.tke = air[SPEED].mean(), air[TKE].mean()
        # <u'w'> is a vector's x component as u is, and turns with the wind.
        self.flux = (air[FLUX] * air[WIND_X]).sum() / (air[WIND_X] ** 2).sum().clamp(min=1e-12)

    def __call__(self, target: Tensor) -> Tensor:
        """Predict a case of which only channels 0-5 are used: (12, H, W) in and out.

        Speed, TKE and flux are their means; (u, v) is the mean component along the wind, and none
        across; dwdz is zero.
        """
        guess = target.clone()
        guess[U], guess[V] = self.along * target[WIND_X], self.along * target[WIND_Y]
        guess[SPEED], guess[TKE] = self.speed, self.tke
        guess[FLUX], guess[DWDZ] = self.flux * target[WIND_X], 0
        guess[PREDICTED] *= target[GEO_MASK]
        return guess


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan


def with_median(rows: Sequence[dict]) -> list[dict]:
    """Return a table's rows, each with its ``case``, and one more: the medians of its figures."""
    keys = dict.fromkeys(key for row in rows for key in row if key != "case")
    return [*rows, {"case": "median"} | {key: median(rows, key) for key in keys}]


def median(rows: Sequence[dict], key: str) -> float:
    """Return the median of a figure over the rows that have it; NaN if none has."""
    values = [row[key] for row in rows if np.isfinite(row.get(key, np.nan))]
    return float(np.median(values)) if values else np.nan
