"""Wind climates as people have them: EPW files, tables of hours, tables of sectors.

An EPW file holds a typical year, hour by hour: the direction that the wind comes from in column 21
and its speed at 10 m in column 22 (EnergyPlus, Auxiliary Programs, chapter on weather data). Other
tables say by the names of their columns what they hold.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pinca_lib.cities.reference_wind import compass_degrees, roughness_length
from pinca_lib.comfort.climate import (
    LEAST_SECTORS,
    MOST_SECTORS,
    Climate,
    Weibull,
    count_hours,
)
from pinca_lib.errors import InputError, error_line, shown

EPW_DIRECTION, EPW_SPEED = 20, 21  # columns, counted from 0
EPW_MISSING = 999.0
MISSING = -99.0  # or below: what tables write for a missing value
YEAR = 8760  # hours

# names of columns, in lower case, without units and with one _ between words
DIRECTIONS = ("wind_from_direction", "wind_from", "wind_direction", "winddirection", "wind_dir",
              "winddir", "wdir", "wd", "wd10m", "wdr", "dd", "drct", "direction", "dir",
              "windrichtung", "richtung", "sector", "angle", "d")  # fmt: skip
SPEEDS = ("wind_speed", "windspeed", "wind_velocity", "wspd", "wind_spd", "ws", "ws10m", "wsp",
          "wdsp", "ff", "sknt", "speed", "spd", "velocity", "windgeschwindigkeit",
          "geschwindigkeit", "wind", "f")  # fmt: skip
FREQUENCIES = ("frequency", "freq", "f", "share", "probability", "p", "occurrence", "haufigkeit")
SCALES = ("weibull_a", "a", "weibull_c", "c", "weibull_scale", "scale", "scale_parameter", "lambda")
SHAPES = ("weibull_k", "k", "weibull_shape", "shape", "shape_parameter")
UNITS = {"m/s": 1.0, "km/h": 1 / 3.6, "mph": 0.44704, "knots": 0.514444, "ft/s": 0.3048}
_SPELLINGS = {
    "m/s": "m/s", "ms": "m/s", "mps": "m/s", "m_s": "m/s", "ms-1": "m/s", "m_s-1": "m/s",
    "m_s_1": "m/s", "km/h": "km/h", "kmh": "km/h", "kph": "km/h", "km_h": "km/h", "mph": "mph",
    "knots": "knots", "knot": "knots", "kn": "knots", "kt": "knots", "kts": "knots",
    "sknt": "knots", "ft/s": "ft/s", "fps": "ft/s",
}  # fmt: skip
_EMPTY = {"", "nan", "na", "n/a", "null", "none", "-", "m", "vrb"}  # what tables write for nothing
_CALM = {"calm", "calms", "windstill", "windstille", "still"}


class Rows(NamedTuple):
    """Where the rows of a file stand in it, for what is said about them."""

    name: str
    numbers: Sequence[int]  # of lines, or of rows
    kind: str = "line"

    def at(self, row: int) -> str:
        """Say where a row stands."""
        return f"{self.name}, {self.kind} {self.numbers[row]}"

    def refuse(self, wrong: np.ndarray, values: np.ndarray, message: str) -> None:
        """Raise an error that names the first wrong row and its value, if there is one."""
        found = np.flatnonzero(wrong)
        if len(found):
            more = f", and so on in {len(found):,} {self.kind}s" if len(found) > 1 else ""
            raise InputError(f"{self.at(int(found[0]))}: {message.format(values[found[0]])}{more}")


class Table(NamedTuple):
    """A table as text, and what the comments above it say."""

    columns: pd.DataFrame  # of str
    rows: Rows
    said: dict[str, str]  # "# key: value"


def load_climate(path_or_table: str | Path | pd.DataFrame, sectors: int = 16) -> Climate:
    """Read a wind climate.

    Parameters
    ----------
    path_or_table : path or DataFrame
        An EPW file; a CSV file of hours with columns of direction (degrees clockwise from north,
        where the wind comes from) and speed, in m/s or in the unit that the column's name gives; a
        CSV file of sectors with columns of direction, frequency (shares or %), Weibull A (m/s) and
        k, and perhaps a row "calm"; or such a table itself. Comments at the top of a CSV file,
        ``# name: ...``, ``# height: 10``, ``# roughness: 0.03``, say more of it.
    sectors : int
        Equal sectors into which hours are counted, 8 to 72. A table of sectors keeps its own.

    Returns
    -------
    Climate
        At 10 m over 0.03 m roughness unless the file says otherwise; ``remarks`` say what was
        missing, converted or odd.

    Raises
    ------
    InputError
        If the file cannot be read or does not hold a climate.
    """
    if not isinstance(sectors, int) or not LEAST_SECTORS <= sectors <= MOST_SECTORS:
        raise InputError(
            f"sectors={shown(sectors)}: expected {LEAST_SECTORS} to {MOST_SECTORS} equal sectors"
        )
    if isinstance(path_or_table, pd.DataFrame):
        plain = path_or_table.reset_index(drop=True).astype(object)
        text = plain.where(plain.notna(), "").astype(str)
        text.columns = [str(column) for column in text.columns]
        rows = Rows("climate table", range(len(text)), "row")
        return _read_table(Table(text, rows, {}), sectors)
    path = Path(path_or_table)
    lines = _text(path)
    if path.suffix.lower() == ".epw" or lines.startswith("LOCATION,"):
        return _read_epw(path.name, lines, sectors)
    return _read_table(_split(path, lines), sectors)


def _text(path: Path) -> str:
    """Return a file as text, whatever encoding a spreadsheet gave it."""
    name = shown(path.name)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"climate={shown(path)}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"climate={shown(path)}: a folder; expected an EPW or CSV file") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error_line(error)})") from None
    if raw[:2] == b"PK":
        raise InputError(f"{name}: a spreadsheet or a zip archive; save it as CSV, or unpack it")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise InputError(f"{name}: not text; expected an EPW or CSV file")
    if "\0" in text:
        raise InputError(f"{name}: not text; expected an EPW or CSV file")
    if not text.strip():
        raise InputError(f"{name}: the file is empty")
    return text


def _read_epw(name: str, text: str, sectors: int) -> Climate:
    """Read an EPW file: eight lines of header, then an hour a line."""
    lines = text.splitlines()
    starts = [k for k, line in enumerate(lines) if line.upper().startswith("DATA PERIODS")]
    if not starts:
        raise InputError(f"{name}: no line DATA PERIODS; an EPW file has it before its hours")
    hours, numbers = [], []
    for number, line in enumerate(lines[starts[0] + 1 :], starts[0] + 2):
        fields = line.split(",")
        if not line.strip():
            continue
        try:
            hours.append((float(fields[EPW_DIRECTION]), float(fields[EPW_SPEED])))
        except (IndexError, ValueError):
            raise InputError(
                f"{name}, line {number}: expected wind direction in column {EPW_DIRECTION + 1} "
                f"and wind speed in column {EPW_SPEED + 1}, as numbers; the line has "
                f"{len(fields)} columns"
            ) from None
        numbers.append(number)
    values = np.array(hours, float).reshape(-1, 2)
    values[values == EPW_MISSING] = np.nan
    climate = _from_hours(Rows(name, numbers), values[:, 0], values[:, 1], sectors)
    place = [part.strip() for part in lines[0].split(",")] + [""] * 8
    station = ", ".join(part for part in place[1:4] if part not in ("", "-")) or name
    try:
        position = float(place[6]), float(place[7])
    except ValueError:
        position = None
    return replace(climate, name=shown(station), position=position)


def _split(path: Path, text: str) -> Table:
    """Split a CSV file into columns: commas, semicolons or tabs, below comments and titles."""
    name, lines = shown(path.name), text.splitlines()
    said: dict[str, str] = {}
    for line in lines:
        if line.startswith("#"):
            key, colon, value = line.lstrip("# ").partition(":")
            said |= {key.strip().lower(): value.strip()} if colon else {}
    top, separator = _header(lines)
    header: list[str] = []
    rows, numbers = [], []
    reader = csv.reader(lines[top:], delimiter=separator, skipinitialspace=True)
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            number = top + reader.line_num
            if not header:
                header = fields
            elif any(fields) and not fields[0].startswith("#"):
                if any(fields[len(header) :]):
                    raise InputError(
                        f"{name}, line {number}: {len(fields)} columns under {len(header)} names; "
                        "with decimal commas, columns are parted by semicolons"
                    )
                rows.append((fields + [""] * len(header))[: len(header)])
                numbers.append(number)
    except csv.Error as error:
        raise InputError(f"{name}: {error_line(error)}") from None
    columns = pd.DataFrame(rows, columns=header, dtype=str)
    return Table(columns, Rows(name, numbers), said)


def _header(lines: list[str]) -> tuple[int, str]:
    """Return the line that names the columns, and what parts them."""
    fallback = next((k for k, line in enumerate(lines) if line.strip(" #")), 0)
    candidates = [k for k, line in enumerate(lines[:60]) if not line.startswith("#")]
    for k in candidates:
        separator = max(";\t,", key=lines[k].count)
        names = {_plain(column): column for column in lines[k].split(separator)}
        if _find(names, DIRECTIONS) and (_find(names, SPEEDS) or _find(names, SCALES)):
            return k, separator
    first = next((k for k in candidates if lines[k].strip()), fallback)
    return first, max(";\t,", key=lines[first].count)


def _read_table(table: Table, sectors: int) -> Climate:
    """Read hours or sectors, by the names of the columns."""
    name = table.rows.name
    once = table.columns.loc[:, ~table.columns.columns.duplicated()]
    table = table._replace(columns=once)
    names = {_plain(column): column for column in reversed(once.columns)}
    direction, speed = _find(names, DIRECTIONS), _find(names, SPEEDS)
    frequency, scale, shape = (_find(names, known) for known in (FREQUENCIES, SCALES, SHAPES))
    if direction and frequency and scale and shape:
        return _as_said(table, _from_sectors(table, direction, frequency, scale, shape))
    if not (direction and speed):
        found = ", ".join(shown(column, 20) for column in list(once.columns)[:12])
        raise InputError(
            f"{name}: the columns are {found}; expected wind direction and wind speed, an hour a "
            "row, or direction, frequency, weibull_A and weibull_k, a sector a row"
        )
    unit = _unit(speed)
    degrees, values = _numbers(table, direction, compass=True), _numbers(table, speed)
    degrees[degrees <= MISSING], values[values <= MISSING] = np.nan, np.nan
    climate = _from_hours(table.rows, degrees, values * UNITS[unit], sectors)
    if unit != "m/s":
        said = f"the speeds are taken to be in {unit}, as the name of their column says"
        climate = replace(climate, remarks=(said, *climate.remarks))
    return _as_said(table, climate)


def _as_said(table: Table, climate: Climate) -> Climate:
    """Return a climate with the name, the height and the roughness that its file gives it."""
    said, name = table.said, table.rows.name
    if "height" in said:
        height = _first_number(said["height"])
        if height is None or not 1 <= height <= 400:
            raise InputError(f"{name}: height: {shown(said['height'])}: expected 1 to 400 m")
        climate = replace(climate, height=height)
    if "roughness" in said:
        text = said["roughness"].removesuffix("m").strip()
        climate = replace(climate, roughness=roughness_length(text))
    return replace(climate, name=shown(said["name"])) if said.get("name") else climate


def _from_hours(rows: Rows, directions: np.ndarray, speeds: np.ndarray, sectors: int) -> Climate:
    """Count hours into sectors; NaN is missing."""
    name = rows.name
    if not len(speeds):
        raise InputError(f"{name}: there are no hours in it")
    rows.refuse(speeds < 0, speeds, "wind speed {:g} m/s is below 0")
    # a calm hour has no direction, and what stands there does not matter
    calm = speeds == 0
    beyond = ~calm & ((directions < 0) | (directions > 360))
    rows.refuse(beyond, directions, "wind direction {:g} is not in 0 to 360 degrees")
    known = ~np.isnan(speeds) & (calm | ~np.isnan(directions))
    if not known.any():
        raise InputError(f"{name}: wind direction or speed is missing in every hour")
    remarks = []
    if not known.all():
        remarks.append(
            f"{(~known).sum():,} of {len(known):,} hours have no wind direction or speed and are "
            "left out"
        )
    if known.sum() < 0.9 * YEAR:
        remarks.append(
            f"there are {known.sum():,} hours; less than a year leaves seasons out, unless it is "
            "a season that is asked for"
        )
    directions, speeds = np.where(calm, 0, directions)[known], speeds[known]
    if (directions == 360).any():  # north is 360 here, and 0 is no direction
        aimless = (directions == 0) & (speeds > 0)
        speeds = np.where(aimless, 0, speeds)
        if aimless.mean() > 0.005:
            remarks.append(
                f"{aimless.sum():,} hours have a speed but direction 0, where north is 360; they "
                "count as calm"
            )
    if not speeds.any():
        raise InputError(f"{name}: all hours are calm; there is no wind in it")
    remarks += _odd_speeds(name, float(speeds.mean()), float(speeds.max()))
    centres, frequency, calm_share, hours = count_hours(directions, speeds, sectors)
    if calm_share > 0.3:
        remarks.append(f"{calm_share:.0%} of the hours are calm; that is much")
    return Climate(name, centres, frequency, calm_share, hours=hours, remarks=tuple(remarks))


def _odd_speeds(name: str, mean: float, most: float) -> list[str]:
    """Return what a mean and a highest speed say about their unit."""
    doubt = "if the file is in km/h or knots, say so in the name of the column: speed_kmh"
    if mean > 25:
        raise InputError(
            f"{name}: the mean speed is {mean:.0f} m/s, which blows nowhere on Earth; {doubt}, or "
            "divide tenths by ten"
        )
    if mean > 8 or most > 50:
        return [f"the mean speed is {mean:.1f} m/s and the highest {most:.0f} m/s; {doubt}"]
    return []


def _from_sectors(table: Table, direction: str, frequency: str, scale: str, shape: str) -> Climate:
    """Read a table of sectors with frequency and Weibull parameters."""
    rows, name = table.rows, table.rows.name
    if table.columns.empty:
        raise InputError(f"{name}: there are no sectors in it")
    calm = table.columns[direction].str.strip().str.lower().isin(_CALM).to_numpy()
    degrees = _numbers(table, direction, compass=True, skip=calm)
    wrong = ~calm & ~((degrees >= 0) & (degrees <= 360))
    rows.refuse(wrong, degrees, "direction {:g} is not in 0 to 360 degrees")
    shares = _numbers(table, frequency)
    rows.refuse(~(shares >= 0), shares, "frequency {:g}; expected 0 or above")
    total = shares.sum()
    whole = 100.0 if total > 10 else 1.0
    if abs(total - whole) > 0.02 * whole:
        raise InputError(
            f'{name}: the frequencies add up to {total:g}; expected 1, or 100 in %, a row "calm" '
            "included"
        )
    remarks = []
    if abs(total - whole) > 0.002 * whole:
        remarks.append(f"the frequencies add up to {total:g} and are scaled to {whole:g}")
    shares = shares / total
    needed = ~calm & (shares > 0)
    if not needed.any():
        raise InputError(f"{name}: it is always calm; there is no wind in it")
    A, k = (_numbers(table, column, skip=~needed) for column in (scale, shape))
    rows.refuse(needed & ~((A >= 0.1) & (A <= 40)), A, "Weibull A {:g}; expected 0.1 to 40 m/s")
    rows.refuse(needed & ~((k >= 0.3) & (k <= 10)), k, "Weibull k {:g}; expected 0.3 to 10")
    order = np.flatnonzero(~calm)
    order = order[np.argsort(degrees[order] % 360, kind="stable")]
    sectors = degrees[order] % 360
    _check_sectors(name, sectors)
    weibull = Weibull(*(np.where(needed, values, 1.0)[order] for values in (A, k)))
    climate = Climate(name, sectors, shares[order], float(shares[calm].sum()), weibull=weibull)
    remarks += _odd_speeds(name, climate.mean_speed, climate.mean_speed)
    return replace(climate, remarks=tuple(remarks))


def _check_sectors(name: str, sectors: np.ndarray) -> None:
    """Refuse sectors that are too few, given twice or not equally wide."""
    count = len(sectors)
    if not LEAST_SECTORS <= count <= MOST_SECTORS:
        raise InputError(
            f"{name}: {count} sectors; expected {LEAST_SECTORS} to {MOST_SECTORS}, all around"
        )
    steps = np.diff(sectors, append=sectors[0] + 360)
    if (steps == 0).any():
        twice = sectors[steps == 0][0]
        raise InputError(f"{name}: the sector {twice:g}° stands there twice (360° is 0°)")
    if (abs(steps - 360 / count) > 1.01).any():
        at = sectors[abs(steps - 360 / count).argmax()]
        raise InputError(
            f"{name}: {count} sectors are not equally wide (look after {at:g}°); expected one "
            f"every {360 / count:g}°"
        )


def _plain(column: str) -> str:
    """Return a column's name in lower case, without unit and height, as ``wind_speed``."""
    text = re.sub(r"[(\[{].*?[)\]}]", " ", column.lower().replace("ä", "a"))
    words = [word for word in re.split(r"[^a-z0-9/]+", text) if word]
    dropped = {*_SPELLINGS, "deg", "degrees", "degree", "percent", "pct", "at", "10m", "m", "s",
               "1", "10", "km", "h", "avg", "mean", "hourly"} - {"sknt"}  # fmt: skip
    while len(words) > 1 and words[-1] in dropped:
        words.pop()
    return "_".join(words)


def _unit(column: str) -> str:
    """Return the unit of speed that a column's name gives; m/s without one."""
    text = column.lower().replace("km h", "kmh").replace("m s", "ms")
    for word in re.split(r"[^a-z0-9/]+", text):
        if word in _SPELLINGS:
            return _SPELLINGS[word]
    return "km/h" if re.search(r"km[_ /·.]?h", text) else "m/s"


def _find(names: dict[str, str], known: Sequence[str]) -> str | None:
    """Return the column whose plain name is the first of those known."""
    return next((names[name] for name in known if name in names), None)


def _numbers(
    table: Table, column: str, compass: bool = False, skip: np.ndarray | None = None
) -> np.ndarray:
    """Return a column as numbers, NaN where it is empty or skipped."""
    text = table.columns[column].str.strip().str.removesuffix("%").str.strip()
    text = text.str.replace(",", ".", regex=False)  # no wind has thousands to part
    if compass:
        text = text.map(lambda cell: _or_same(compass_degrees(cell), cell))
    if skip is not None:
        text = text.where(~skip, "")
    empty = text.astype(str).str.lower().isin(_EMPTY)
    numbers = pd.to_numeric(text.where(~empty, np.nan), errors="coerce").to_numpy(float, copy=True)
    for row in np.flatnonzero((np.isnan(numbers) | np.isinf(numbers)) & ~empty.to_numpy()):
        raise InputError(
            f"{table.rows.at(int(row))}: {shown(column)} is "
            f"{shown(table.columns[column].iloc[row])!r}; expected a number"
        )
    return numbers


def _or_same(found: float | None, cell: str) -> float | str:
    return cell if found is None else found


def _first_number(text: str) -> float | None:
    found = re.match(r"\s*(\d+(?:\.\d+)?)\s*m?\s*$", text)
    return float(found[1]) if found else None
