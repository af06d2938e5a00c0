"""The layout of a state: what each channel holds, in which unit, and who may change it.

A state is a tensor of shape (B, C, H, W) with C = 24 by default. Channels 0-5 describe the city
and its wind, and the rule never changes them; 6-10 are the simulated pedestrian-level mean fields,
11 is the vertical gradient that continuity implies, and the rest are the automaton's own memory,
of which a rule that follows the wind takes the first for <v'w'>.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Channel:
    """One named channel of the state.

    Attributes
    ----------
    name : str
        Name in the data files.
    label : str
        Label for figures and pages.
    unit : str
        SI unit; empty for dimensionless channels.
    signed : bool
        Whether the field takes both signs, so that its colour map is centred on zero.
    """

    name: str
    label: str
    unit: str = ""
    signed: bool = False

    @property
    def title(self) -> str:
        """Label and unit, ready for an axis or a colour bar."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


CHANNELS = (
    Channel("coord_y", "y coordinate", signed=True),
    Channel("coord_x", "x coordinate", signed=True),
    Channel("geo_mask", "air mask"),
    Channel("topo", "building height", "m"),
    Channel("windInitX", "driving wind, x", signed=True),
    Channel("windInitY", "driving wind, y", signed=True),
    Channel("uped", "⟨u⟩", "m/s", signed=True),
    Channel("vped", "⟨v⟩", "m/s", signed=True),
    Channel("Uped", "mean speed", "m/s"),
    Channel("TKEped", "TKE", "m²/s²"),
    Channel("Tuwped", "⟨u′w′⟩", "m²/s²", signed=True),
    Channel("dwdz", "∂⟨w⟩/∂z", "1/s", signed=True),
)
NAMES = tuple(channel.name for channel in CHANNELS)

(COORD_Y, COORD_X, GEO_MASK, TOPO, WIND_X, WIND_Y,
 U, V, SPEED, TKE, FLUX, DWDZ) = range(len(CHANNELS))  # fmt: skip

BASE_COUNT = 6  # city and wind: never changed by the rule
KNOWN_COUNT = 12  # base, fields and dwdz: everything that has a physical meaning
STATE_COUNT = 24  # with the hidden channels

GEOMETRY = slice(0, 4)  # `city_base` of a city file
WIND_FIELD = slice(4, KNOWN_COUNT)  # `wind_field` of a city file
BASE = slice(0, BASE_COUNT)
DYNAMIC = slice(BASE_COUNT, None)  # what the rule writes
FIELDS = slice(BASE_COUNT, DWDZ)  # what every data set carries: u, v, speed, TKE, flux
PREDICTED = slice(BASE_COUNT, KNOWN_COUNT)  # the fields and dwdz
PREDICTED_CHANNELS = range(KNOWN_COUNT)[PREDICTED]

FLUX_Y = KNOWN_COUNT  # <v'w'>, which no data holds: the first hidden channel, a guess of the rule
VECTORS = ((WIND_X, WIND_Y), (U, V), (FLUX, FLUX_Y))  # x and y components


def split_base(state: Tensor, base_count: int = BASE_COUNT) -> tuple[Tensor, Tensor]:
    """Split a state into its base channels and the others.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
    base_count : int
        Number of leading channels that count as base.

    Returns
    -------
    base : Tensor of shape (B, base_count, H, W)
    others : Tensor of shape (B, C - base_count, H, W)
    """
    return state[:, :base_count], state[:, base_count:]


def fresh_states(cases: Tensor, channels: int = STATE_COUNT) -> Tensor:
    """Return states that hold the cases' base channels and are zero beyond.

    Parameters
    ----------
    cases : Tensor of shape (N, >= 6, H, W)
        Channels 0-5 are taken.
    channels : int
        Channels C of the states.

    Returns
    -------
    Tensor of shape (N, C, H, W)
    """
    states = cases.new_zeros(len(cases), channels, *cases.shape[-2:])
    states[:, BASE] = cases[:, BASE]
    return states
