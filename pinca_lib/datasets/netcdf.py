"""Write fields as NetCDF files that follow the CF conventions (climate and forecast metadata)."""

from collections.abc import Mapping, Sequence
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


def to_xarray(
    state: Tensor,
    extent: Sequence[float] | Tensor,
    attributes: Mapping[str, object] | None = None,
) -> xarray.Dataset:
    """Return a state's fields, air mask and building heights with coordinates in metres.

    Parameters
    ----------
    state : Tensor of shape (C, H, W)
        C >= 12; channels 2, 3 and 6-11 are used.
    extent : (height, width) in metres
    attributes : mapping of str to str, optional
        Additional global attributes.

    Returns
    -------
    xarray.Dataset
        Follows the CF conventions 1.11. The coordinates ``y`` and ``x`` are the centres of the
        cells, m. The fields are NaN in buildings.
    """
    planes = state[:KNOWN_COUNT].detach().cpu().numpy().astype(np.float32)
    coordinates = {}
    for axis, cells, length in zip("yx", planes.shape[1:], map(float, extent), strict=True):
        centres = (np.arange(cells) + 0.5) * length / cells
        description = {"units": "m", "long_name": f"distance along {axis}", "axis": axis.upper()}
        coordinates[axis] = (axis, centres, description)
    variables = {}
    for index in (GEO_MASK, TOPO, *PREDICTED_CHANNELS):
        channel, plane = CHANNELS[index], planes[index]
        about: dict[str, object] = {
            "long_name": LONG_NAMES[channel.name],
            "units": UNITS[channel.unit],
        }
        if channel.name in STANDARD_NAMES:
            about["standard_name"] = STANDARD_NAMES[channel.name]
        if index == GEO_MASK:
            plane = plane.astype(np.int8)
            flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "building air"}
            about = {"long_name": LONG_NAMES[channel.name]} | flags
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
        "comment": "x along columns, y along rows; wind_towards_degrees is the direction towards "
        "which the driving wind blows, counter-clockwise from x",
    }
    return xarray.Dataset(variables, coordinates, general | dict(attributes or {}))


def write_netcdf(
    path: Path,
    state: Tensor,
    extent: Sequence[float] | Tensor,
    attributes: Mapping[str, object] | None = None,
) -> None:
    """Write a state's fields to a NetCDF file, which appears only when it is complete.

    Parameters
    ----------
    path : Path
        File to write.
    state, extent, attributes
        As in ``to_xarray``.
    """
    no_gaps = {axis: {"_FillValue": None} for axis in "xy"}  # CF forbids fill values in coordinates
    with written_whole(path) as partial:
        to_xarray(state, extent, attributes).to_netcdf(partial, engine="netcdf4", encoding=no_gaps)
