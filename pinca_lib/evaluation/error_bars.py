"""Error bars: how far the predicted mean speed may be off, cell by cell.

Rules that were trained alike but for their random numbers differ most where the data left them
free. Their spread alone is too small an error, since all of them lack the same things, so it is
calibrated. The half-width of an error bar is a power law of the members' spread s, mean speed U and
turbulent kinetic energy k,

    b = exp(w0) s^w1 U^w2 k^(w3 / 2),

which ``benchmarks/calibrate.py`` fits to the errors of cases that no member was trained on.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pinca_lib.channels import PREDICTED, SPEED, TKE
from pinca_lib.cities.prediction import WindMaps
from pinca_lib.errors import InputError
from pinca_lib.writing import written_whole

SHARE = 0.9  # of the cells in air whose error is to be within its bar
LEAST = 1e-3  # m/s, added to spread, speed and turbulence, so that each has a logarithm


@dataclass(frozen=True)
class ErrorBars:
    """Calibrated error bars for the mean of several members.

    Attributes
    ----------
    weights : tuple of 4 floats
        w0 to w3.
    members : tuple of str
        Fingerprints of the rules that they were calibrated for, member by member.
    """

    weights: tuple[float, ...]
    members: tuple[str, ...] = ()

    def __call__(self, fields: np.ndarray) -> np.ndarray:
        """Return the half-widths of the bars around the members' mean speed, m/s.

        Parameters
        ----------
        fields : ndarray of shape (M, ..., 6, H, W)
            Channels 6-11 as each of at least two members predicts them, under the rules' own
            friction velocity.

        Returns
        -------
        ndarray of shape (..., H, W)
        """
        return np.exp(features(fields) @ np.array(self.weights))

    def write(self, path: Path | str) -> None:
        """Write the bars as JSON."""
        with written_whole(path) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path | str) -> "ErrorBars":
        """Read bars that ``write`` wrote.

        Raises
        ------
        InputError
            If the file is missing or is not one of these.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            bars = cls(tuple(map(float, found["weights"])), tuple(map(str, found["members"])))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: no error bars can be read ({error})") from error
        if len(bars.weights) != 4 or not all(map(math.isfinite, bars.weights)):
            raise InputError(f"{path}: weights are {bars.weights}, expected four finite numbers")
        return bars


def features(fields: np.ndarray) -> np.ndarray:
    """Return 1 and the logarithms of spread, mean speed and turbulence, for ``ErrorBars``.

    Parameters
    ----------
    fields : ndarray of shape (M, ..., 6, H, W)

    Returns
    -------
    ndarray of shape (..., H, W, 4)
    """
    speeds, tke = (fields[..., channel - PREDICTED.start, :, :] for channel in (SPEED, TKE))
    sizes = speeds.std(axis=0, ddof=1), speeds.mean(axis=0), np.sqrt(tke.mean(axis=0).clip(0))
    return np.stack([np.ones_like(sizes[0]), *(np.log(size + LEAST) for size in sizes)], axis=-1)


def coverage(errors: np.ndarray, half_widths: np.ndarray) -> dict[str, float]:
    """Return which share of errors is within the bars, and the means of both, m/s.

    Parameters
    ----------
    errors, half_widths : ndarray of shape (N,)

    Returns
    -------
    dict of str to float
        ``covered``, ``mean_half_width`` and ``mean_error``, that of the absolute errors.
    """
    sizes = np.abs(errors)
    return {
        "covered": float((sizes <= half_widths).mean()),
        "mean_half_width": float(half_widths.mean()),
        "mean_error": float(sizes.mean()),
    }


def mean_of(members: Sequence[WindMaps], bars: ErrorBars | None = None) -> WindMaps:
    """Return the mean of what several members predict for a place, with error bars.

    Parameters
    ----------
    members : sequence of WindMaps
        Of the same place under the same winds, as ``predict_wind`` returns them; not a town's.
    bars : ErrorBars, optional
        Without them the maps have no ``error``.

    Returns
    -------
    WindMaps
        It keeps the bounds of the members: each of them says that a convex function of the fields
        is not positive, so the function of the mean is not positive either.
    """
    if len(members) == 1:
        return members[0]
    fields = np.stack([maps.fields for maps in members])
    error = None if bars is None else bars(fields).astype(np.float32)
    return replace(members[0], fields=fields.mean(axis=0), error=error)
