"""The neural cellular automaton: *perceive* the neighbourhood, then *update* the cell.

The state s has shape (B, C, H, W) on a periodic grid. One step of the rule is

    p = [s, Sobel_x * s, Sobel_y * s, Laplacian * s]     perceive, (B, 4 C, H, W)
    d = f(p) = W2 relu(W1 p + b1)                        update,   (B, C, H, W)
    s <- s + air d                                       on the dynamic channels (6 and up)

where ``*`` applies a 3×3 filter to each channel separately, and air is 1 in air and 0 in buildings.
W1, b1 and W2 are the same for all cells. With 24 channels and 96 hidden units the rule has 11,616
parameters; with 12 channels it has 5,856. The design follows Mordvintsev et al. 2020, "Growing
Neural Cellular Automata".

Four options extend the step:

- **Natural units** (``units``). The layers see each channel in units of its own size, and each
  filter's output divided by the norm of the filter. The increment d is scaled back.
- **Bounds** (``alpha``). The step ends with s <- bounded(s): speed, TKE and flux are projected onto
  the bounds of a mean flow, and the hidden channels are limited to -3…3.
- **Wind frame** (``follows_wind``). The rule sees axes along and across the driving wind in place
  of x and y, and no coordinates. Let R rotate from the grid to the wind frame, and let M mirror,
  that is, swap the left and right side of the wind. The update is the mean over both sides:

      d = R⁻¹ (f(R p) + M f(M R p)) / 2

- **Coarse cells** (``scale``). The rule sees blocks of scale × scale cells as one cell each; its
  air is the mean of the mask over the block. All air cells of a block get the same increment.
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
GAINS = FILTERS.flatten(1).norm(dim=1)  # by which they amplify white noise: 1, 3.5, 3.5, 12.8

HIDDEN_LIMIT = 3.0  # largest absolute value of a hidden channel, in a rule with bounds


@cache
def filters_on(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ``FILTERS`` and ``GAINS`` on a device. Copying them in every step stalls a GPU."""
    with torch.inference_mode(False):  # cached inference tensors would break later gradients
        return FILTERS.to(device, dtype), GAINS.to(device, dtype)


def perceive(state: Tensor) -> Tensor:
    """Apply the four fixed filters to every channel, with periodic edges.

    Parameters
    ----------
    state : Tensor of shape (B, C, H, W)

    Returns
    -------
    Tensor of shape (B, 4 C, H, W)
        Entry 4 c + f is filter f of channel c.
    """
    batch, channels, height, width = state.shape
    planes = state.reshape(batch * channels, 1, height, width)
    planes = F.pad(planes, [1, 1, 1, 1], mode="circular")
    filters, _ = filters_on(state.device, state.dtype)
    filtered = F.conv2d(planes, filters[:, None])  # (B C, 4, H, W)
    return filtered.reshape(batch, channels * len(FILTERS), height, width)


class CA(nn.Module):
    """The rule. A new rule changes nothing, because its second layer starts at zero.

    Parameters
    ----------
    channels : int
        Number of channels C of the state.
    hidden : int
        Number of hidden units.
    units : Tensor of shape (C,), optional
        Size of each channel in SI units, by which the layers divide what they see. The ``GAINS``
        of the filters are divided out, too. The default is SI units; in these, building heights
        are 10^4 times as large as momentum fluxes, and training does not see the small channels.
    alpha : float, optional
        Bound of |<u'w'>| / TKE. If given, every step ends with ``bounded``.
    follows_wind : bool
        Use the wind frame. If a city is rotated or mirrored together with its wind, the flow is
        rotated or mirrored with it. This holds on grids whose sides are multiples of ``scale``,
        except that ``alpha`` bounds only the x component of the flux. The data must agree on the
        signs of the driving wind, v and the row order. <v'w'> needs a channel: C >= 13.
    scale : int
        Width of a coarse cell, in cells of the state. In one step a rule sees ``scale`` times as
        far as on the cells of the state.

    Attributes
    ----------
    cells : (float, float) or None
        Smallest and largest side of the cells in the training data, m. ``load_rule`` sets it.
    tallest : float or None
        Height of the tallest building in the training data, m. ``load_rule`` sets it.

    Raises
    ------
    ValueError
        If there are too few channels for ``follows_wind`` (13) or ``alpha`` (11).

    Notes
    -----
    The names and shapes of the layers are those of the checkpoints of the original experiment:
    ``w1.weight`` (hidden, 4 C, 1, 1), ``w1.bias`` (hidden,) and ``w2.weight`` (C, hidden, 1, 1).
    Rows 0-5 of ``w2`` are never used, because the base channels never change.
    """

    units: Tensor | None
    alpha: Tensor | None
    _follows_wind: Tensor | None
    _scale: Tensor | None

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
            raise ValueError(
                f"channels={channels}: a rule in the wind frame needs {FLUX_Y + 1} or more"
            )
        if alpha is not None and channels < FIELDS.stop:
            raise ValueError(f"channels={channels}: a rule with bounds needs {FIELDS.stop} or more")
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
        """Number of channels C of a state."""
        return self.w2.out_channels

    @property
    def follows_wind(self) -> bool:
        """Whether the rule uses the wind frame."""
        return self._follows_wind is not None

    @property
    def scale(self) -> int:
        """Width of a coarse cell, in cells of the state."""
        return 1 if self._scale is None else int(self._scale)

    def layers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return W1 (hidden, C, 4), b1 (hidden,) and W2 (C, hidden) for a state in SI units."""
        w1 = self.w1.weight.view(-1, self.channels, len(FILTERS))
        b1, w2 = self.w1.bias, self.w2.weight[:, :, 0, 0]
        assert b1 is not None
        if self.units is not None:
            _, gains = filters_on(w1.device, w1.dtype)
            w1, w2 = w1 / (self.units[:, None] * gains), w2 * self.units[:, None]
        if self.follows_wind:  # no coordinates
            w1 = w1 * (torch.arange(self.channels, device=w1.device) > COORD_X)[:, None]
        return w1, b1, w2

    def update(self, perception: Tensor) -> Tensor:
        """Return the increment (B, C, H, W) of cells that perceive (B, 4 C, H, W)."""
        w1, b1, w2 = self.layers()
        hidden = torch.relu(F.conv2d(perception, w1.flatten(1)[:, :, None, None], b1))
        return F.conv2d(hidden, w2[:, :, None, None])

    def update_in_wind_frame(self, perception: Tensor, wind: Tensor) -> Tensor:
        """Return the mean increment of a city and its mirror image, for a wind (B, 2)."""
        seen = rotated_perception(perception.unflatten(1, (-1, len(FILTERS))), reverse(wind), 1)
        seen_in_mirror = mirrored_perception(seen, 1)  # both (B, C, 4, H, W)
        increment = self.update(seen.flatten(1, 2))
        increment_in_mirror = self.update(seen_in_mirror.flatten(1, 2))
        return rotated((increment + mirrored(increment_in_mirror, 1)) / 2, wind, 1)

    def forward(self, state: Tensor) -> Tensor:
        """Advance a state of shape (B, C, H, W) by one step."""
        base, dynamic = split_base(state)
        air = state[:, GEO_MASK, None]  # (B, 1, H, W)
        cells = in_blocks(state, self.scale)  # (B, C, H / scale, W / scale)
        perception = perceive(cells)
        if self.follows_wind:
            increment = self.update_in_wind_frame(perception, heading(base))
        else:
            increment = self.update(perception)
        increment = cells[:, GEO_MASK, None] * increment[:, DYNAMIC]
        dynamic = dynamic + (air > 0) * spread(increment, self.scale, air.shape[-2:])
        if self.alpha is not None:
            dynamic = bounded(dynamic, air, float(self.alpha))
        return torch.cat([base, dynamic], dim=1)


def bounded(dynamic: Tensor, air: Tensor, alpha: float) -> Tensor:
    """Project fields onto their bounds and limit hidden channels, in air.

    The gradient of the fields is that of the identity (straight-through), because a clamp has no
    gradient where it acts. The gradient of a hidden channel is zero at or beyond ``HIDDEN_LIMIT``.
    So neither the state nor the gradient can grow without limit.

    Parameters
    ----------
    dynamic : Tensor of shape (B, C - 6, H, W)
        Dynamic channels.
    air : Tensor of shape (B, 1, H, W)
        Air mask; buildings are 0.
    alpha : float
        Bound of |<u'w'>| / TKE.

    Returns
    -------
    Tensor of shape (B, C - 6, H, W)
    """
    predicted, hidden_channels = split_base(dynamic, KNOWN_COUNT - BASE_COUNT)
    fields, dwdz = split_base(predicted, DWDZ - BASE_COUNT)
    projected = torch.where(air > 0, realisable(fields.detach(), alpha), fields.detach())
    fields = projected + (fields - fields.detach())
    is_limited = (air > 0) & (hidden_channels.abs() >= HIDDEN_LIMIT)
    limited = hidden_channels.detach().clamp(-HIDDEN_LIMIT, HIDDEN_LIMIT)
    hidden_channels = torch.where(is_limited, limited, hidden_channels)
    return torch.cat([fields, dwdz, hidden_channels], dim=1)
