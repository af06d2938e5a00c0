"""Fields as CF-conforming NetCDF, which every tool of the atmospheric sciences reads."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import xarray
from torch import Tensor

from pinca_lib import __version__
from pinca_lib.automaton import wind_direction
from pinca_lib.channels import CHANNELS, GEO_MASK, KNOWN_COUNT, PREDICTED_CHANNELS, TOPO
from pinca_lib.writing import written_whole

STANDARD_NAMES = {"uped": "x_wind", "vped": "y_wind", "Uped": "wind_speed"}
LONG_NAMES = {
    "uped": "mean wind along x",
    "vped": "mean wind along y",
    "Uped": "mean horizontal wind speed",
    "TKEped": "turbulent kinetic energy per mass",
    "Tuwped": "mean product of the fluctuations of the wind along x and upwards",
    "dwdz": "vertical gradient of the mean vertical wind",
    "topo": "height of the building above ground",
    "geo_mask": "air or building at pedestrian level",
}
UNITS = {"m": "m", "m/s": "m s-1", "m²/s²": "m2 s-2", "1/s": "s-1", "": "1"}


def to_xarray(state: Tensor, extent, attributes: Mapping[str, str] | None = None):
    """Return a state's fields and city as a data set with coordinates in metres.

    Parameters
    ----------
    state : Tensor of shape (C, H, W)
        Channels 0-11 are taken; fields are NaN in buildings.
    extent : (height, width) in metres
    attributes : mapping of str to str, optional
        Further global attributes.

    Returns
    -------
    xarray.Dataset
        With dimensions ``y`` and ``x`` (centres of the cells), after the CF conventions 1.11.
    """
    planes = state[:KNOWN_COUNT].detach().cpu().numpy().astype(np.float32)
    coordinates = {}
    for axis, cells, length in zip("yx", planes.shape[1:], map(float, extent), strict=True):
        centres = (np.arange(cells) + 0.5) * length / cells
        about = {"units": "m", "long_name": f"distance along {axis}", "axis": axis.upper()}
        coordinates[axis] = (axis, centres, about)
    variables = {}
    for index in (GEO_MASK, TOPO, *PREDICTED_CHANNELS):
        channel, plane = CHANNELS[index], planes[index]
        about = {"long_name": LONG_NAMES[channel.name], "units": UNITS[channel.unit]}
        if channel.name in STANDARD_NAMES:
            about["standard_name"] = STANDARD_NAMES[channel.name]
        if index == GEO_MASK:
            plane = plane.astype(np.int8)
            flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "building air"}
            about = {"long_name": about["long_name"]} | flags
        elif index in PREDICTED_CHANNELS:
            plane = np.where(planes[GEO_MASK] > 0, plane, np.nan)
        variables[channel.name] = (("y", "x"), plane, about)
    made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    general = {
        "Conventions": "CF-1.11",
        "title": "Mean wind at pedestrian level between buildings",
        "source": f"neural cellular automaton, pinca_lib {__version__}",
        "history": f"{made} computed",
        "wind_towards_degrees": wind_direction(state),
        "comment": "x along columns, y along rows; the driving wind's direction counts "
        "counter-clockwise from x and tells where it blows to",
    }
    return xarray.Dataset(variables, coordinates, general | dict(attributes or {}))


def write_netcdf(path: Path, state: Tensor, extent, attributes=None) -> None:
    """Write ``to_xarray`` to a file, which appears only when it is complete."""
    no_gaps = {axis: {"_FillValue": None} for axis in "xy"}  # CF wants none in coordinates
    with written_whole(path) as partial:
        to_xarray(state, extent, attributes).to_netcdf(partial, engine="netcdf4", encoding=no_gaps)
