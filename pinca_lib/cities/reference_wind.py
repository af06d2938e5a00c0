"""The wind that people know, and the wind that the rule knows.

People know a wind speed at a height over a kind of ground: 5 m/s at 10 m over an airport. The rule
knows a friction velocity u*, of 0.21 m/s. From one to the other lead three lines, of a neutral
atmosphere (kappa = 0.4):

    u_r = kappa U(z) / ln(z / z0_r)             friction velocity over the reference's ground
    U_b = u_r / kappa ln(z_b / z0_r)            wind at the blending height, the same over both
    u*  = kappa U_b / ln((z_b - d) / z0)        friction velocity over the city

with the city's roughness length z0 and displacement height d from its buildings (``kanda``).
The blending height is where the two profiles are taken to meet: Wieringa (1986), Quarterly Journal
of the Royal Meteorological Society 112:867-889, has 60 m for single obstacles; 200 m is common for
cities.

A few buildings are no city: what they change of the wind grows upwards by about a tenth of the way
over them, and does not rise above a group that is narrower than ten heights. There the last line
gives way to the wind over the open ground around them, at the height z of the fields:

    U(z) = U_b ln(z / z0) / ln(z_b / z0)        z0 of the open ground
    u*   = 0.21 m/s U(z) / U_open               U_open: what the rule has far from all buildings
"""

import math
import re
from collections.abc import Iterable
from itertools import product
from numbers import Real
from typing import NamedTuple

import numpy as np

from pinca_lib.channels import FIELD_HEIGHT
from pinca_lib.cities.place import towards
from pinca_lib.errors import InputError, shown

FIELD_FRICTION_VELOCITY = 0.21  # m/s, of the fields that the rules were trained on
# Drag of open ground and of buildings on the wind at 2 m in the open (``open_speed``). The eleven
# simulations of isolated buildings in the data fit within 5 % (root mean square).
GROUND_DRAG, BUILDING_DRAG = 0.0218, 0.316
LEAST_OPEN_SPEED = 0.6  # m/s; the least of these eleven is 0.68, and a denser group is sheltered
CITY_WIDTH = 10.0  # mean heights, of the narrowest group of buildings that is a city
KAPPA = 0.4  # von Karman's constant
BLENDING_HEIGHTS = (100.0, 200.0, 400.0)  # m: low, usual, high
Z0_FACTORS = (0.5, 1.0, 2.0)  # what morphology leaves open about a city's roughness length
LEAST_RATIO = 5.0  # of a height to the roughness length below it, for a log law to hold

# m: the classes of Davenport (1960) as Wieringa revised them (1992, Journal of Wind Engineering and
# Industrial Aerodynamics 41:357-368), in words that people use
ROUGHNESSES = {
    "open sea": 0.0002,
    "smooth": 0.005,
    "open ground": 0.03,
    "airport": 0.03,
    "farmland": 0.1,
    "rough": 0.25,
    "suburb": 0.5,
    "city": 1.0,
    "city centre": 2.0,
}
COMPASS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE",
           "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")  # fmt: skip


class Morphology(NamedTuple):
    """What a wind from one direction meets."""

    height: float  # H, m: mean height over the area that is built on
    plan: float  # lambda_p: built area by ground area, 0...1
    frontal: float  # lambda_f: area that faces the wind by ground area
    width: float = math.inf  # m: shorter side of the ground that the buildings stand on
    exposed: float = 0.0  # area that faces the wind by the area of the whole grid
    deviation: float = 0.0  # sigma_H, m: standard deviation over the area that is built on
    tallest: float = 0.0  # H_max, m


class FrictionVelocity(NamedTuple):
    """The friction velocity over a city under a reference wind."""

    value: float  # m/s
    low: float  # m/s
    high: float  # m/s
    z0: float  # m: roughness length of the city
    displacement: float  # m: displacement height d of the city
    open_speed: float  # m/s: mean speed at 2 m on open ground, far from all buildings

    @property
    def scale(self) -> float:
        """Mean speeds are so many times those of the rule; TKE and flux scale with its square."""
        return self.value / FIELD_FRICTION_VELOCITY

    @property
    def scale_range(self) -> tuple[float, float]:
        """The scale of ``low`` and of ``high``."""
        return self.low / FIELD_FRICTION_VELOCITY, self.high / FIELD_FRICTION_VELOCITY


def friction_velocity(
    speed: float,
    height: float,
    roughness: float | str,
    heights: np.ndarray,
    cell: float,
    wind_from: float,
) -> FrictionVelocity:
    """Return the friction velocity over a city under a reference wind.

    Parameters
    ----------
    speed : float
        Mean wind speed of the reference, m/s, above 0 and up to 80.
    height : float
        Above ground at which it blows, m; at least five times the roughness length, up to 400.
    roughness : float or str
        Roughness length of the ground over which it blows, m, 0.00001 to 3, or a name
        (``ROUGHNESSES``).
    heights : ndarray of shape (H, W)
        Building height above ground, m; 0 in the open. Row 0 is south.
    cell : float
        Side of a cell, m.
    wind_from : float
        Where the wind comes from, degrees clockwise from the grid's north.

    Returns
    -------
    FrictionVelocity
        ``low`` and ``high`` are the least and the greatest for a city's z0 halved and doubled and
        blending heights of 100 to 400 m: what the method leaves open, not a confidence interval.
        For a town of three to five storeys they lie about 15 % below and 30 % above. Hills, and an
        atmosphere that is not neutral, are not in them.

    Raises
    ------
    InputError
        If an argument lies outside its range.

    Notes
    -----
    Buildings stand on open ground (z0 = 0.03 m), or on the reference's where that is smoother: the
    city is never smoother than that. The blending height is at least three times the mean height,
    and twice the displacement height. Buildings that together are narrower than ten of their
    heights are no city: z0 is then that of the open ground, and far from them blows the
    reference's wind.
    """
    speed = _number("wind_speed", speed, 0, 80, "m/s, above 0 and up to 80")
    length = roughness_length(roughness)
    height = _number("wind_height", height, 0, 400, "m above ground, up to 400")
    if height < LEAST_RATIO * length:
        raise InputError(
            f"wind_height={height:g}: too near to ground of roughness {length:g} m for a known "
            f"profile; name the wind at {LEAST_RATIO * length:g} m or higher"
        )
    found = morphology(heights, cell, wind_from)
    aloft = speed / math.log(height / length)  # times ln(z_b / z0_r): the wind at z_b
    ground = min(length, ROUGHNESSES["open ground"])
    is_city = found.width >= CITY_WIDTH * found.height > 0
    z0, displacement = kanda(found) if is_city else (ground, 0.0)
    z0 = max(z0, ground)
    of_rules = open_speed(found)

    def over(blending: float, factor: float) -> float:
        blending = max(blending, 3 * found.height, 2 * displacement)
        above = math.log((blending - displacement) / (factor * z0))
        friction = KAPPA * aloft * math.log(blending / length) / above
        if is_city:
            return friction
        in_the_open = friction / KAPPA * math.log(FIELD_HEIGHT / (factor * z0))
        return FIELD_FRICTION_VELOCITY * in_the_open / of_rules

    spread = [over(*pair) for pair in product(BLENDING_HEIGHTS, Z0_FACTORS)]
    usual = over(BLENDING_HEIGHTS[1], 1.0)
    in_the_open = usual / FIELD_FRICTION_VELOCITY * of_rules
    return FrictionVelocity(usual, min(spread), max(spread), z0, displacement, in_the_open)


def open_speed(city: Morphology) -> float:
    """Return the mean speed at 2 m in the open under the rules' own friction velocity, m/s.

    Notes
    -----
    The drag by ground area, u_tau^2, is that of the ground, a U^2, and that of the buildings,
    b U^2 lambda sqrt(H / 2 m). U is the speed in the open, far from all buildings, lambda the area
    that faces the wind by the area of the grid, and H the mean height; the square of the wind grows
    about as the root of the height. The fewer and lower the buildings, the stronger this wind is;
    it is never below ``LEAST_OPEN_SPEED``.
    """
    of_buildings = BUILDING_DRAG * city.exposed * math.sqrt(city.height / FIELD_HEIGHT)
    found = FIELD_FRICTION_VELOCITY / math.sqrt(GROUND_DRAG + of_buildings)
    return max(found, LEAST_OPEN_SPEED)


def morphology(heights: np.ndarray, cell: float, wind_from: float) -> Morphology:
    """Return how high, how dense and how wide a city is.

    Parameters
    ----------
    heights : ndarray of shape (H, W)
        Building height above ground, m; 0 in the open. Row 0 is south.
    cell : float
        Side of a cell, m.
    wind_from : float
        Where the wind comes from, degrees clockwise from the grid's north.

    Returns
    -------
    Morphology
        Zeros without buildings.

    Raises
    ------
    InputError
        If heights are not finite or below 0, or the cell or the direction is no such number.

    Notes
    -----
    The ground is the rectangle of the buildings on the grid, and half their mean height around it,
    as far as the grid reaches: a building on its own then counts as one of many that stand a height
    apart, and not as ground that is built over everywhere.

    The frontal area is half of sum |e . step| cell over the corners of the cells, e the unit vector
    of the wind, step the height steps to east and north, each averaged over the two neighbours that
    meet in the corner: so the stairs that a grid makes of a slanting wall are one wall. Half, since
    what rises towards the wind falls away from it as well; the grid is periodic, as its rollout is.
    A wind across the corners of a block loses one cell of its width so.
    """
    if not hasattr(heights, "compute"):  # as that of a town has
        heights = np.asarray(heights)
    heights = heights.astype(float)
    cell = _number("cell", cell, 0, math.inf, "m, above 0")
    east, north = towards(wind_from)
    message = "heights: expected (H, W) finite numbers, 0 or above, in m"
    if heights.ndim != 2:
        raise InputError(message)
    built, steps = heights > 0, []
    for axis in (0, 1):
        step = np.roll(heights, -1, axis) - heights
        steps.append((step + np.roll(step, -1, 1 - axis)) / 2)
    facing = np.abs(north * steps[0] + east * steps[1]).sum() * cell / 2
    valid = (np.isfinite(heights) & (heights >= 0)).all()
    found = (valid, heights.max(), heights.sum(), (heights**2).sum(), built.sum(), facing,
             built.any(axis=1), built.any(axis=0))  # fmt: skip
    if not isinstance(heights, np.ndarray):
        import dask

        found = dask.compute(*found)
    valid, tallest, volume, squares, count, facing, *occupied = found
    if not valid:
        raise InputError(message)
    if not count:
        return Morphology(0.0, 0.0, 0.0, 0.0)
    height = float(volume / count)
    deviation = math.sqrt(max(float(squares / count) - height**2, 0.0))
    margin = height / 2 / cell  # cells
    sides = []
    for axis in (0, 1):
        lines = np.flatnonzero(occupied[axis])
        first, last = lines[0] - margin, lines[-1] + 1 + margin
        sides.append(min(last, heights.shape[axis]) - max(first, 0))
    ground = sides[0] * sides[1] * cell**2
    plan = float(count * cell**2 / ground)
    exposed = float(facing / (heights.size * cell**2))
    frontal, width = float(facing / ground), min(sides) * cell
    return Morphology(height, min(plan, 1.0), frontal, width, exposed, deviation, float(tallest))


def kanda(city: Morphology) -> tuple[float, float]:
    """Return roughness length z0 and displacement height d of a city whose heights differ, m.

        d / H_max = c0 X^2 + (a0 lambda_p^b0 - c0) X            X = (sigma_H + H) / H_max <= 1
        z0 / z0_M = a1 + b1 Y^2 + c1 Y                          Y = lambda_p sigma_H / H

    with a0 = 1.29, b0 = 0.36, c0 = -0.17, a1 = 0.71, b1 = 20.21, c1 = -0.77, and z0_M of
    ``macdonald``: Kanda and others (2013), Boundary-Layer Meteorology 148:357-377, equations 10a
    and 12a, from large-eddy simulations of real cities. d is at most H_max.

    Parameters
    ----------
    city : Morphology
        Nothing to meet gives (0, 0).
    """
    if not city.height:
        return 0.0, 0.0
    x = min((city.deviation + city.height) / city.tallest, 1.0)
    y = city.plan * city.deviation / city.height
    displacement = min((-0.17 * x + 1.29 * city.plan**0.36 + 0.17) * x, 1.0) * city.tallest
    return (0.71 + 20.21 * y**2 - 0.77 * y) * macdonald(city)[0], displacement


def macdonald(city: Morphology) -> tuple[float, float]:
    """Return roughness length z0 and displacement height d of a city of equal heights, m.

        d / H  = 1 + A^(-lambda_p) (lambda_p - 1)
        z0 / H = (1 - d / H) exp(-(beta Cd / (2 kappa^2) (1 - d / H) lambda_f)^(-1/2))

    with A = 4.43, beta = 1, Cd = 1.2 and kappa = 0.4: Macdonald, Griffiths and Hall (1998),
    Atmospheric Environment 32:1857-1864, equations 23 and 26, for staggered cubes.
    """
    displacement = 1 + 4.43**-city.plan * (city.plan - 1)  # of the mean height
    drag = 0.5 * 1.2 / KAPPA**2 * (1 - displacement) * city.frontal
    z0 = (1 - displacement) * math.exp(-(drag**-0.5)) if drag > 0 else 0.0
    return z0 * city.height, displacement * city.height


def roughness_length(roughness: float | str) -> float:
    """Return the roughness length of a kind of ground, m.

    Parameters
    ----------
    roughness : float or str
        In m, 0.00001 to 3, or a name of ``ROUGHNESSES``.

    Raises
    ------
    InputError
        If it is neither.
    """
    name = " ".join(str(roughness).lower().replace("_", " ").split())
    if name in ROUGHNESSES:
        return ROUGHNESSES[name]
    names = ", ".join(ROUGHNESSES)
    return _number("roughness", roughness, 1e-5, 3, f"0.00001 to 3 m, or one of {names}")


def wind_directions(value: object) -> list[float]:
    """Return the wind directions that a value of the parameter ``wind_from`` names.

    Parameters
    ----------
    value : float, str or iterable of them
        A direction in degrees clockwise from north, where the wind comes from, 0 to 360, or a point
        of the compass ("SW"); several of them, in a list or in text ("0, 90, 180"); or equal
        sectors, the first from north ("16 sectors").

    Returns
    -------
    list of float
        In the order given, each once, 0 <= direction < 360.

    Raises
    ------
    InputError
        If it names no direction, or something else.
    """
    expected = (
        'expected degrees clockwise from north, 0 to 360, where the wind comes from, as in 240, '
        '"0, 90, 180", "SW" or "16 sectors"'
    )  # fmt: skip
    if isinstance(value, str):
        count = re.fullmatch(r"\s*(\d+)\s*(?:sectors?|directions?)\s*", value.lower())
        if count:
            sectors = int(count[1])
            if not 1 <= sectors <= 360:
                raise InputError(f"wind_from={shown(value)!r}: expected 1 to 360 sectors")
            return [360 * k / sectors for k in range(sectors)]
        parts: list[object] = [part for part in re.split(r"[\s,;]+", value.strip(" []()")) if part]
    elif isinstance(value, Iterable):
        parts = list(value)
    else:
        parts = [value]
    found = []
    for part in parts:
        direction = compass_degrees(part)
        if direction is None or not 0 <= direction <= 360:
            raise InputError(f"wind_from={shown(value)}: {shown(repr(part))}: {expected}")
        found.append(direction % 360)
    if not found:
        raise InputError(f"wind_from={shown(repr(value))}: {expected}")
    return list(dict.fromkeys(found))


def compass_degrees(direction: object) -> float | None:
    """Return a direction in degrees, from a number, its text or a point of the compass.

    None for anything else; the range is not checked.
    """
    text = str(direction).strip().removesuffix("°").strip()
    if isinstance(direction, str) and text.upper() in COMPASS:
        return COMPASS.index(text.upper()) * 22.5
    try:
        degrees = float(text)
    except ValueError:
        return None
    return degrees if math.isfinite(degrees) and not isinstance(direction, bool) else None


def _number(name: str, value: object, least: float, most: float, expected: str) -> float:
    """Return a value as a number above 0 between two limits, or say what was expected."""
    message = f"{name}={shown(value)}: expected {expected}"
    if isinstance(value, bool) or not isinstance(value, Real | str):
        raise InputError(message)
    try:
        number = float(value)
    except ValueError:
        raise InputError(message) from None
    if not (number > 0 and least <= number <= most and math.isfinite(number)):
        raise InputError(message)
    return number
