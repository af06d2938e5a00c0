"""What a case says of itself: the attribute ``meta`` of a city file, parsed and checked.

It is the text of a Python dict literal. It is parsed as a literal and never evaluated.
"""

import ast
import math

import h5py

from pinca_lib.channels import GEOMETRY, NAMES
from pinca_lib.errors import InputError, first_line, shown

LONGEST_META = 65_536  # characters
ROW_ORDERS = ("south_first", "north_first")


def read_meta(group: h5py.Group, where: str, names: tuple[str, ...]) -> dict:
    """Parse a case's ``meta`` as a literal and check the entries that matter.

    Parameters
    ----------
    group : h5py.Group
        The case.
    where : str
        File and case, for messages.
    names : tuple of str
        The channels that its wind_field has.

    Raises
    ------
    InputError
        If it is missing, no dict literal, or one of its entries cannot be used.
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
            f"{where}: meta is no Python literal ({first_line(error)}); "
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
    """Check names that a file gives its channels: those of wind_field, or of base and wind_field.

    Other spellings pass, since files were made by hand; known names in a wrong order do not.
    """
    is_list = isinstance(stated, list | tuple) and all(isinstance(name, str) for name in stated)
    if is_list and len(stated) == len(NAMES[GEOMETRY]) + len(names):
        stated = stated[len(NAMES[GEOMETRY]) :]
    if not is_list or len(stated) != len(names):
        raise InputError(
            f"{where}: meta['channels'] does not name the {len(names)} channels of wind_field"
        )
    if set(stated) == set(names) and tuple(stated) != names:
        raise InputError(f"{where}: channels are in another order; expected {', '.join(names)}")


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
