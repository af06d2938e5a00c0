"""Read, check and write city files: the HDF5 files that hold a city and its simulated wind.

A file holds one city (one geometry) and any number of cases (wind directions):

    city_base                (4, H, W)       coord_y, coord_x, geo_mask, topo
    cases/<case>/wind_field  (7 or 8, H, W)  windInitX, windInitY, uped, vped, Uped, TKEped,
                                             Tuwped and, if it was simulated, dwdz
    cases/<case>             attribute meta: text of a Python dict literal

The reader uses three entries of ``meta``: ``cityHW`` (height and width of the domain in metres),
``row_order`` (``"south_first"`` or ``"north_first"``) and ``channels``. It keeps the other entries
for information. Files are not trusted: nothing in them is evaluated, links to other files are
refused, and every array is checked before it is used.
"""

import ast
import math
import warnings
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
    SPEED,
    TKE,
    TOPO,
    WIND_FIELD,
)
from pinca_lib.datasets import hdf5
from pinca_lib.errors import InputError, first_line, shown
from pinca_lib.writing import written_whole

GEOMETRY_NAMES, WIND_NAMES = NAMES[GEOMETRY], NAMES[WIND_FIELD]
NOT_A_CITY = "GlobalMetaData.h5"
LONGEST_META = 65_536  # characters
ROW_ORDERS = ("south_first", "north_first")
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
        buildings. Channel 11 is zero everywhere if ``has_dwdz`` is False.
    extent : tuple of float
        Height and width of the domain, m.
    has_dwdz : bool
        Whether the file holds the simulated d<w>/dz.
    row_order : str or None
        Row order of the file, if the file or the caller states it. The rows of ``state`` are
        already flipped if it is ``"north_first"``.
    meta : dict
        The case's ``meta``, unchanged except that ``cityHW`` is a pair of floats.
    """

    city: str
    name: str
    state: np.ndarray
    extent: tuple[float, float]
    has_dwdz: bool
    row_order: str | None
    meta: dict = field(repr=False)


def case_names(path: Path | str) -> list[str]:
    """Return the names of the cases in a city file without reading their fields.

    Raises
    ------
    InputError
        If the file is not an HDF5 file or holds no case.
    """
    with hdf5.open_file(path := Path(path)) as file:
        return list(_cases(path, file))


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
        The cases to read; all by default.

    Returns
    -------
    list of WindCase

    Raises
    ------
    InputError
        If the file is not a valid city file. The message names the file, the case and the fault.
    """
    with hdf5.open_file(path := Path(path)) as file:
        base = _checked_base(path, hdf5.dataset(path, file, "city_base"))
        cases = _cases(path, file)
        wanted = cases if names is None else names
        return [_read_case(path, cases, name, base, row_order) for name in wanted]


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
        base = _checked_base(path, hdf5.dataset(path, file, "city_base"))
        cases = _cases(path, file)
        case = _read_case(path, cases, name, base, row_order)
        if "half_averages" not in cases[name]:
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
        1/s, and its ``meta``, a dict of plain Python values. Arrays are stored as float16.
    """
    with written_whole(path) as partial, h5py.File(partial, "w") as file:
        file.create_dataset("city_base", data=base.astype(np.float16), compression="gzip")
        for name, (wind_field, meta) in cases.items():
            group = file.create_group(f"cases/{name}")
            group.create_dataset("wind_field", data=wind_field.astype(np.float16),
                                 compression="gzip", shuffle=True)  # fmt: skip
            group.attrs["meta"] = repr(meta)


def _cases(path: Path, file: h5py.File) -> h5py.Group:
    cases = hdf5.child(path, file, "cases", h5py.Group)
    if not len(cases):
        raise InputError(f"{path.name}: 'cases' is empty; expected a group for each case")
    return cases


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


def _warn_of_impossible(state: np.ndarray, where: str) -> None:
    """Warn if speed or TKE is negative, or if a coordinate does not change along its axis."""
    for index in (SPEED, TKE):
        low = state[index].min()
        if low < -1e-3 * max(state[index].max(), 1e-3):
            warnings.warn(f"{where}: {NAMES[index]} goes down to {low:g}; it cannot be negative",
                          stacklevel=2)  # fmt: skip
    for index, axis, lines in ((COORD_Y, 0, "row to row"), (COORD_X, 1, "column to column")):
        if not np.ptp(state[index], axis=axis).all():
            warnings.warn(f"{where}: {NAMES[index]} does not change from {lines}", stacklevel=2)


def _read_case(
    path: Path, cases: h5py.Group, name: str, base: np.ndarray, row_order: str | None
) -> WindCase:
    where = f"{path.name}: case {shown(name)!r}"
    group = hdf5.child(path, cases, name, h5py.Group)
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
    meta = _read_meta(group, where, names)
    state = np.zeros((KNOWN_COUNT, *base.shape[1:]), np.float32)
    state[GEOMETRY] = base
    planes = hdf5.checked_array(hdf5.numbers(data), f"{where}: wind_field", names)
    state[WIND_FIELD][: len(names)] = planes
    state[PREDICTED] *= base[GEO_MASK]
    if not state[PREDICTED].any():
        raise InputError(
            f"{where}: all fields are 0 in air; check whether geo_mask is inverted (expected 1 in "
            "air, 0 in buildings)"
        )
    _warn_of_impossible(state, where)
    if (order := meta.get("row_order", row_order)) == "north_first":
        state[GEO_MASK:] = state[GEO_MASK:, ::-1]  # not the coordinates
    if "cityHW" not in meta:
        warnings.warn(
            f"{where}: meta has no cityHW; assuming cells of {CELL_SIZE:g} m", stacklevel=2
        )
    height, width = base.shape[1:]
    return WindCase(
        city=path.stem,
        name=name,
        state=state,
        extent=meta.get("cityHW", (height * CELL_SIZE, width * CELL_SIZE)),
        has_dwdz=len(names) == len(WIND_NAMES),
        row_order=order,
        meta=meta,
    )


def _read_meta(group: h5py.Group, where: str, names: tuple[str, ...]) -> dict:
    """Parse a case's ``meta`` as a Python literal and check the entries that the reader uses.

    Parameters
    ----------
    group : h5py.Group
        The case.
    where : str
        File and case, for messages.
    names : tuple of str
        The channels of the case's wind_field.

    Raises
    ------
    InputError
        If ``meta`` is missing, is not a dict literal, or has an invalid entry.
    """
    if "meta" not in group.attrs:
        raise InputError(f"{where}: attribute 'meta' is missing; expected a Python dict literal")
    text = group.attrs["meta"]
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    if not isinstance(text, str) or len(text) > LONGEST_META:
        raise InputError(f"{where}: meta must be text of at most {LONGEST_META} characters")
    try:
        meta = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(
            f"{where}: meta is not a Python literal ({first_line(error)}); "
            "expected a dict such as {'wind_dir_deg': 0.0, 'cityHW': (256.0, 256.0)}"
        ) from error
    if not isinstance(meta, dict):
        raise InputError(f"{where}: meta is a {type(meta).__name__}; expected a dict literal")
    if "cityHW" in meta:
        meta["cityHW"] = _checked_extent(meta["cityHW"], where)
    direction = meta.get("wind_dir_deg", 0.0)
    if not _is_number(direction):
        raise InputError(f"{where}: meta['wind_dir_deg'] is {shown(direction)}; expected degrees")
    if meta.get("row_order", ROW_ORDERS[0]) not in ROW_ORDERS:
        raise InputError(
            f"{where}: meta['row_order'] is {shown(meta['row_order'])!r}; "
            f"expected one of {', '.join(ROW_ORDERS)}"
        )
    _check_channels(meta.get("channels", names), where, names)
    return meta


def _check_channels(stated: object, where: str, names: tuple[str, ...]) -> None:
    """Check the channel names in ``meta``: those of wind_field, or of city_base and wind_field.

    Unknown names are accepted, because people write these files by hand. The known names in a
    wrong order are not.
    """
    listed = tuple(stated) if isinstance(stated, list | tuple) else ()
    are_names = all(isinstance(name, str) for name in listed)
    if len(listed) == len(GEOMETRY_NAMES) + len(names):
        listed = listed[len(GEOMETRY_NAMES) :]
    if not are_names or len(listed) != len(names):
        raise InputError(
            f"{where}: meta['channels'] does not name the {len(names)} channels of wind_field; "
            f"expected {', '.join(names)}"
        )
    if set(listed) == set(names) and listed != names:
        raise InputError(
            f"{where}: meta['channels'] is in the wrong order; expected {', '.join(names)}"
        )


def _checked_extent(value: object, where: str) -> tuple[float, float]:
    pair = value if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(_is_number(side) and 1 <= side <= 1e6 for side in pair):
        raise InputError(
            f"{where}: meta['cityHW'] is {shown(value)}; expected the domain's height and width "
            "in metres, each between 1 and 1,000,000"
        )
    return float(pair[0]), float(pair[1])


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e12 and math.isfinite(value)
