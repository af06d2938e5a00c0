"""The neural cellular automaton: *perceive* the neighbourhood, then *update* the cell.

One step of the rule, for the state s of shape (B, C, H, W) on a periodic grid:

    p = [s, Sobel_x * s, Sobel_y * s, Laplacian * s]     perceive, (B, 4 C, H, W)
    d = W2 relu(W1 p + b1)                               update,   (B, C, H, W)
    s <- s + air * d        on the channels that the rule may write (6 and up)

where air is 1, or 0 in a building, and the filters are applied channel by channel. With 24 channels
and 96 hidden units it has 11,616 parameters; with 12 channels, 5,856. A rule may

- measure each channel, and what each filter gives of it, in a unit of its size;
- keep the bounds that a mean flow obeys, and its memory within -3…3: it then ends a step with
  s <- bounded(s);
- follow the wind: it then sees along and across the driving wind in place of along x and y, and no
  coordinates. What it perceives is turned into the frame of the wind; there it adds the mean of
  what it makes of a city and, mirrored back, of its mirror image across the wind,

      d = (f(p) + M f(M p)) / 2,    f(p) = W2 relu(W1 p + b1)

  which is turned back into the frame of the grid;
- work on wider cells: it then sees blocks of cells as one cell each, whose air is their share of
  air, and what is added to a block is added to every cell of it in air.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinca_lib.automaton.coarse import in_blocks, spread
from pinca_lib.automaton.wind_frame import (
    heading,
    mirrored,
    mirrored_perception,
    reverse,
    rotated,
    rotated_perception,
)
from pinca_lib.channels import (
    BASE_COUNT,
    COORD_X,
    DWDZ,
    DYNAMIC,
    FIELDS,
    FLUX_Y,
    GEO_MASK,
    KNOWN_COUNT,
    STATE_COUNT,
    split_base,
)
from pinca_lib.physics import realisable

IDENTITY = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
SOBEL_X = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])  # 8 dx d/dx
LAPLACIAN = torch.tensor([[1.0, 2.0, 1.0], [2.0, -12.0, 2.0], [1.0, 2.0, 1.0]])
FILTERS = torch.stack([IDENTITY, SOBEL_X, SOBEL_X.T, LAPLACIAN])  # (4, 3, 3)
GAINS = FILTERS.flatten(1).norm(dim=1)  # of the filters, for noise: 1, 3.5, 3.5, 12.8

HIDDEN_LIMIT = 3.0  # of the hidden channels of a rule with bounds


@cache
def filters_on(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ``FILTERS`` and ``GAINS`` there. Copied in every step, they would hold up a GPU."""
    with torch.inference_mode(False):  # else no gradient could ever flow past them
        return FILTERS.to(device, dtype), GAINS.to(device, dtype)


def perceive(state: Tensor) -> Tensor:
    """Apply the four fixed filters to every channel, with periodic edges.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)

    Returns
    -------
    Tensor of shape (B, 4 C, H, W)
        Channel-major: entry 4 c + f is filter f of channel c.
    """
    batch, channels, height, width = state.shape
    planes = state.reshape(batch * channels, 1, height, width)
    planes = F.pad(planes, [1, 1, 1, 1], mode="circular")
    filters, _ = filters_on(state.device, state.dtype)
    filtered = F.conv2d(planes, filters[:, None])  # (B C, 4, H, W)
    return filtered.reshape(batch, channels * len(FILTERS), height, width)


class CA(nn.Module):
    """The rule. A new one is the identity, because its last layer starts at zero.

    Parameters
    ----------
    channels : int
        Channels C of the state.
    hidden : int
        Width of the hidden layer.
    units : Tensor of shape (C,), optional
        The size of each channel, which the layers see as 1, through any of the filters (their
        ``GAINS`` are divided out); without it, all see SI units. Building heights are 10^4 times
        as large as momentum fluxes: without units, training is blind to the small ones.
    alpha : float, optional
        Keep the bounds of the mean flow in every cell and step, |<u'w'>| <= alpha TKE among them,
        and those of the memory (``bounded``).
    follows_wind : bool
        See along and across the driving wind, and both sides alike: a city turned with its wind,
        or mirrored, has the same flow, turned or mirrored, on grids of whole cells of the rule,
        but for the bound of the flux, which is on its x component alone. That takes data whose
        wind, v and rows agree on what is up, and a channel of its own for <v'w'>: at least 13.
    scale : int
        Width of the rule's cells, in cells of the state: what it perceives reaches so many times
        as far in a step.

    Attributes
    ----------
    cells : (float, float) or None
        Least and largest side of the cells that it was trained on, m; ``load_rule`` sets it.
    tallest : float or None
        Height of the tallest building that it was trained on, m; likewise.

    Notes
    -----
    The layers' names and shapes, ``w1.weight`` (hidden, 4 C, 1, 1), ``w1.bias`` (hidden) and
    ``w2.weight`` (C, hidden, 1, 1), are those of the checkpoints of the original experiment.
    Rows 0-5 of ``w2`` are never used, since the base channels never change.
    """

    def __init__(
        self,
        channels: int = STATE_COUNT,
        hidden: int = 96,
        units: Tensor | None = None,
        alpha: float | None = None,
        follows_wind: bool = False,
        scale: int = 1,
    ):
        if follows_wind and channels <= FLUX_Y:
            raise ValueError(f"{channels} channels: a rule that follows the wind needs 13 or more")
        if alpha is not None and channels < FIELDS.stop:
            raise ValueError(f"{channels} channels: a rule with bounds needs 11 or more")
        super().__init__()
        self.w1 = nn.Conv2d(channels * len(FILTERS), hidden, kernel_size=1)
        self.w2 = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)
        nn.init.zeros_(self.w2.weight)
        self.cells: tuple[float, float] | None = None
        self.tallest: float | None = None
        self.register_buffer("units", units)
        self.register_buffer("alpha", None if alpha is None else torch.tensor(float(alpha)))
        self.register_buffer("_follows_wind", torch.tensor(1) if follows_wind else None)
        self.register_buffer("_scale", None if scale == 1 else torch.tensor(int(scale)))

    @property
    def channels(self) -> int:
        """Channels C of the states that the rule works on."""
        return self.w2.out_channels

    @property
    def follows_wind(self) -> bool:
        """Whether the rule sees along and across the driving wind."""
        return self._follows_wind is not None

    @property
    def scale(self) -> int:
        """Width of the rule's cells, in cells of the state."""
        return 1 if self._scale is None else int(self._scale)

    def layers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return W1 (hidden, C, 4), b1 (hidden,) and W2 (C, hidden) of a step in SI units."""
        w1, w2 = self.w1.weight.view(-1, self.channels, len(FILTERS)), self.w2.weight[:, :, 0, 0]
        if self.units is not None:
            _, gains = filters_on(w1.device, w1.dtype)
            w1, w2 = w1 / (self.units[:, None] * gains), w2 * self.units[:, None]
        if self.follows_wind:
            w1 = w1 * (torch.arange(self.channels, device=w1.device) > COORD_X)[:, None]
        return w1, self.w1.bias, w2

    def update(self, perception: Tensor) -> Tensor:
        """Turn what a cell perceives, (B, 4 C, H, W), into its increment, (B, C, H, W)."""
        w1, bias, w2 = self.layers()
        hidden = torch.relu(F.conv2d(perception, w1.flatten(1)[:, :, None, None], bias))
        return F.conv2d(hidden, w2[:, :, None, None])

    def update_along(self, wind: Tensor, perception: Tensor) -> Tensor:
        """Do what ``update`` does in the frame of winds (B, 2), to a city and its mirror image."""
        seen = rotated_perception(perception.unflatten(1, (-1, len(FILTERS))), reverse(wind), 1)
        image = mirrored_perception(seen, 1)
        own, images = self.update(seen.flatten(1, 2)), self.update(image.flatten(1, 2))
        return rotated((own + mirrored(images, 1)) / 2, wind, 1)

    def forward(self, state: Tensor) -> Tensor:
        """Advance a state of shape (B, C, H, W) by one step."""
        (base, dynamic), air = split_base(state), state[:, GEO_MASK, None]
        own = in_blocks(state, self.scale)
        seen = perceive(own)
        follows = self.follows_wind
        increment = self.update_along(heading(base), seen) if follows else self.update(seen)
        increment = own[:, GEO_MASK, None] * increment[:, DYNAMIC]
        dynamic = dynamic + (air > 0) * spread(increment, self.scale, air.shape[-2:])
        if self.alpha is not None:
            dynamic = bounded(dynamic, air, float(self.alpha))
        return torch.cat([base, dynamic], dim=1)


def bounded(dynamic: Tensor, air: Tensor, alpha: float) -> Tensor:
    """Bound dynamic channels, (B, C - 6, H, W), in air: realisable fields, limited memory.

    The derivative of the fields is taken as that of the identity; where the memory is at
    ``HIDDEN_LIMIT`` or was beyond, it is zero, so that neither state nor gradient can grow without
    end.
    """
    predicted, memory = split_base(dynamic, KNOWN_COUNT - BASE_COUNT)
    fields, dwdz = split_base(predicted, DWDZ - BASE_COUNT)
    kept = torch.where(air > 0, realisable(fields.detach(), alpha), fields.detach())
    is_full = (air > 0) & (memory.abs() >= HIDDEN_LIMIT)
    memory = torch.where(is_full, memory.detach().clamp(-HIDDEN_LIMIT, HIDDEN_LIMIT), memory)
    return torch.cat([kept + (fields - fields.detach()), dwdz, memory], dim=1)
