"""The attribute ``meta`` of a case: text of a Python dict literal or of JSON, which is not trusted.

The text is never evaluated. It is cut into tokens first, so that length, depth and words are
bounded before Python's parser, which can overflow the stack, sees it.
"""

import ast
import json
import math
import re
import zlib
from collections.abc import Sequence

import h5py
import numpy as np

from pinca_lib.channels import GEOMETRY, NAMES
from pinca_lib.datasets import hdf5
from pinca_lib.errors import InputError, shown

CHECKSUM = "meta_crc32"  # attribute beside `meta`: its CRC-32, eight hexadecimal digits
DEEPEST = 32  # brackets inside one another
EXAMPLE = "{'wind_dir_deg': 0.0, 'cityHW': (256.0, 256.0)}"
ROW_ORDERS = ("south_first", "north_first")
WORDS = ("True", "False", "None", "true", "false", "null")
TOKEN = re.compile(
    r"""(?P<text>[rbu]?'(?:[^'\\\n]|\\.)*' | [rbu]?"(?:[^"\\\n]|\\.)*")
      | (?P<number>[+-]?(?:0[xX][\da-fA-F]+ | (?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))
      | (?P<word>[^\W\d]\w*)
      | (?P<mark>[][{}(),:])
      | (?P<other>\S)""",
    re.VERBOSE,
)


def read_meta(group: h5py.Group, where: str) -> dict:
    """Read the ``meta`` of a case, and check the entries that the library uses.

    Parameters
    ----------
    group : h5py.Group
        The case, or the file itself.
    where : str
        File and case, for messages.

    Returns
    -------
    dict
        ``cityHW``, if it is there, is a pair of floats.

    Raises
    ------
    InputError
        If ``meta`` is missing, does not fit its checksum or cannot be parsed, or an entry is not
        valid.
    """
    if "meta" not in group.attrs:
        raise InputError(
            f"{where}: attribute 'meta' is missing; expected a Python dict literal or JSON, such "
            f"as {EXAMPLE}"
        )
    text = hdf5.text(group, "meta", where)
    if CHECKSUM in group.attrs and hdf5.text(group, CHECKSUM, where) != _checksum(text):
        raise InputError(
            f"{where}: meta does not fit {CHECKSUM}: it was damaged or edited; copy the file "
            f"again, or, if you edited meta, delete the attribute {CHECKSUM}"
        )
    meta = parse_meta(text, where)
    if "cityHW" in meta:
        meta["cityHW"] = _extent(meta["cityHW"], where)
    if not is_number(direction := meta.get("wind_dir_deg", 0.0)):
        raise InputError(f"{where}: meta['wind_dir_deg'] is {shown(direction)}; expected degrees")
    if meta.get("row_order", ROW_ORDERS[0]) not in ROW_ORDERS:
        raise InputError(
            f"{where}: meta['row_order'] is {shown(meta['row_order'])!r}; "
            f"expected one of {', '.join(ROW_ORDERS)}"
        )
    return meta


def write_meta(group: h5py.Group, meta: dict) -> None:
    """Write ``meta``, a dict of plain Python values, and its checksum, which HDF5 lacks for it."""
    group.attrs["meta"] = repr(meta)
    group.attrs[CHECKSUM] = np.bytes_(_checksum(repr(meta)))


def parse_meta(text: str, where: str) -> dict:
    """Parse a Python dict literal or a JSON object without evaluating anything.

    Parameters
    ----------
    text : str
    where : str
        File and case, for messages.

    Raises
    ------
    InputError
        If the text is neither. The message names the token that does not fit.
    """
    text = text.removeprefix("\ufeff").strip("\0 \t\r\n")
    if not text:
        raise InputError(f"{where}: meta is empty; expected such as {EXAMPLE}")
    if len(text) > hdf5.LONGEST_TEXT:
        raise InputError(f"{where}: meta must be text of at most {hdf5.LONGEST_TEXT} characters")
    depth, before = 0, ","
    for token in TOKEN.finditer(text):
        found, kind = token.group(), token.lastgroup
        depth += (found in "{[(") - (found in "}])") if kind == "mark" else 0
        if depth > DEEPEST:
            raise _unparsed(where, token, f"opens more than {DEEPEST} brackets inside one another")
        if kind == "other" or (kind == "word" and found not in WORDS):
            raise _unparsed(where, token, "is no text in quotes, number, bracket, True, False "
                            "or None")  # fmt: skip
        if kind != "mark" and before not in "{[(,:":
            raise _unparsed(where, token, "follows without a comma")
        before = found if kind == "mark" else "value"
    try:
        meta = json.loads(text)
    except ValueError as not_json:
        try:
            meta = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError) as error:
            place = _place(text, not_json if _is_json(text) else error)
            following = (token for token in TOKEN.finditer(text) if token.end() > place)
            raise _unparsed(where, next(following, None), "does not fit there") from error
    if not isinstance(meta, dict):
        raise InputError(f"{where}: meta is a {type(meta).__name__}; expected a dict, such as "
                         f"{EXAMPLE}")  # fmt: skip
    return meta


def stated_wind(meta: dict) -> tuple[float, float] | None:
    """Return ``wind_dir_xy``, the unit vector of where the driving wind goes, if it is one."""
    pair = _pair(meta.get("wind_dir_xy"))
    return pair if pair is not None and abs(math.hypot(*pair) - 1) < 0.01 else None


def check_channels(stated: object, where: str, names: Sequence[str]) -> None:
    """Check the channel names in ``meta``: those of wind_field, or of city_base and wind_field.

    Unknown names are accepted, because people write these files by hand. The known names in a
    wrong order are not.
    """
    listed = tuple(stated) if isinstance(stated, list | tuple) else ()
    are_names = all(isinstance(name, str) for name in listed)
    geometry = len(NAMES[GEOMETRY])
    if len(listed) == geometry + len(names):
        listed = listed[geometry:]
    if not are_names or len(listed) != len(names):
        raise InputError(
            f"{where}: meta['channels'] does not name the {len(names)} channels of wind_field; "
            f"expected {', '.join(names)}"
        )
    if set(listed) == set(names) and listed != tuple(names):
        raise InputError(
            f"{where}: meta['channels'] is in the wrong order; expected {', '.join(names)}"
        )


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _unparsed(where: str, token: re.Match[str] | None, fault: str) -> InputError:
    found = f"{shown(token.group(), 30)!r} at character {token.start() + 1}" if token else "its end"
    return InputError(
        f"{where}: meta is neither a Python dict literal nor JSON: {found} {fault}; expected such "
        f"as {EXAMPLE}"
    )


def _is_json(text: str) -> bool:
    return any(token.group() in ("true", "false", "null") for token in TOKEN.finditer(text))


def _place(text: str, error: Exception) -> int:
    """Return the position in the text at which a parser stopped."""
    if isinstance(error, json.JSONDecodeError):
        return error.pos
    if isinstance(error, SyntaxError) and error.lineno and error.offset:
        before = text.splitlines(keepends=True)[: error.lineno - 1]
        return sum(map(len, before)) + error.offset - 1
    return 0


def _extent(value: object, where: str) -> tuple[float, float]:
    pair = _pair(value)
    if pair is None or not all(1 <= side <= 1e6 for side in pair):
        raise InputError(
            f"{where}: meta['cityHW'] is {shown(value)}; expected the domain's height and width "
            "in metres, each between 1 and 1,000,000"
        )
    return pair


def _pair(value: object) -> tuple[float, float] | None:
    pair = value if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(map(is_number, pair)):
        return None
    return float(pair[0]), float(pair[1])


def is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e12 and math.isfinite(value)
