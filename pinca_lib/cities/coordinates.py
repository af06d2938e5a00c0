"""How the coordinates of a file become metres on a map, and a site in them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pinca_lib.cities.place import Bounds
from pinca_lib.errors import InputError, first_line, shown

DEGREE_SPACING = 0.05  # buildings that lie closer than this, in their own unit, lie in degrees
WORST_SCALE = 0.01  # of a projection; lengths that are further off are projected anew
NOTABLE_TURN = 0.5  # degrees between grid north and true north
LEAST_SITE = 20.0  # m, a side

Site = Sequence[float] | str | None


def same(x, y):
    """Return coordinates as they are."""
    return x, y


class Frame(NamedTuple):
    """How a file's coordinates become metres."""

    crs: Any  # pyproj.CRS of the metres; None for local ones
    to_metres: Callable  # x, y of the file (ndarrays) -> x to the east, y to the north, m
    from_metres: Callable  # the way back
    remarks: tuple[str, ...] = ()
    given: Any = None  # pyproj.CRS of the file's coordinates; None for local ones


def frame(
    where: str,
    bounds: Bounds,
    spacing: float,
    stated: Any = None,
    crs: Any = None,
    into: Any = None,
    centre: tuple[float, float] | None = None,
) -> Frame:
    """Find out how the coordinates of a file become metres.

    Geographic coordinates, and projections in other units than metres or of another scale, are
    projected to the local zone of UTM (WGS 84).

    Parameters
    ----------
    where : str
        The file, for messages.
    bounds : Bounds
        Of what the file holds, in its own coordinates.
    spacing : float
        A typical distance of its buildings or cells, in its own coordinates.
    stated : pyproj.CRS, optional
        The coordinate reference system that the file names.
    crs : optional
        The one that the user names, anything that pyproj understands; takes precedence.
    into : pyproj.CRS, optional
        The system to project into; chosen by default.
    centre : (x, y), optional
        Where to choose the zone, in the file's coordinates; the middle of the bounds by default.

    Raises
    ------
    InputError
        If the system is unknown, or the coordinates contradict it.
    """
    given = _horizontal(_parsed(crs, "crs=") if crs not in (None, "") else stated)
    if not all(map(math.isfinite, bounds)):
        raise InputError(f"{where}: coordinates are not finite numbers; expected metres or degrees")
    like_degrees = (
        abs(bounds.west) <= 180 and abs(bounds.east) <= 180
        and abs(bounds.south) <= 90 and abs(bounds.north) <= 90 and spacing < DEGREE_SPACING
    )  # fmt: skip
    corners = f"{_number(bounds.west)}, {_number(bounds.south)} to " \
              f"{_number(bounds.east)}, {_number(bounds.north)}"  # fmt: skip
    if given is None or not given.is_geographic:
        if like_degrees:
            says = (
                "names no coordinate system" if given is None else f"is said to be {_name(given)}"
            )
            raise InputError(
                f"{where} {says}, but its coordinates look like degrees ({corners}): say "
                "crs='EPSG:4326' if they are longitude and latitude, or give metres"
            )
        if given is None:
            said = () if into is not None else (
                "The file names no coordinate system: its coordinates are taken as metres, x to "
                "the east and y to the north.",)  # fmt: skip
            return Frame(into, same, same, said)
    elif max(abs(bounds.west), abs(bounds.east)) > 360.001 or max(
        abs(bounds.south), abs(bounds.north)) > 90.001:  # fmt: skip
        raise InputError(
            f"{where} is taken as degrees ({_name(given)}, which GeoJSON means unless it says "
            f"otherwise), but its coordinates run from {corners}: say crs= with the system they "
            "are in, such as crs='EPSG:25832'"
        )
    if given.is_geocentric:
        raise InputError(f"{where} is in {_name(given)}, which has no map: project it first")
    return _projected(where, bounds, given, into, centre)


def _projected(where: str, bounds: Bounds, given, into, centre) -> Frame:
    """Return the frame of coordinates in a known system."""
    from pyproj import Proj, Transformer
    from pyproj.exceptions import ProjError

    if centre and given.is_geographic and abs(centre[1]) > 90:
        raise InputError(
            f"site: {_number(centre[0])}, {_number(centre[1])} is no longitude and latitude, in "
            f"which {where} is: x (longitude) comes before y (latitude)"
        )
    x, y = centre or ((bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2)
    try:
        to_degrees = Transformer.from_crs(given, 4326, always_xy=True)
    except ProjError as error:
        raise InputError(
            f"{where}: {_name(given)} cannot be turned into longitude and latitude: say crs= with "
            "the system that its coordinates are in"
        ) from error
    longitude, latitude = to_degrees.transform(x, y)
    if not (math.isfinite(longitude) and math.isfinite(latitude)):
        raise InputError(
            f"{where}: {_number(x)}, {_number(y)} lies outside of {_name(given)}: say crs= with "
            "the system that its coordinates are in"
        )
    remarks = []
    target = into
    if target is None:
        reason = _why_not(given, longitude, latitude)
        target = _utm(where, longitude, latitude) if reason else given
        if reason and not given.is_geographic:
            remarks.append(f"{_name(given)} {reason}; it is projected to {_name(target)}.")
        else:
            remarks.append(f"Coordinates are in {_name(target)}.")
    turn = Proj(target).get_factors(longitude, latitude).meridian_convergence
    if abs(turn) > NOTABLE_TURN:
        way = "east" if turn > 0 else "west"
        remarks.append(
            f"Grid north lies {abs(turn):.1f} degrees {way} of true north; rows and columns, and "
            "winds over the grid, follow grid north."
        )
    if target.equals(given):
        return Frame(target, same, same, tuple(remarks), given)
    forward = Transformer.from_crs(given, target, always_xy=True)
    backward = Transformer.from_crs(target, given, always_xy=True)
    return Frame(target, forward.transform, backward.transform, tuple(remarks), given)


def _why_not(given, longitude: float, latitude: float) -> str:
    """Return why a system is no map in metres; "" if it is one."""
    from pyproj import Proj

    if given.is_geographic:
        return "is in degrees"
    axes = given.axis_info[:2]
    if any(axis.unit_name not in ("metre", "meter") for axis in axes):
        return f"is in units of {axes[0].unit_name}"
    if {axis.direction for axis in axes} != {"east", "north"}:
        return "does not run east and north"
    off = Proj(given).get_factors(longitude, latitude).meridional_scale - 1
    return f"stretches lengths by {off:.0%} here" if abs(off) > WORST_SCALE else ""


def _utm(where: str, longitude: float, latitude: float):
    """Return the zone of UTM around a point."""
    from pyproj import CRS
    from pyproj.aoi import AreaOfInterest
    from pyproj.database import query_utm_crs_info

    longitude = (longitude + 180) % 360 - 180
    area = AreaOfInterest(longitude, latitude, longitude, latitude)
    found = query_utm_crs_info(datum_name="WGS 84", area_of_interest=area)
    if not found:
        raise InputError(f"{where}: no zone of UTM holds {latitude:.1f}° N: project it to metres")
    return CRS.from_epsg(int(found[0].code))


def _parsed(crs: Any, what: str):
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    text = int(crs) if isinstance(crs, str) and crs.strip().isdigit() else crs
    try:
        return CRS.from_user_input(text)
    except (CRSError, TypeError, ValueError) as error:
        raise InputError(
            f"{what}{shown(crs)!r} is no coordinate system that pyproj knows "
            f"({first_line(error)}); expected a code such as 'EPSG:25832', or 'EPSG:4326' for "
            "longitude and latitude"
        ) from error


def parse_crs(text: Any, where: str):
    """Return a ``pyproj.CRS`` of what a file names; see ``frame``."""
    return _parsed(text, f"{where}: ")


def _horizontal(crs):
    """Return the horizontal part of a system; None if it is none on Earth."""
    if crs is None:
        return None
    if crs.is_bound:
        crs = crs.source_crs
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    if crs.is_engineering or crs.type_name in ("Engineering CRS", "Unknown"):
        return None
    return crs.to_2d()


def _name(crs) -> str:
    code = crs.to_epsg()
    return f"{shown(crs.name, 60)} (EPSG:{code})" if code else shown(crs.name, 60)


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:.0f}"


def parse_site(site: Site) -> tuple[float, ...] | None:
    """Return a site as three numbers (centre and radius) or four (a box); None if there is none.

    Parameters
    ----------
    site : sequence of float, str or None
        (west, south, east, north) or (x, y, radius), or the same as text with commas.

    Raises
    ------
    InputError
        If it is neither.
    """
    if site is None or (isinstance(site, str) and not site.strip()):
        return None
    expected = (
        "expected a box (west, south, east, north) or a centre and radius (x, y, metres), in the "
        "coordinates of the file"
    )
    parts = site.replace(";", ",").split(",") if isinstance(site, str) else site
    try:
        values = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        values = ()
    if len(values) not in (3, 4) or not all(map(math.isfinite, values)):
        raise InputError(f"site={shown(site)}: {expected}")
    if len(values) == 3 and values[2] <= 0:
        raise InputError(f"site={shown(site)}: the radius is {values[2]:g} m; expected more than 0")
    if len(values) == 4 and (values[0] >= values[2] or values[1] >= values[3]):
        raise InputError(
            f"site={shown(site)}: west must be less than east and south less than north; {expected}"
        )
    return values


def centre_of(site: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Return the middle of a parsed site, in the file's coordinates."""
    if site is None:
        return None
    if len(site) == 3:
        return site[0], site[1]
    return (site[0] + site[2]) / 2, (site[1] + site[3]) / 2


def site_bounds(site: tuple[float, ...], to_metres: Callable) -> Bounds:
    """Return the rectangle of a parsed site in metres.

    Raises
    ------
    InputError
        If it is smaller than 20 m a side.
    """
    if len(site) == 3:
        x, y = to_metres(site[0], site[1])
        bounds = Bounds(x - site[2], y - site[2], x + site[2], y + site[2])
    else:
        bounds = Bounds(*site).mapped(to_metres)
    width, height = bounds.east - bounds.west, bounds.north - bounds.south
    if not (math.isfinite(width) and math.isfinite(height)):
        raise InputError(f"site={_text(site)} lies outside of the file's coordinate system")
    if min(width, height) < LEAST_SITE:
        raise InputError(
            f"site={_text(site)} is {width:.3g} m × {height:.3g} m; expected at least "
            f"{LEAST_SITE:g} m a side. A box and a centre are in the coordinates of the file, a "
            "radius is in metres"
        )
    return bounds


def _text(site: tuple[float, ...]) -> str:
    return ",".join(_number(value) for value in site)
