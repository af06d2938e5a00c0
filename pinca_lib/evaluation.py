"""How right a predicted field is: errors over the air of one case, as the wind community counts.

With prediction p, simulation y and error e = p - y over the cells in air:

    relative L2   ||e|| / ||y||            of vectors: over both components
    R2            1 - sum e^2 / sum (y - mean y)^2
    MAE, NMAE     mean |e|,  sum |e| / sum |y|
    FAC2          share of cells with 1/2 <= p / y <= 2, or |p| and |y| both <= W
    hit rate q    share of cells with |e| <= D |y| or |e| <= W, D = 0.25 (VDI 3783-9)

FAC2 and the hit rate depend on W, the error that is taken as none; it is given beside them.
"""

from collections.abc import Sequence

import numpy as np
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
from pinca_lib.metrics import structural_similarity
from pinca_lib.physics import continuity_residual, excess_flux, missing_speed, negative_energy

HIT_RATE_D = 0.25
HIT_RATE_W = (0.01, 0.02, 0.05, 0.1)  # m/s
CALM = 0.1  # m/s; below it a direction means nothing
NEAR = 8.0  # m from a building


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
        found[f"r2_{name}"] = r2(a, b)
        found[f"mae_{name}"] = float(np.abs(a - b).mean())
        found[f"nmae_{name}"] = _ratio(np.abs(a - b).sum(), np.abs(b).sum())
    wind = slice(U - PREDICTED.start, V - PREDICTED.start + 1)
    speed, true_speed = own[NAMES[SPEED]]
    found["relative_l2_wind"] = relative_l2(p[wind], y[wind])
    found["relative_l2_wind_near"] = relative_l2(p[wind][:, near], y[wind][:, near])
    found["relative_l2_Uped_near"] = relative_l2(speed[near], true_speed[near])
    found["direction_error"] = direction_error(p[wind], y[wind])
    for name, (a, b) in (("uped", own["uped"]), ("vped", own["vped"]), ("Uped", own["Uped"])):
        for limit in HIT_RATE_W:
            found[f"hit_rate_{name}_w{limit:g}"] = hit_rate(a, b, limit)
    for limit in HIT_RATE_W:
        found[f"fac2_Uped_w{limit:g}"] = fac2(speed, true_speed, limit)
    truth = target[None, FIELDS]
    found["ssim"] = float(structural_similarity(prediction[None, FIELDS] * target[GEO_MASK], truth))
    if has_dwdz:
        found["correlation_dwdz"] = correlation(*own[NAMES[DWDZ]])
    return found | violations(prediction, target, extent)


def violations(prediction: Tensor, target: Tensor, extent: Sequence[float]) -> dict[str, float]:
    """Return, over the cells in air, the share that breaks each bound and the mean residuals."""
    air, state = target[GEO_MASK] > 0, prediction[None]
    broken = {
        "TKEped": negative_energy(state)[0],
        "Tuwped": excess_flux(state)[0],
        "Uped": missing_speed(state)[0],
    }
    shares = {f"broken_{name}": float((x[air] > 1e-7).float().mean()) for name, x in broken.items()}
    residual = continuity_residual(state, [tuple(map(float, extent))])[0]
    return shares | {"continuity": float(residual[air].abs().mean())}


def relative_l2(p: np.ndarray, y: np.ndarray) -> float:
    """Return ||p - y|| / ||y||."""
    return _ratio(np.linalg.norm(p - y), np.linalg.norm(y))


def r2(p: np.ndarray, y: np.ndarray) -> float:
    """Return 1 - sum (p - y)^2 / sum (y - mean y)^2, the coefficient of determination."""
    return 1 - _ratio(((p - y) ** 2).sum(), ((y - y.mean()) ** 2).sum())


def correlation(p: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation; NaN where one of the two is constant."""
    p, y = p - p.mean(), y - y.mean()
    return _ratio((p * y).sum(), np.linalg.norm(p) * np.linalg.norm(y))


def hit_rate(p: np.ndarray, y: np.ndarray, w: float, d: float = HIT_RATE_D) -> float:
    """Return the share of values that are right within d of their size, or within w."""
    error = np.abs(p - y)
    return float(((error <= d * np.abs(y)) | (error <= w)).mean())


def fac2(p: np.ndarray, y: np.ndarray, w: float) -> float:
    """Return the share of values within a factor of two, or that are both as small as w."""
    within = (p >= 0.5 * y) & (p <= 2 * y)
    return float((within | ((np.abs(p) <= w) & (np.abs(y) <= w))).mean())


def direction_error(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean angle between winds (2, N), degrees, where the true one exceeds CALM."""
    blowing = np.hypot(*y) > CALM
    if not blowing.any():
        return np.nan
    turn = np.angle((p[0] + 1j * p[1]) * (y[0] - 1j * y[1]))
    return float(np.degrees(np.abs(turn[blowing]).mean()))


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


def layout_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return how unlike two layouts are: 1 - the best correlation over all periodic shifts.

    Parameters
    ----------
    one, other : ndarray of shape (H, W)
        Maps of the same cell size, 1 in air and 0 in buildings. The smaller is repeated to the
        size of the larger.

    Returns
    -------
    float
        0 for the same layout, about 1 for unrelated ones.
    """
    height, width = np.maximum(one.shape, other.shape)
    spectra = []
    for layout in (one, other):
        repeats = -(-height // layout.shape[0]), -(-width // layout.shape[1])
        plane = np.tile(layout, repeats)[:height, :width].astype(float)
        plane -= plane.mean()
        spectra.append(np.fft.rfft2(plane / max(np.linalg.norm(plane), 1e-12)))
    correlation = np.fft.irfft2(spectra[0] * spectra[1].conj(), (height, width))
    return float(1 - correlation.max())


def mean_flow(states: Tensor, target: Tensor) -> Tensor:
    """Return the baseline that knows no building: the training data's mean, turned to the wind.

    Parameters
    ----------
    states : Tensor of shape (N, 12, H, W)
        Training cases.
    target : Tensor of shape (12, H', W')
        The case to predict: of it only mask and wind are used.

    Returns
    -------
    Tensor of shape (12, H', W')
        Speed, TKE and flux are their means over the training air; (u, v) is the mean component
        along the wind, and none across; dwdz is zero.
    """
    air = states[:, GEO_MASK] > 0
    along = (states[:, U] * states[:, WIND_X] + states[:, V] * states[:, WIND_Y])[air].mean()
    guess = target.clone()
    guess[U], guess[V] = along * target[WIND_X], along * target[WIND_Y]
    for channel in (SPEED, TKE):
        guess[channel] = states[:, channel][air].mean()
    # <u'w'> is a vector's x component as u is, and turns with the wind.
    wind = states[:, WIND_X]
    flux = (states[:, FLUX] * wind)[air].sum() / (wind**2)[air].sum()
    guess[FLUX], guess[DWDZ] = flux * target[WIND_X], 0
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
