"""Read, check and write city files: the HDF5 files that hold a city and its simulated wind.

A file holds one city (one geometry) and any number of cases (wind directions):

    city_base                (4, H, W)       coord_y, coord_x, geo_mask, topo
    cases/<case>/wind_field  (7 or 8, H, W)  windInitX, windInitY, uped, vped, Uped, TKEped,
                                             Tuwped and, if it was simulated, dwdz
    cases/<case>             attribute meta: text of a Python dict literal or of JSON
                             attribute meta_crc32, optional: CRC-32 of meta in hexadecimal digits

The library uses some entries of ``meta``: ``cityHW`` (height and width of the domain in metres),
``row_order`` (``"south_first"`` or ``"north_first"``), ``channels`` and ``wind_dir_xy``. The other
entries are kept for information. A case that was not simulated has no ``wind_field``; its wind is
``wind_dir_xy``. A file may also hold no cases at all. Files are not trusted: nothing in them is
evaluated, links to other files are refused, and every array is checked before it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from pinca_lib.channels import (
    COORD_X,
    COORD_Y,
    GEO_MASK,
    GEOMETRY,
    KNOWN_COUNT,
    NAMES,
    PREDICTED,
    TOPO,
    WIND_FIELD,
    WIND_X,
    WIND_Y,
)
from pinca_lib.datasets import hdf5
from pinca_lib.datasets.checks import faults
from pinca_lib.datasets.meta import check_channels, read_meta, stated_wind, write_meta
from pinca_lib.errors import InputError, shown
from pinca_lib.writing import written_whole

GEOMETRY_NAMES, WIND_NAMES = NAMES[GEOMETRY], NAMES[WIND_FIELD]
FORMAT = ("v110", "v110")  # of HDF5: the first with checksums
NOT_A_CITY = "GlobalMetaData.h5"
WIND_FROM = "wind_from_"  # and degrees clockwise from north: a case of a file without cases
WINDS = range(0, 360, 45)  # degrees
CELL_SIZE = 1.0  # m, used if meta lacks `cityHW`: the cell size of UrbanTALES's real cities


@dataclass(frozen=True, eq=False)
class WindCase:
    """One city under one wind, on the grid of its file.

    Attributes
    ----------
    city, name : str
        Name of the file without ``.h5``, and name of the case in the file.
    state : ndarray of shape (12, H, W), float32
        Channels 0-11 in the order and units of ``pinca_lib.channels``. The fields are zero in
        buildings, and everywhere if the case was not simulated. Channel 11 is zero everywhere if
        ``has_dwdz`` is False.
    extent : tuple of float
        Height and width of the domain, m.
    has_dwdz : bool
        Whether the file holds the simulated d<w>/dz.
    row_order : str or None
        Row order of the file, if the file or the caller states it. The rows of ``state`` are
        already flipped if it is ``"north_first"``.
    meta : dict
        The case's ``meta``, unchanged except that ``cityHW`` is a pair of floats.
    remarks : tuple of str
        What looks wrong, one line for each fault; see ``checks.faults``.
    """

    city: str
    name: str
    state: np.ndarray
    extent: tuple[float, float]
    has_dwdz: bool
    row_order: str | None
    meta: dict = field(repr=False)
    remarks: tuple[str, ...] = ()


def case_names(path: Path | str) -> list[str]:
    """Return the names of the cases in a city file without reading their fields.

    A file without cases stands for its buildings under eight winds, ``wind_from_000`` to
    ``wind_from_315`` (degrees clockwise from north, where the wind comes from).

    Raises
    ------
    InputError
        If the file is not an HDF5 file.
    """
    with hdf5.open_file(path := Path(path)) as file:
        return _names(path, file)


def read_city(
    path: Path | str, row_order: str | None = None, names: Sequence[str] | None = None
) -> list[WindCase]:
    """Read and check cases of a city file.

    Parameters
    ----------
    path : Path or str
        The city file.
    row_order : {"south_first", "north_first"}, optional
        Row order of the cases whose ``meta`` does not state it. By default their rows are read
        unchanged. The rows of north-first cases are flipped, so that y increases with the row
        number and v is positive in that direction.
    names : sequence of str, optional
        The cases to read; all by default. Of a file without cases, any ``wind_from_<degrees>``.

    Returns
    -------
    list of WindCase

    Raises
    ------
    InputError
        If the file is not a valid city file. The message names the file, the case and the fault.
    """
    with hdf5.open_file(path := Path(path)) as file:
        base = _checked_base(path, hdf5.dataset(path, file, "city_base", kinds="fiu"))
        wanted = _names(path, file) if names is None else names
        return [_read_case(path, file, name, base, row_order) for name in wanted]


def read_half_averages(
    path: Path | str, name: str, row_order: str | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the averages of a case over the first and the second half of the simulated time.

    Parameters
    ----------
    path : Path or str
        The city file.
    name : str
        The case.
    row_order : {"south_first", "north_first"}, optional
        As in ``read_city``.

    Returns
    -------
    two ndarrays of shape (12, H, W), float32, or None
        Like ``WindCase.state``, with channels 6-11 from each half; None if the file does not
        hold half averages.

    Raises
    ------
    InputError
        If the file, the case or its half averages are not valid.
    """
    with hdf5.open_file(path := Path(path)) as file:
        base = _checked_base(path, hdf5.dataset(path, file, "city_base", kinds="fiu"))
        case = _read_case(path, file, name, base, row_order)
        cases = _cases(path, file)
        if cases is None or not hdf5.has(cases[name], "half_averages"):
            return None
        where = f"{path.name}: case {shown(name)!r}: half_averages"
        data = hdf5.dataset(path, cases[name], "half_averages", sides=4)
        if data.shape != (2, *case.state[PREDICTED].shape):
            expected = (2, *case.state[PREDICTED].shape)
            raise InputError(f"{where} has shape {data.shape}; expected {expected}")
        planes = np.stack([hdf5.checked_array(half, where, NAMES[PREDICTED])
                           for half in hdf5.numbers(data)])  # fmt: skip
    rows = slice(None, None, -1 if case.row_order == "north_first" else 1)
    first, second = case.state.copy(), case.state.copy()
    for state, half in zip((first, second), planes, strict=True):
        state[PREDICTED] = half[:, rows] * state[GEO_MASK]
    return first, second


def write_city(
    path: Path | str, base: np.ndarray, cases: dict[str, tuple[np.ndarray, dict]]
) -> None:
    """Write a city file. An existing file is replaced only when the new one is complete.

    Parameters
    ----------
    path : Path or str
        File to write.
    base : ndarray of shape (4, H, W)
        coord_y and coord_x (-1 to 1), geo_mask (1 in air, 0 in buildings) and topo (m).
    cases : dict of str to (wind_field, meta)
        For each case its ``wind_field``, an ndarray of shape (7 or 8, H, W) in m/s, m²/s² and
        1/s, and its ``meta``, a dict of plain Python values. Numbers are rounded to float16.

    Notes
    -----
    Whatever is read of the file has a checksum: what HDF5 says about arrays, since its format 1.10,
    the arrays, by zlib, and ``meta``, by ``meta_crc32``. HDF5 itself and zlib check the first two.
    """
    with written_whole(path) as partial, h5py.File(partial, "w", libver=FORMAT) as file:
        file.create_dataset("city_base", data=_rounded(base), compression="gzip", shuffle=True)
        for name, (wind_field, meta) in cases.items():
            group = file.create_group(f"cases/{name}")
            group.create_dataset("wind_field", data=_rounded(wind_field),
                                 compression="gzip", shuffle=True)  # fmt: skip
            write_meta(group, meta)


def _rounded(array: np.ndarray) -> np.ndarray:
    """Return the values of float16 as float32, because netCDF4 crashes on float16 itself.

    The bytes that this adds are mostly zero, and compress to little.
    """
    return array.astype(np.float16).astype(np.float32)


def _cases(path: Path, file: h5py.File) -> h5py.Group | None:
    """Return the group of cases, or None if there is none or it is empty."""
    if not hdf5.has(file, "cases"):
        return None
    cases = hdf5.child(path, file, "cases", h5py.Group)
    return cases if len(cases) else None


def _names(path: Path, file: h5py.File) -> list[str]:
    cases = _cases(path, file)
    return [f"{WIND_FROM}{degrees:03d}" for degrees in WINDS] if cases is None else list(cases)


def _checked_base(path: Path, data: h5py.Dataset) -> np.ndarray:
    where = f"{path.name}: city_base"
    if data.shape[0] != len(GEOMETRY_NAMES):
        raise InputError(
            f"{where} has {data.shape[0]} channels; expected 4: {', '.join(GEOMETRY_NAMES)}"
        )
    base = hdf5.checked_array(hdf5.numbers(data), where, GEOMETRY_NAMES)
    for index in (COORD_Y, COORD_X):
        if np.abs(base[index]).max() > 1.001:
            raise InputError(f"{where}: {NAMES[index]} must lie between -1 and 1")
    if not np.isin(base[GEO_MASK], (0, 1)).all():
        raise InputError(f"{where}: geo_mask must be 1 in air and 0 in buildings")
    if not base[GEO_MASK].any():
        raise InputError(
            f"{where}: geo_mask is 0 everywhere, so there is no air; expected 1 in air"
        )
    if base[TOPO].min() < 0:
        raise InputError(f"{where}: topo holds negative building heights; expected metres, >= 0")
    return base


def _read_case(
    path: Path, file: h5py.File, name: str, base: np.ndarray, row_order: str | None
) -> WindCase:
    where = f"{path.name}: case {shown(name)!r}"
    state = np.zeros((KNOWN_COUNT, *base.shape[1:]), np.float32)
    state[GEOMETRY] = base
    names: tuple[str, ...] = ()
    if (cases := _cases(path, file)) is None:
        meta = read_meta(file, where) if "meta" in file.attrs else {}
        state[[WIND_X, WIND_Y]] = _wind_from(name, where)[:, None, None]
    else:
        group = hdf5.child(path, cases, name, h5py.Group)
        meta = read_meta(group, where)
        if hdf5.has(group, "wind_field"):
            planes, names = _wind_field(path, group, where, base)
            check_channels(meta.get("channels", names), where, names)
            state[WIND_FIELD][: len(names)] = planes
            state[PREDICTED] *= base[GEO_MASK]
            if not state[PREDICTED].any():
                raise InputError(
                    f"{where}: all fields are 0 in air; check whether geo_mask is inverted "
                    "(expected 1 in air, 0 in buildings), or leave wind_field out if nothing was "
                    "simulated"
                )
        elif (wind := stated_wind(meta)) is not None:
            state[[WIND_X, WIND_Y]] = np.array(wind)[:, None, None]
        else:
            raise InputError(
                f"{where}: wind_field is missing, and meta has no wind_dir_xy; expected simulated "
                "fields, or the unit vector (x, y) of where the driving wind goes"
            )
    remarks = faults(state, meta, where)
    if "cityHW" not in meta:
        remarks.append(f"{where}: meta has no cityHW; assuming cells of {CELL_SIZE:g} m")
    if (order := meta.get("row_order", row_order)) == "north_first":
        state[GEO_MASK:] = state[GEO_MASK:, ::-1]  # not the coordinates
    height, width = base.shape[1:]
    return WindCase(
        city=path.stem,
        name=name,
        state=state,
        extent=meta.get("cityHW", (height * CELL_SIZE, width * CELL_SIZE)),
        has_dwdz=len(names) == len(WIND_NAMES),
        row_order=order,
        meta=meta,
        remarks=tuple(remarks),
    )


def _wind_field(
    path: Path, group: h5py.Group, where: str, base: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the planes of a case, (7 or 8, H, W), and their names."""
    data = hdf5.dataset(path, group, "wind_field")
    if data.shape[0] not in (len(WIND_NAMES) - 1, len(WIND_NAMES)):
        raise InputError(
            f"{where}: wind_field has {data.shape[0]} channels; expected 7, or 8 with dwdz: "
            f"{', '.join(WIND_NAMES)}"
        )
    if data.shape[1:] != base.shape[1:]:
        raise InputError(
            f"{where}: wind_field is {data.shape[1]}×{data.shape[2]} cells, but city_base is "
            f"{base.shape[1]}×{base.shape[2]}; both must have the same grid"
        )
    names = WIND_NAMES[: data.shape[0]]
    return hdf5.checked_array(hdf5.numbers(data), f"{where}: wind_field", names), names


def _wind_from(name: str, where: str) -> np.ndarray:
    """Return the unit vector of a wind that is named ``wind_from_<degrees>``."""
    degrees = name.removeprefix(WIND_FROM)
    if not name.startswith(WIND_FROM) or not degrees.isdecimal() or int(degrees) >= 360:
        raise InputError(
            f"{where}: the file holds no cases, so its wind must be named: {WIND_FROM}<degrees>, "
            f"clockwise from north, such as {WIND_FROM}270"
        )
    angle = np.deg2rad(int(degrees))
    return -np.array([np.sin(angle), np.cos(angle)])
