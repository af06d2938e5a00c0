"""Convert UrbanTALES: ``python -m pinca_lib.urbantales RAW_FOLDER CITY_FOLDER``.

A raw folder holds one folder for each case, for example ``CH-BAS-V1_d00``. It contains
``<case>_ped.nc`` (planes ``uped, vped, Uped, TKEped, Tuwped`` at 1.75 m above ground, NaN in
buildings) and ``<case>_topo`` (a text matrix of building heights in metres). Cases that differ only
in their wind direction go into one city file. UrbanTALES (Nazarian et al. 2025) is licensed
CC BY-NC 4.0; users download it themselves, and this project does not include it.

Two things are not stated in the raw files. The converter decides them from the data and reports
the decision: the row order of the heights (from the overlap of buildings with NaN), and how the
angle in the name becomes a vector (from the mean flow). City files are written with ``row_order:
south_first``; their driving wind is the unit vector (cos, sin) of an angle counter-clockwise
from +x.
"""

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pinca_lib.datasets.city_files import write_city
from pinca_lib.datasets.hdf5 import LARGEST_VALUE
from pinca_lib.datasets.planes import PLANE_NAMES, read_planes
from pinca_lib.errors import InputError, first_line, shown, unreadable

PLANE_HEIGHT = 1.75  # height of the planes above ground, m
LEAST_OVERLAP = 0.6  # intersection over union of buildings and NaN, for the better row order
LARGEST_TURN = 45.0  # degrees, most between the mean flow and the wind direction in the name


@dataclass(frozen=True, eq=False)
class RawCase:
    """One raw case in consistent axes: rows run from south to north, v is positive northwards.

    Attributes
    ----------
    name : str
        ``<city>_d<degrees>``.
    planes : ndarray of shape (5, H, W)
        uped, vped, Uped (m/s), TKEped and Tuwped (m²/s²); zero in buildings.
    air : ndarray of shape (H, W), bool
        True where all planes have a value.
    topo : ndarray of shape (H, W)
        Building heights of the raw file, m, with rows from south to north.
    degrees : float
        Direction towards which the wind blows, 0 to 360 degrees counter-clockwise from +x.
    cell_size : float
        Side of a cell, m.
    report : str
        One line that says what was decided.
    """

    name: str
    planes: np.ndarray
    air: np.ndarray
    topo: np.ndarray
    degrees: float
    cell_size: float
    report: str


def convert(
    raw_folder: Path | str, city_folder: Path | str, cell_size: float | None = None
) -> tuple[list[str], list[str]]:
    """Convert a folder of raw cases to city files, city by city.

    A case that cannot be used is skipped, and the others are converted.

    Parameters
    ----------
    raw_folder : Path or str
        Holds one folder for each case.
    city_folder : Path or str
        Folder for the ``<city>.h5`` files; created if missing. Existing files are not changed.
    cell_size : float, optional
        Side of a cell, m. By default what the coordinates state. Where they only count cells, as
        those of UrbanTALES do, it is 0.5 if the planes are float32 (idealised layouts) and 1.0 if
        they are float64 (realistic layouts).

    Returns
    -------
    written, skipped : list of str
        For each case, one line that says what was decided, or why it was skipped.

    Raises
    ------
    InputError
        If no case can be used, a city file exists already, or the folder cannot be written.
    """
    if cell_size is not None and not 0 < cell_size < np.inf:
        raise InputError(f"cell size {cell_size:g}: expected metres, more than 0")
    city_folder = Path(city_folder)
    by_city = defaultdict(list)
    for folder in case_folders(raw_folder):
        by_city[folder.name.rpartition("_d")[0] or folder.name].append(folder)
    for city in by_city:
        if (city_folder / f"{city}.h5").exists():
            raise InputError(
                f"{city_folder / city}.h5 exists already; move it away or name another folder"
            )
    written: list[str] = []
    skipped: list[str] = []
    for city, folders in tqdm(by_city.items(), desc="cities", unit="city", delay=2):
        cases: list[RawCase] = []
        for folder in folders:
            try:
                case = read_raw_case(folder, cell_size)
                _check_same_geometry([*cases[:1], case])
                cases.append(case)
            except InputError as error:
                skipped.append(str(error))
        if cases:
            _write(city_folder / f"{city}.h5", cases)
            written += [case.report for case in cases]
    if not written:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise InputError(f"no case can be used: {skipped[0]}{more}")
    return written, skipped


def _write(path: Path, cases: Sequence[RawCase]) -> None:
    winds = {case.name: (_wind_field(case), _meta(case)) for case in cases}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_city(path, _city_base(cases), winds)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({first_line(error)}); name a folder that you can write "
            "to, with space left"
        ) from error


def case_folders(raw_folder: Path | str) -> list[Path]:
    """Return the folders in a raw folder that hold a ``*_ped.nc``, sorted.

    Raises
    ------
    InputError
        If the raw folder does not exist or holds no such folder.
    """
    raw_folder = Path(raw_folder)
    if not raw_folder.is_dir():
        raise InputError(f"{raw_folder}: no such folder")
    folders = sorted({path.parent for path in raw_folder.glob("*/*_ped.nc")})
    if not folders:
        raise InputError(f"{raw_folder}: no UrbanTALES cases; expected <case>/<case>_ped.nc in it")
    return folders


def read_raw_case(folder: Path | str, cell_size: float | None = None) -> RawCase:
    """Read and check one raw case, and decide its row order and its convention for angles.

    Parameters
    ----------
    folder : Path or str
        Folder of the case.
    cell_size : float, optional
        As in ``convert``.

    Returns
    -------
    RawCase

    Raises
    ------
    InputError
        If a part is missing or not valid. The message names the case and the fault.
    """
    folder, name = Path(folder), Path(folder).name
    if not re.fullmatch(r".+_d\d+(\.\d+)?", name):
        raise InputError(
            f"{shown(name)}: expected a name that ends in the wind direction, for example _d45: "
            "rename the folder and its files"
        )
    planes, stated_cell, decisions = read_planes(folder / f"{name}_ped.nc")
    topo = _read_topo(folder / f"{name}_topo", planes.shape[1:])
    if np.isinf(planes).any():
        raise InputError(
            f"{name}: planes hold infinite values; expected numbers, or NaN in buildings"
        )
    air = np.isfinite(planes).all(0)
    if not air.any():
        raise InputError(
            f"{name}: no cell has a value in all of {', '.join(PLANE_NAMES)}; expected NaN in "
            "buildings only"
        )
    topo, orientation = _oriented(name, topo, air)
    planes = np.where(air, planes, 0.0)
    largest = np.abs(planes).max()
    if largest > LARGEST_VALUE:
        raise InputError(
            f"{name}: values reach {largest:g}; check whether a fill value is not marked as NaN"
        )
    degrees, convention = _direction(name, planes, air)
    cell_size = cell_size or stated_cell
    if cell_size is None:
        raise InputError(
            f"{name}: the size of its cells is not known; give it with --cell-size, in metres"
        )
    height, width = (side * cell_size for side in air.shape)
    report = (
        f"{name}: {air.shape[0]}×{air.shape[1]} cells of {cell_size:g} m "
        f"({height:g} m × {width:g} m); {'; '.join([*decisions, orientation, convention])}"
    )
    return RawCase(name, planes.astype(np.float32), air, topo, degrees, cell_size, report)


def _read_topo(path: Path, shape: tuple[int, int]) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path.name}: no such file; expected heights in metres, a text matrix")
    try:
        topo = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise unreadable(path, error, "text matrix") from error
    if topo.shape != shape:
        raise InputError(
            f"{path.name}: {topo.shape[0]}×{topo.shape[1]} heights, but the planes have "
            f"{shape[0]}×{shape[1]} cells"
        )
    if not np.isfinite(topo).all() or topo.min() < 0 or topo.max() > LARGEST_VALUE:
        raise InputError(f"{path.name}: heights must be finite and from 0 to {LARGEST_VALUE:g} m")
    return topo


def _oriented(name: str, topo: np.ndarray, air: np.ndarray) -> tuple[np.ndarray, str]:
    """Flip the rows of the heights if needed, so that buildings lie where the planes have NaN.

    If both row orders fit equally well (a symmetric array), the heights are taken as north first,
    which is what UrbanTALES documents.
    """
    choices = {"flipped": topo[::-1], "as stored": topo}
    overlaps = {how: _overlap(t > PLANE_HEIGHT, ~air) for how, t in choices.items()}
    how = max(overlaps, key=overlaps.__getitem__)
    both = ", ".join(f"{overlap:.2f} {key}" for key, overlap in overlaps.items())
    if overlaps[how] < LEAST_OVERLAP:
        raise InputError(
            f"{name}: heights and planes do not fit each other: buildings overlap with NaN by "
            f"{both}; expected at least {LEAST_OVERLAP} for one of the two"
        )
    return choices[how], f"heights {how} (overlap {both})"


def _overlap(buildings: np.ndarray, holes: np.ndarray) -> float:
    union = (buildings | holes).sum()
    return float((buildings & holes).sum() / union) if union else 1.0


def _direction(name: str, planes: np.ndarray, air: np.ndarray) -> tuple[float, str]:
    """Decide which convention the angle in the name follows.

    Returns
    -------
    degrees : float
        Direction towards which the wind blows, counter-clockwise from +x.
    report : str
        The convention and the direction of the mean flow.
    """
    stated = float(name.rpartition("_d")[2])
    u, v = planes[0][air].mean(), planes[1][air].mean()
    flow = float(np.rad2deg(np.arctan2(v, u)))
    conventions = {"(cos, sin)": stated % 360, "(sin, cos)": (90 - stated) % 360}
    turns = {key: abs((flow - angle + 180) % 360 - 180) for key, angle in conventions.items()}
    # Streets deflect the flow, so the documented convention, (cos, sin), is kept unless the mean
    # flow deviates from it by more than LARGEST_TURN.
    found = next((key for key, turn in turns.items() if turn <= LARGEST_TURN), None)
    if found is None:
        raise InputError(
            f"{name}: the mean flow goes to {flow:.0f}°, which fits neither convention of "
            f"d{stated:g} (off by {turns['(cos, sin)']:.0f}° and {turns['(sin, cos)']:.0f}°); "
            "check the row order of the planes"
        )
    return conventions[found], f"wind {found}, mean flow to {flow:.0f}°"


def _check_same_geometry(cases: Sequence[RawCase]) -> None:
    first = cases[0]
    for case in cases[1:]:
        if not np.array_equal(case.topo, first.topo):
            raise InputError(
                f"{case.name}: its buildings differ from those of {first.name}, which has the "
                "same city name; rename one of them"
            )


def _city_base(cases: Sequence[RawCase]) -> np.ndarray:
    """Return coordinates, air mask and heights, (4, H, W); air is what is air in every case."""
    air = np.logical_and.reduce([case.air for case in cases])
    height, width = air.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([y, x, air, np.where(air, 0, cases[0].topo)])


def _wind_field(case: RawCase) -> np.ndarray:
    angle = np.deg2rad(case.degrees)
    wind = np.ones((2, *case.air.shape)) * np.array([np.cos(angle), np.sin(angle)])[:, None, None]
    return np.concatenate([wind, case.planes])


def _meta(case: RawCase) -> dict:
    angle = np.deg2rad(case.degrees)
    height, width = (float(side * case.cell_size) for side in case.air.shape)
    return {
        "wind_dir_deg": case.degrees,
        "wind_dir_xy": (float(np.cos(angle)), float(np.sin(angle))),
        "channels": ["windInitX", "windInitY", *PLANE_NAMES],
        "cityHW": (height, width),
        "row_order": "south_first",
        "source": "UrbanTALES (Nazarian et al. 2025), CC BY-NC 4.0",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command: convert, and print what was decided for each case."""
    parser = argparse.ArgumentParser(
        prog="python -m pinca_lib.urbantales",
        description="Convert raw UrbanTALES cases to city files.",
    )
    parser.add_argument("raw_folder", type=Path, help="holds one folder for each case")
    parser.add_argument("city_folder", type=Path, help="folder for the <city>.h5 files")
    parser.add_argument("--cell-size", type=float, help="side of a cell in metres")
    chosen = parser.parse_args(arguments)
    try:
        written, skipped = convert(chosen.raw_folder, chosen.city_folder, chosen.cell_size)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    lines = [*written, *(f"skipped: {line}" for line in skipped)]
    left_out = f", {len(skipped)} skipped" if skipped else ""
    lines.append(f"{len(written)} cases written to {chosen.city_folder}{left_out}")
    # A console's encoding may lack characters such as "×".
    encoding = sys.stdout.encoding or "ascii"
    print("\n".join(lines).encode(encoding, "replace").decode(encoding))


if __name__ == "__main__":
    main()
