"""The layout of a state: what each channel holds, in which unit, and what a rule may change.

A state is a tensor of shape (B, C, H, W), with C = 24 channels by default:

0-5      base channels: the city and its driving wind; a rule never changes them
6-10     fields: the mean flow at pedestrian level
11       d<w>/dz, the vertical gradient that closes the continuity equation
12-23    hidden channels: the rule uses them freely, except that a rule that uses the wind frame
         treats channel 12 as <v'w'>
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
        Label in figures and in the viewer.
    unit : str
        SI unit; empty for a dimensionless channel.
    signed : bool
        Whether the field has both signs. Its colour map is then centred on zero.
    """

    name: str
    label: str
    unit: str = ""
    signed: bool = False

    @property
    def title(self) -> str:
        """Label and unit, for an axis or a colour bar."""
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

BASE_COUNT = 6  # city and wind: a rule never changes them
KNOWN_COUNT = 12  # base channels, fields and dwdz: the channels with a physical meaning
STATE_COUNT = 24  # all channels, including the hidden channels
FIELD_HEIGHT = 2.0  # m above ground at which the fields lie

GEOMETRY = slice(0, 4)  # `city_base` of a city file
WIND_FIELD = slice(4, KNOWN_COUNT)  # `wind_field` of a city file
BASE = slice(0, BASE_COUNT)
DYNAMIC = slice(BASE_COUNT, None)  # everything that a rule may change
FIELDS = slice(BASE_COUNT, DWDZ)  # in every data set: u, v, speed, TKE, flux
PREDICTED = slice(BASE_COUNT, KNOWN_COUNT)  # the fields and dwdz
PREDICTED_CHANNELS = range(KNOWN_COUNT)[PREDICTED]

FLUX_Y = KNOWN_COUNT  # the first hidden channel: the rule's guess of <v'w'>, which no data set has
VECTORS = ((WIND_X, WIND_Y), (U, V), (FLUX, FLUX_Y))  # pairs of x and y components


def split_base(state: Tensor, base_count: int = BASE_COUNT) -> tuple[Tensor, Tensor]:
    """Split a state into its base channels and the rest.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)
    base_count : int
        Number of base channels, which come first.

    Returns
    -------
    base : Tensor of shape (B, base_count, H, W)
    others : Tensor of shape (B, C - base_count, H, W)
    """
    return state[:, :base_count], state[:, base_count:]


def fresh_states(cases: Tensor, channels: int = STATE_COUNT) -> Tensor:
    """Return states with the base channels of the cases and zeros in all other channels.

    Parameters
    ----------
    cases : Tensor of shape (N, >= 6, H, W)
        Only channels 0-5 are used.
    channels : int
        Number of channels C of the states.

    Returns
    -------
    Tensor of shape (N, C, H, W)
    """
    states = cases.new_zeros(len(cases), channels, *cases.shape[-2:])
    states[:, BASE] = cases[:, BASE]
    return states
