"""Building heights as people write them: their columns, their units, and the ones that are no use.

A height that is missing or absurd is never filled silently: ``usable_heights`` refuses it, or fills
it with a height that the user states and says which buildings those are.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pinca_lib.channels import FIELD_HEIGHT
from pinca_lib.errors import InputError, shown

LEAST = FIELD_HEIGHT  # m: lower things are no obstacle to the fields
TALL = 300.0  # m: a city where more than one building in twenty is taller has a wrong unit
TALLEST = 1000.0  # m: no building is taller
SUSPICIOUS_MEDIAN = 60.0  # m: of few quarters in the world, but of any in feet
LEVEL = 3.0  # m a storey
FOOT = 0.3048  # m
UNITS = {"m": 1.0, "mm": 0.001, "cm": 0.01, "ft": FOOT, "in": 0.0254}

# Names of columns as ``plain`` returns them, the surest first; Shapefiles cut them to ten letters
HEIGHT_NAMES = (
    "heightm", "height", "buildingheight", "bldgheight", "bldgheigh", "bldghgt", "bldgh",
    "measuredheight", "measuredhe", "heightmetres", "heightmeters", "buildinghe", "buildheight",
    "bheight", "hgt", "roofheight", "heightroof", "heightroo", "hroof", "heightmean", "meanheight",
    "hmean", "avgheight", "hgtmedianm", "hgtmeanm", "hgtmediancm", "hgtmeancm", "heightmete",
    "buildingh", "heightmax", "maxheight", "hmax", "heightagl", "agl", "heightaboveground",
    "relh2", "relhmax", "estheight", "hoehe", "hohe", "gebhoehe", "gebaudehohe", "gebaeudehoehe",
    "gebaeudeho", "hoehem", "hohem", "hauteur", "hauteurm", "hoogte", "altura", "alturam",
    "altezza", "altezzam", "wysokosc", "vyska", "hojd", "højde", "høyde", "korkeus", "heightft",
    "heightfeet", "heightfoot", "h",
)  # fmt: skip
LEVEL_NAMES = (
    "buildinglevels", "buildingle", "buildingl", "levels", "storeys", "stories", "floors",
    "numfloors", "nfloors", "numberoffloorsaboveground", "numberoffloors", "numberoffl",
    "numstoreys", "noofstoreys", "storeysaboveground", "storeysabo", "nbetages",
    "nombredetages", "etages", "geschosse", "anzahlgeschosse", "stockwerke", "plantas", "piani",
    "verdiepingen",
)  # fmt: skip

# Elevations of a roof and of the ground below it, whose difference is a height
ELEVATION_NAMES = (
    ("b3hdak70p", "b3hmaaiveld"), ("b3hdak50p", "b3hmaaiveld"), ("b3hdakmax", "b3hmaaiveld"),
    ("dachmax", "gelaendepunkt"), ("roofelev", "groundelev"), ("roofelevation", "groundelevation"),
    ("roofz", "groundz"), ("zroof", "zground"), ("zmax", "zmin"),
)  # fmt: skip

_NUMBER = r"[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?"
_FEET_AND_INCHES = re.compile(rf"({_NUMBER})\s*(?:'|′|’|ft|feet)\s*({_NUMBER})\s*(?:\"|″|”|in|'')")
_MEASURE = re.compile(rf"[~≈]?\s*({_NUMBER})\s*([a-z'′’\"″”]*)\.?")
_UNIT_WORDS = {
    "": None, "m": 1.0, "mt": 1.0, "mtr": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0,
    "meters": 1.0, "cm": 0.01, "mm": 0.001, "'": FOOT, "′": FOOT, "’": FOOT, "ft": FOOT,
    "foot": FOOT, "feet": FOOT, '"': 0.0254, "in": 0.0254, "inch": 0.0254, "inches": 0.0254,
}  # fmt: skip
_MISSING_WORDS = {"", "nan", "none", "null", "n/a", "na", "-", "?", "unknown", "<na>"}


class Heights(NamedTuple):
    """Heights of buildings, one each, and what to say about them."""

    metres: np.ndarray  # (N,), float: above ground; between 0 and TALLEST
    assumed: np.ndarray  # (N,), bool: not given but assumed
    remarks: tuple[str, ...]


def parse_height(value: object, unit: float = 1.0) -> float:
    """Return a height in metres.

    Parameters
    ----------
    value : object
        A number, or text such as "12 m", "12,5", "40 ft", "40'" or "40' 6\"".
    unit : float
        Metres in the unit of a number that names none.

    Returns
    -------
    float
        NaN if nothing is given; infinite if what is given is no height.
    """
    if value is None or isinstance(value, bool):
        return math.nan
    if not isinstance(value, str):
        try:
            return float(value) * unit  # type: ignore[arg-type]
        except OverflowError:
            return math.inf
        except (TypeError, ValueError):
            return math.nan if str(value) in ("<NA>", "NaT") else math.inf
    text = value.strip().lower()
    if text in _MISSING_WORDS:
        return math.nan
    if found := _FEET_AND_INCHES.fullmatch(text):
        feet, inches = (float(number.replace(",", ".")) for number in found.groups())
        return (feet + inches / 12) * FOOT
    found = _MEASURE.fullmatch(text)
    if not found or found[2] not in _UNIT_WORDS:
        return math.inf
    return float(found[1].replace(",", ".")) * (_UNIT_WORDS[found[2]] or unit)


def plain(name: str) -> str:
    """Return the name of a column in lower case, without accents and punctuation."""
    letters = unicodedata.normalize("NFKD", name.lower())  # parts an accent from its letter
    return re.sub(r"[\W_]+", "", letters)


def find_columns(names: Sequence[str], height_field: str, where: str) -> list[str]:
    """Return the columns that hold heights or numbers of storeys, the surest first.

    Parameters
    ----------
    names : sequence of str
        Of all columns.
    height_field : str
        The column that the user names; "" to look among the usual names.
    where : str
        The file, for messages.

    Raises
    ------
    InputError
        If there is no column of the name that the user gives.
    """
    if height_field:
        for same in (str, str.lower, plain):
            for name in names:
                if same(name) == same(height_field):
                    return [name]
        raise InputError(
            f"{where}: no field {shown(height_field)!r}; it has {_listed(names)}. Choose one of "
            "these with height_field=, or leave it out to have the usual names tried"
        )
    by_plain_name = {plain(name): name for name in reversed(names)}
    return [by_plain_name[name] for name in HEIGHT_NAMES + LEVEL_NAMES if name in by_plain_name]


def find_elevations(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns of a roof's and the ground's elevation, if there are such."""
    by_plain_name = {plain(name): name for name in reversed(names)}
    for roof, ground in ELEVATION_NAMES:
        if roof in by_plain_name and ground in by_plain_name:
            return by_plain_name[roof], by_plain_name[ground]
    return None


def is_levels(name: str) -> bool:
    """Return whether a column counts storeys."""
    return plain(name) in LEVEL_NAMES


def usable_heights(
    columns: Mapping[str, Iterable[Any]],
    count: int,
    where: str,
    default_height: float | None = None,
    unit: str = "",
    fields: Sequence[str] = (),
) -> Heights:
    """Read the heights of buildings, and refuse or fill those that are of no use.

    Parameters
    ----------
    columns : mapping of str to iterable of N values
        The columns that ``find_columns`` found, the surest first: where one holds nothing, the
        next counts. Storeys are taken as 3 m each.
    count : int
        Number N of buildings.
    where : str
        The file, for messages.
    default_height : float, optional
        Height of buildings without a usable one, m.
    unit : str
        Of numbers that name none, one of ``UNITS``; by default metres, or feet if the column's
        name says so.
    fields : sequence of str
        All columns of the file, for the message that none holds heights.

    Raises
    ------
    InputError
        If a height is of no use and no default is given.
    """
    metres, faults = np.full(count, np.nan), np.full(count, "missing", object)
    origin: dict[str, int] = {}
    example = ""
    for name, values in columns.items():
        factor = _factor(name, unit)
        found = np.array([parse_height(value, factor) for value in values], float)
        if np.isinf(found).any() and not example:
            example = shown(list(values)[int(np.isinf(found).argmax())], 20)
        wrong = [np.isinf(found), found < 0, found == 0, found > TALLEST]
        bad = np.select(wrong, ["not a number", "negative", "zero", f"above {TALLEST:g} m"], "")
        good = np.isnan(metres) & ~np.isnan(found) & (bad == "")
        faults = np.where(np.isnan(metres) & (bad != "") & (faults == "missing"), bad, faults)
        metres[good] = found[good]
        origin[name] = int(good.sum())
    assumed = np.isnan(metres)
    remarks = [_said_of_origin(name, number, count, unit)
               for name, number in origin.items()
               if number and (is_levels(name) or _factor(name, unit) != 1)]  # fmt: skip
    if not assumed.any():
        return Heights(metres, assumed, tuple(remarks))
    kinds, numbers = np.unique(faults[assumed].astype(str), return_counts=True)
    listed = ", ".join(f"{number:,} {kind}" for kind, number in zip(kinds, numbers, strict=True))
    listed = listed.replace("not a number", f"not a number, such as {example!r}")
    share = f"{assumed.sum():,} of {count:,} buildings ({assumed.mean():.0%})"
    if default_height is None:
        raise InputError(_refusal(where, list(columns), share, listed, fields))
    metres[assumed] = default_height
    reason = f" ({listed})" if columns else ""
    remarks.append(f"{share} have no usable height{reason} and are taken as "
                   f"{default_height:g} m high.")  # fmt: skip
    return Heights(metres, assumed, tuple(remarks))


def _refusal(where: str, columns: list[str], share: str, listed: str, fields: Sequence[str]) -> str:
    """Return the message that heights are missing."""
    remedy = (
        "give default_height= in metres: those buildings are then drawn with it and marked on "
        "the map"
    )
    if columns:
        names = " and ".join(shown(repr(name), 40) for name in columns)
        what = f"{where}: {share} have no usable height in {names}: {listed}"
        unit = "state their unit with unit= ('ft', 'cm', 'mm'), " if "above" in listed else ""
        return f"{what}. Correct them, {unit}or {remedy}"
    return (
        f"{where}: no field holds building heights; it has {_listed(fields)}. Name one with "
        f"height_field=, or {remedy}"
    )


def check_default_height(default_height: float | None) -> float | None:
    """Return ``default_height`` after a check of its range, 2 m to 300 m."""
    if default_height is None:
        return None
    metres = parse_height(default_height)
    if not LEAST <= metres <= TALL:
        raise InputError(
            f"default_height={shown(default_height)}: expected metres, {LEAST:g} to {TALL:g}"
        )
    return metres


def doubtful_heights(metres: np.ndarray, where: str, of: str = "buildings") -> tuple[str, ...]:
    """Return remarks about heights that are probably in another unit.

    Heights of more than 300 m are kept if they are few, since a handful of such buildings stands;
    if more than one in twenty is as high, the unit is wrong.

    Parameters
    ----------
    metres : ndarray of shape (N,)
        Heights of what is built.
    where : str
        The file, for messages.
    of : str
        What they are the heights of: "buildings" or "cells".

    Raises
    ------
    InputError
        If heights are absurd.
    """
    if not metres.size:
        return ()
    most = metres.max()
    share = (metres > TALL).mean()
    if most > TALLEST or share > 0.05:
        number = int((metres > TALL).sum())
        raise InputError(
            f"{where}: {number:,} of {metres.size:,} {of} rise above {TALL:g} m, the tallest to "
            f"{most:,.0f} m: expected heights above ground in metres. State the unit with unit= "
            "('ft', 'cm', 'mm'), or check for elevations above sea level and for fill values"
        )
    remarks = []
    if most > TALL:
        remarks.append(f"The tallest building is {most:.0f} m high, far beyond what the rule has "
                       "seen.")  # fmt: skip
    if (median := float(np.median(metres))) > SUSPICIOUS_MEDIAN:
        remarks.append(
            f"Half of the {of} are higher than {median:.0f} m, the lowest is {metres.min():.0f} m "
            "high: if the heights are in feet, say unit='ft'; if they count from sea level, "
            "subtract the height of the ground."
        )
    return tuple(remarks)


def unit_factor(unit: str) -> float:
    """Return the metres in a unit of length, one of ``UNITS``.

    Raises
    ------
    InputError
        If the unit is none of these.
    """
    unit = {"metres": "m", "meters": "m", "feet": "ft", "inches": "in"}.get(unit, unit)
    if unit not in UNITS:
        raise InputError(f"unit={shown(unit)!r}: expected one of {', '.join(map(repr, UNITS))}")
    return UNITS[unit]


def _factor(name: str, unit: str) -> float:
    if is_levels(name):
        return LEVEL
    if unit:
        return unit_factor(unit)
    return UNITS[own_unit(name)]


def own_unit(name: str) -> str:
    """Return the unit that the name of a column says; ``heightroof`` is New York's, in feet."""
    name = plain(name)
    if re.search(r"(ft|feet|foot)$", name) or name in ("heightroof", "heightroo"):
        return "ft"
    return "cm" if name.endswith("cm") else "m"


def _said_of_origin(name: str, number: int, count: int, unit: str) -> str:
    heights = f"The heights of {number:,} of {count:,} buildings come from {shown(name, 40)!r}"
    if is_levels(name):
        return f"{heights}, {LEVEL:g} m a storey."
    doubt = "" if unit else "; if that is wrong, say unit="
    return f"{heights}, read in {unit or own_unit(name)}{doubt}."


def _listed(names: Sequence[str]) -> str:
    if not len(names):
        return "no fields"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return "the fields " + ", ".join(shown(repr(name), 40) for name in names[:12]) + more
