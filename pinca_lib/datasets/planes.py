"""Planes of one UrbanTALES case: a NetCDF file, with rows from south to north, in m/s and m²/s²."""

import re
from pathlib import Path
from typing import NamedTuple

import h5py
import netCDF4
import numpy as np

from pinca_lib.channels import FIELDS, NAMES
from pinca_lib.errors import InputError, shown, unreadable

PLANE_NAMES = NAMES[FIELDS]
POWERS = dict(zip(PLANE_NAMES, (1, 1, 1, 2, 2), strict=True))  # of speed
CELLS = (0.1, 50.0)  # m, range of a cell that coordinates may state
CELL_SIZES = {"f4": 0.5, "f8": 1.0}  # m, by type; idealised and realistic layouts of UrbanTALES
LENGTHS = {"m": 1.0, "meter": 1.0, "metre": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0,
           "ft": 0.3048, "foot": 0.3048, "feet": 0.3048}  # fmt: skip
TIMES = {"s": 1.0, "sec": 1.0, "second": 1.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0}
KNOTS = ("kt", "kn", "knot", "knots")
UNIT = re.compile(r"([a-z]+?)s?(\d?)(?:\s*/\s*|[\s.·*]*)([a-z]+?)s?-?(\d?)")  # as "m2 s-2", "m/s"


class Planes(NamedTuple):
    """Planes of a case.

    Attributes
    ----------
    values : ndarray of shape (5, H, W), float64
        uped, vped, Uped (m/s), TKEped and Tuwped (m²/s²); NaN where the file has no value. Row 0 is
        in the south, column 0 in the west.
    cell_size : float or None
        Side of a cell, m: from the coordinates, or else from the type; None if neither says it.
    decisions : tuple of str
        What was changed or decided.
    """

    values: np.ndarray
    cell_size: float | None
    decisions: tuple[str, ...]


def read_planes(path: Path) -> Planes:
    """Read the planes of a NetCDF file.

    Packed planes (``scale_factor``, ``add_offset``, ``_FillValue``) are unpacked. Planes in another
    unit of speed are converted; planes without units are taken as m/s and m²/s². Rows and columns
    are flipped if their coordinates descend.

    Raises
    ------
    InputError
        If the file cannot be read, a plane is missing, the shapes differ, or a unit is not known.
    """
    try:
        _check_types(path)
        with netCDF4.Dataset(path) as file:
            missing = [plane for plane in PLANE_NAMES if plane not in file.variables]
            if missing:
                raise InputError(f"{path.name}: {', '.join(missing)} missing; expected 2-D planes")
            arrays, decisions = [], set()
            for name in PLANE_NAMES:
                factor, decision = _factor(path, name, getattr(file[name], "units", ""))
                # Files often have a time axis of length 1.
                arrays.append(
                    factor * np.squeeze(np.ma.filled(file[name][:].astype(float), np.nan))
                )
                decisions |= {decision}
            kind = file[PLANE_NAMES[0]].dtype
            axes = [_coordinate(file, axis) for axis in "yx"]
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise unreadable(path, error, "NetCDF file") from error
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 2 or min(arrays[0].shape) < 3:
        raise InputError(
            f"{path.name}: planes have shapes {sorted(shapes)}; expected one common 2-D shape"
        )
    values = np.stack(arrays)
    for axis, (name, coordinate) in enumerate(zip("yx", axes, strict=True), 1):
        if coordinate is not None and coordinate.values[0] > coordinate.values[-1]:
            values = np.flip(values, axis)
            decisions |= {f"planes flipped, because {name} descends"}
    cell_size = _stated_cell(values.shape[1:], axes)
    if cell_size is not None:
        decisions |= {"cells from the coordinates"}
    else:
        cell_size = CELL_SIZES.get(f"{kind.kind}{kind.itemsize}")
    return Planes(values, cell_size, tuple(sorted(filter(None, decisions))))


class _Coordinate(NamedTuple):
    values: np.ndarray
    unit: str


def _check_types(path: Path) -> None:
    """Refuse types that NetCDF does not have: netCDF4 crashes when it opens a file with float16."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return
    with h5py.File(path) as file:
        for name, member in file.items():
            kind = member.dtype if isinstance(member, h5py.Dataset) else np.dtype(float)
            if kind.kind == "f" and kind.itemsize not in (4, 8):
                raise InputError(
                    f"{path.name}: {shown(name)} has type {kind}, which NetCDF lacks; "
                    "write it again as float32"
                )


def _factor(path: Path, name: str, unit: object) -> tuple[float, str]:
    """Return what converts a plane to m/s or m²/s², and a line if it changes anything."""
    text = shown(unit, 40).lower().strip()
    plain = re.sub(r"\*\*|\^", "", text.translate(str.maketrans("²¹⁻", "21-")))
    power = POWERS[name]
    if not text:
        return 1.0, ""
    factor = None
    if power == 1 and plain in KNOTS:
        factor = 1852 / 3600
    elif match := UNIT.fullmatch(plain):
        length, over, time, under = match.groups()
        if length in LENGTHS and time in TIMES and {over or "1", under or "1"} == {str(power)}:
            factor = (LENGTHS[length] / TIMES[time]) ** power
    if factor is None:
        expected = "m/s" if power == 1 else "m²/s²"
        raise InputError(
            f"{path.name}: {name} has units {shown(unit, 40)!r}, which are not known; expected "
            f"{expected}: convert it, or correct the attribute"
        )
    return factor, f"converted from {text}" if factor != 1 else ""


def _coordinate(file: netCDF4.Dataset, axis: str) -> _Coordinate | None:
    if axis not in file.variables:
        return None
    values = np.squeeze(np.ma.filled(file[axis][:].astype(float), np.nan))
    if values.ndim != 1 or len(values) < 3 or not np.isfinite(values).all():
        return None
    return _Coordinate(values, str(getattr(file[axis], "units", "")).strip().lower())


def _stated_cell(shape: tuple[int, ...], axes: list[_Coordinate | None]) -> float | None:
    """Return the side of a cell if the coordinates state it.

    UrbanTALES' own coordinates count cells, with steps of N / (N - 1), and say nothing of metres;
    neither do steps of 1 without a unit.
    """
    steps = []
    for count, coordinate in zip(shape, axes, strict=True):
        if coordinate is None or len(coordinate.values) != count:
            return None
        each = np.abs(np.diff(coordinate.values))
        step, unit = float(each.mean()), coordinate.unit.rstrip("s")
        if unit and unit not in LENGTHS:
            return None
        counts_cells = np.isclose(step, count / (count - 1)) or (not unit and np.isclose(step, 1))
        if counts_cells or np.ptp(each) > 0.01 * step:
            return None
        steps.append(step * LENGTHS.get(unit, 1.0))
    if abs(steps[0] - steps[1]) > 0.01 * steps[0] or not CELLS[0] <= steps[0] <= CELLS[1]:
        return None
    return round(steps[0], 4)
