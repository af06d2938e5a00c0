"""Fields as xarray data sets and NetCDF files after the CF conventions (climate and forecast)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from torch import Tensor

from pinca_lib import __version__
from pinca_lib.automaton import wind_direction
from pinca_lib.channels import (
    CHANNELS,
    GEO_MASK,
    KNOWN_COUNT,
    PREDICTED,
    PREDICTED_CHANNELS,
    TOPO,
)
from pinca_lib.writing import written_whole

SOURCE = f"neural cellular automaton, pinca_lib {__version__}"
OTHER_NAMES = {"Uped": "wind_speed"}  # in files: CF names must differ in more than case
STANDARD_NAMES = {"uped": "x_wind", "vped": "y_wind", "Uped": "wind_speed"}
LONG_NAMES = {
    "uped": "mean wind along x",
    "vped": "mean wind along y",
    "Uped": "mean horizontal wind speed",
    "TKEped": "turbulent kinetic energy per mass",
    "Tuwped": "mean product of the fluctuations of the wind along x and upwards",
    "dwdz": "vertical gradient of the mean vertical wind",
}
UNITS = {"m/s": "m s-1", "m²/s²": "m2 s-2", "1/s": "s-1"}


def to_xarray(
    fields: np.ndarray,
    heights: np.ndarray,
    centres: tuple[np.ndarray, np.ndarray],
    attributes: Mapping[str, object],
    wind_from: Sequence[float] | None = None,
) -> xarray.Dataset:
    """Return fields and building heights with coordinates in metres, after CF 1.11.

    Parameters
    ----------
    fields : ndarray of shape (6, H, W), or (N, 6, H, W)
        Channels 6-11 in the units of ``pinca_lib.channels``, NaN in buildings; one set, or one for
        each wind.
    heights : ndarray of shape (H, W)
        Of buildings, m.
    centres : (ndarray of shape (H,), ndarray of shape (W,))
        y and x of the centres of the cells, m.
    attributes : mapping of str to object
        Further global attributes.
    wind_from : sequence of N floats, optional
        Where each wind comes from, degrees clockwise from north.
    """
    winds = () if wind_from is None else ("wind_from",)
    variables: dict[str, Any] = {}
    for channel in PREDICTED_CHANNELS:
        name = CHANNELS[channel].name
        about = {"long_name": LONG_NAMES[name], "units": UNITS[CHANNELS[channel].unit]}
        if name in STANDARD_NAMES:
            about["standard_name"] = STANDARD_NAMES[name]
        plane = fields[..., channel - PREDICTED.start, :, :]
        variables[OTHER_NAMES.get(name, name)] = ((*winds, "y", "x"), plane, about)
    about = {"long_name": "height of the building above ground", "units": "m"}
    variables["topo"] = (("y", "x"), heights, about)
    coordinates: dict[str, Any] = {
        axis: (axis, values, {"units": "m", "long_name": f"{axis} coordinate"})
        for axis, values in zip("yx", centres, strict=True)
    }
    if wind_from is not None:
        about = {"standard_name": "wind_from_direction", "units": "degree",
                 "long_name": "direction that the wind comes from"}  # fmt: skip
        coordinates["wind_from"] = ("wind_from", np.asarray(wind_from, float), about)
    general = {
        "Conventions": "CF-1.11",
        "title": "Mean wind at pedestrian level between buildings",
        "source": SOURCE,
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} computed",
    }
    return xarray.Dataset(variables, coordinates, general | dict(attributes))


def write_dataset(path: Path | str, dataset: xarray.Dataset) -> None:
    """Write a data set as NetCDF, in a file that appears only when it is complete."""
    # CF forbids fill values in coordinates, which xarray writes by default.
    no_gaps = {str(name): {"_FillValue": None} for name in dataset.coords}
    with written_whole(path) as partial:
        dataset.to_netcdf(partial, engine="netcdf4", encoding=no_gaps)


def write_netcdf(
    path: Path,
    state: Tensor,
    extent: Sequence[float] | Tensor,
    attributes: Mapping[str, object] | None = None,
) -> None:
    """Write a state's fields, air mask and building heights to a NetCDF file.

    Parameters
    ----------
    path : Path
        File to write; it appears only when it is complete.
    state : Tensor of shape (C, H, W)
        C >= 12; channels 2, 3 and 6-11 are used.
    extent : (height, width) in metres
        Of the domain; its south-west corner is at (0, 0).
    attributes : mapping of str to str, optional
        Further global attributes.
    """
    planes = state[:KNOWN_COUNT].detach().cpu().numpy().astype(np.float32)
    air = planes[GEO_MASK] > 0
    height, width = (
        (np.arange(cells) + 0.5) * length / cells
        for cells, length in zip(air.shape, map(float, extent), strict=True)
    )
    about = {
        "wind_towards_degrees": wind_direction(state),
        "comment": "x along columns, y along rows; wind_towards_degrees is the direction towards "
        "which the driving wind blows, counter-clockwise from x",
    }
    fields = np.where(air, planes[PREDICTED], np.nan)
    dataset = to_xarray(fields, planes[TOPO], (height, width), about | dict(attributes or {}))
    flags = {"long_name": "air or building at pedestrian level", "flag_meanings": "building air",
             "flag_values": np.array([0, 1], np.int8)}  # fmt: skip
    dataset["geo_mask"] = (("y", "x"), air.astype(np.int8), flags)
    write_dataset(path, dataset)
