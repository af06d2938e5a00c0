"""A wind climate: how often the wind comes from where, and how strong it is then.

The share of the time in which the local speed gamma_s U exceeds a threshold U_c, over sectors s,

    P(U > U_c) = sum_s f_s exp(-(U_c / (gamma_s A_s))^k_s)

with f_s the share of the time in which the wind comes from a sector, gamma_s the ratio of local
mean speed to reference speed under that wind, and A_s, k_s the Weibull parameters of the reference
speed; or counted over hours in place of the exponential. NEN 8100:2006 and Willemsen and Wisse
(2007), Journal of Wind Engineering and Industrial Aerodynamics 95:1541-1550, count so. Calm hours
exceed nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import gamma

from pinca_lib.errors import InputError

CELLS_AT_ONCE = 2**16  # of one piece of the work: some megabytes
LEAST_SHAPE, MOST_SHAPE = 0.5, 10.0  # of a Weibull distribution
LEAST_SECTORS, MOST_SECTORS = 8, 72


class Weibull(NamedTuple):
    """The reference speed in each sector, Weibull-distributed."""

    scale: np.ndarray  # A, (S,), m/s
    shape: np.ndarray  # k, (S,)


class SectorHours(NamedTuple):
    """The reference speeds that were counted in one sector, each once."""

    speeds: np.ndarray  # (N,), m/s, ascending
    exceeded: np.ndarray  # (N + 1,): share of the sector's time above speed n - 1; first 1, last 0


@dataclass(frozen=True, eq=False)
class Climate:
    """A wind climate over equal sectors.

    Attributes
    ----------
    name : str
        Of the station or the file.
    sectors : ndarray of shape (S,)
        Where the wind comes from in the middle of each sector, degrees clockwise from north.
    frequency : ndarray of shape (S,)
        Share of the time, 0...1; with ``calm`` they add up to 1.
    calm : float
        Share of the time without wind, 0...1.
    weibull : Weibull or None
    hours : tuple of SectorHours or None
        One of the two is there.
    height : float
        At which the reference speed blows, m.
    roughness : float
        Roughness length of the ground over which it blows, m.
    position : (float, float) or None
        Latitude and longitude, degrees.
    remarks : tuple of str
        What its user should know, a sentence each.
    """

    name: str
    sectors: np.ndarray
    frequency: np.ndarray
    calm: float
    weibull: Weibull | None = None
    hours: tuple[SectorHours, ...] | None = None
    height: float = 10.0
    roughness: float = 0.03
    position: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()

    def exceedance(self, ratios: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
        """Return the share of the time in which the local speed exceeds each threshold.

        Parameters
        ----------
        ratios : ndarray of shape (S, H, W)
            Local speed by reference speed under the wind of each sector, in the order of
            ``sectors``; 0 or above, NaN where there is no air.
        thresholds : sequence of T floats
            m/s, above 0.

        Returns
        -------
        ndarray of shape (T, H, W), float32
            0...1; NaN where a ratio is NaN.

        Raises
        ------
        InputError
            If there is not one plane of ratios for each sector, or a threshold is not above 0.
        """
        ratios, limits = np.asarray(ratios), np.asarray(thresholds, float)
        if ratios.ndim != 3 or len(ratios) != len(self.sectors):
            raise InputError(
                f"{self.name}: ratios of shape {ratios.shape} for {len(self.sectors)} sectors; "
                "expected one plane (H, W) of local speed by reference speed for each sector"
            )
        if limits.ndim != 1 or not (limits > 0).all():
            raise InputError(f"thresholds={thresholds}: expected speeds above 0 m/s")
        planes = ratios.reshape(len(ratios), -1)
        found = np.zeros((len(limits), planes.shape[1]), np.float32)
        for first in range(0, planes.shape[1], CELLS_AT_ONCE):
            piece = slice(first, first + CELLS_AT_ONCE)
            for sector, share in enumerate(self.frequency):
                ratio = planes[sector, piece].astype(float)
                if share:
                    found[:, piece] += share * self._exceeded(sector, ratio, limits)
                found[:, piece][:, np.isnan(ratio)] = np.nan
        return found.reshape(len(limits), *ratios.shape[1:])

    def _exceeded(self, sector: int, ratio: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Return the share of a sector's time above each limit: ratios (n,), (T,) to (T, n)."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self.weibull is not None:
                scale, shape = (float(parameter[sector]) for parameter in self.weibull)
                rate = (np.maximum(ratio, 0) * scale) ** -shape
                return np.exp(-rate * limits[:, None] ** shape)
            assert self.hours is not None
            speeds, exceeded = self.hours[sector]
            needed = limits[:, None] / np.maximum(ratio, 0)
        return exceeded[np.searchsorted(speeds, needed, side="right")]

    @property
    def mean_speed(self) -> float:
        """Mean reference speed over the whole time, m/s."""
        if self.weibull is not None:
            means = self.weibull.scale * gamma(1 + 1 / self.weibull.shape)
            return float(self.frequency @ means)
        assert self.hours is not None
        counted = [float(-np.diff(hours.exceeded) @ hours.speeds) for hours in self.hours]
        return float(self.frequency @ counted)

    def fitted(self) -> "Climate":
        """Return the same climate with Weibull parameters in place of hours.

        They keep the mean cube of the speeds, and the share of the hours above the mean, as in the
        European Wind Atlas; a sector without wind has A = k = 1.
        """
        if self.hours is None:
            return self
        pairs = np.array([_fit(hours) for hours in self.hours])
        return replace(self, hours=None, weibull=Weibull(pairs[:, 0], pairs[:, 1]))


def count_hours(
    directions: np.ndarray, speeds: np.ndarray, sectors: int
) -> tuple[np.ndarray, np.ndarray, float, tuple[SectorHours, ...]]:
    """Sort hours into sectors.

    Parameters
    ----------
    directions : ndarray of shape (N,)
        Where the wind comes from, degrees clockwise from north, 0 to 360.
    speeds : ndarray of shape (N,)
        m/s; hours of 0 are calm.
    sectors : int
        S, the first of them centred on north.

    Returns
    -------
    centres : ndarray of shape (S,)
    frequency : ndarray of shape (S,)
    calm : float
    hours : tuple of S SectorHours

    Notes
    -----
    Weather files give directions in tens of degrees. Counted as they stand, sectors of 22.5° hold
    two or three of them in turn, and the rose has teeth. Where all directions are such tens, each
    hour is spread over the 10° that it stands for.
    """
    width = 360 / sectors
    centres = np.arange(sectors) * width
    blows = speeds > 0
    tens = len(directions) >= 36 and bool((directions[blows] % 10 == 0).all())
    half = 5.0 if tens else 1e-6
    kinds, kind = np.unique(directions[blows] % 360, return_inverse=True)
    offset = (kinds[:, None] - centres + 180) % 360 - 180
    low, high = np.maximum(offset - half, -width / 2), np.minimum(offset + half, width / 2)
    belongs = np.maximum(high - low, 0)  # (kinds, S)
    belongs /= belongs.sum(axis=1, keepdims=True)
    counted, hours = np.zeros(sectors), []
    for sector in range(sectors):
        weight = belongs[:, sector][kind]
        values, which = np.unique(speeds[blows][weight > 0], return_inverse=True)
        weights = np.bincount(which, weight[weight > 0], len(values))
        counted[sector] = weights.sum()
        above = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        hours.append(SectorHours(values, above / max(above[0], 1e-12)))
    return centres, counted / len(speeds), float(1 - blows.mean()), tuple(hours)


def _fit(hours: SectorHours) -> tuple[float, float]:
    """Return A and k with the mean cube of the speeds, and the share of them above their mean.

    So fits the European Wind Atlas (Troen and Petersen, 1989), for strong winds to come out right.
    Few hours may have no such pair; then k follows from their standard deviation
    (Justus and others, 1978, Journal of Applied Meteorology 17:350-353).
    """
    weights, speeds = -np.diff(hours.exceeded), hours.speeds
    if not len(speeds):
        return 1.0, 1.0
    mean, cube = float(weights @ speeds), float(weights @ speeds**3)
    above = float(weights[speeds > mean].sum())

    def scale(k: float) -> float:
        return (cube / float(gamma(1 + 3 / k))) ** (1 / 3)

    def error(k: float) -> float:
        return math.exp(-((mean / scale(k)) ** k)) - above

    low, high = LEAST_SHAPE, MOST_SHAPE
    if error(low) * error(high) < 0:
        k = float(brentq(error, low, high))
    else:
        spread = max(float(weights @ speeds**2) - mean**2, 1e-12) ** 0.5 / mean
        k = min(max(spread**-1.086, low), high)
    return scale(k), k
