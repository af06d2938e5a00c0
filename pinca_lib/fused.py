"""What a rule adds to its cells, as one kernel of an NVIDIA GPU: filters and both layers.

Triton compiles it; PyTorch for CUDA brings Triton along on Linux. What a cell perceives and its
hidden layer never leave the chip: a step reads the dynamic channels and what the base channels add
to the hidden layer, and writes the increment. It records nothing for a gradient.
"""

import warnings
from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import FILTERS
from pinca_lib.errors import first_line

CELLS = 64  # of a program, which a tensor core's widest product wants
UNITS = 16  # hidden units at a time: with 32, registers spill
NARROWEST = 16  # channels of a tile; Triton's products want as many
TOLERANCE = 1e-5  # relative; of TF32 alone it would be some 1e-3


@triton.jit
def _near(own, y, x, width, channel, is_real, CHANNELS: tl.constexpr):
    return tl.load(own + ((y * width + x) * CHANNELS)[:, None] + channel, is_real, 0.0)


@triton.jit
def _increment(
    own, constant, first, second, air, found, height, width, layers_a_sample,
    CHANNELS: tl.constexpr, HIDDEN: tl.constexpr, TILE: tl.constexpr, PADDED: tl.constexpr,
    CELLS: tl.constexpr, UNITS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    size = height * width
    sample = tl.program_id(1).to(tl.int64)
    own += sample * size * CHANNELS
    found += sample * size * CHANNELS
    constant += sample * size * HIDDEN
    air += sample * size
    first += sample * layers_a_sample * (4 * TILE * PADDED)
    second += sample * layers_a_sample * (PADDED * TILE)

    cell, channel = tl.program_id(0) * CELLS + tl.arange(0, CELLS), tl.arange(0, TILE)[None, :]
    is_cell = cell < size
    is_real = is_cell[:, None] & (channel < CHANNELS)
    y, x = cell // width, cell % width
    left, right = (x + width - 1) % width, (x + 1) % width
    up, down = (y + height - 1) % height, (y + 1) % height

    # The filters of ``automaton``, from three rows of three: (CELLS, TILE) each.
    west = _near(own, up, left, width, channel, is_real, CHANNELS)
    centre = _near(own, up, x, width, channel, is_real, CHANNELS)
    east = _near(own, up, right, width, channel, is_real, CHANNELS)
    sobel_x, above = east - west, west + 2 * centre + east
    west = _near(own, down, left, width, channel, is_real, CHANNELS)
    centre = _near(own, down, x, width, channel, is_real, CHANNELS)
    east = _near(own, down, right, width, channel, is_real, CHANNELS)
    sobel_x, below = sobel_x + (east - west), west + 2 * centre + east
    west = _near(own, y, left, width, channel, is_real, CHANNELS)
    centre = _near(own, y, x, width, channel, is_real, CHANNELS)
    east = _near(own, y, right, width, channel, is_real, CHANNELS)
    sobel_x, sobel_y = sobel_x + 2 * (east - west), below - above
    laplacian = above + below + 2 * (west + 2 * centre + east) - 16 * centre

    increment = tl.zeros([CELLS, TILE], tl.float32)
    for start in range(0, PADDED, UNITS):
        unit = start + tl.arange(0, UNITS)[None, :]
        w1 = first + tl.arange(0, TILE)[:, None] * PADDED + unit
        w2 = second + (start + tl.arange(0, UNITS))[:, None] * TILE + channel
        place = constant + cell.to(tl.int64)[:, None] * HIDDEN + unit
        hidden = tl.load(place, is_cell[:, None] & (unit < HIDDEN), 0.0)
        hidden = tl.dot(centre, tl.load(w1), hidden, input_precision=PRECISION)
        hidden = tl.dot(sobel_x, tl.load(w1 + TILE * PADDED), hidden, input_precision=PRECISION)
        hidden = tl.dot(sobel_y, tl.load(w1 + 2 * TILE * PADDED), hidden, input_precision=PRECISION)
        hidden = tl.dot(
            laplacian, tl.load(w1 + 3 * TILE * PADDED), hidden, input_precision=PRECISION
        )
        hidden = tl.maximum(hidden, 0.0, propagate_nan=tl.PropagateNan.ALL)
        increment = tl.dot(hidden, tl.load(w2), increment, input_precision=PRECISION)
    increment *= tl.load(air + cell, is_cell, 0.0)[:, None]
    tl.store(found + (cell * CHANNELS)[:, None] + channel, increment, is_real)


@dataclass(frozen=True)
class Increment:
    """What a rule adds to some cities, as a function of the dynamic channels that it sees."""

    first: Tensor  # (G, 4, TILE, PADDED)
    second: Tensor  # (G, PADDED, TILE)
    constant: Tensor  # (B, N, H, W)
    air: Tensor  # (B, H, W)
    precision: str

    @classmethod
    def of(cls, first: Tensor, second: Tensor, constant: Tensor, air: Tensor) -> "Increment":
        """Bring the layers to the form of the kernel.

        Products of float32 are made of three of TF32 each where the tensor cores have it; what is
        lost is a few roundings of float32.

        Parameters
        ----------
        first : Tensor of shape (G, N, D, 4)
            What each hidden unit takes of the filtered dynamic channels; G is B, or 1.
        second : Tensor of shape (G, D, N)
        constant : Tensor of shape (B, N, H, W)
            What base channels and bias add to the hidden layer.
        air : Tensor of shape (B, 1, H, W)
            What the increments are times, 0 to 1.
        """
        channels, hidden = second.shape[1:]
        tile = triton.next_power_of_2(max(channels, NARROWEST))
        wider = [0, -hidden % UNITS, 0, tile - channels]
        has_tf32 = not first.is_cuda or torch.cuda.get_device_capability(first.device) >= (8, 0)
        return cls(
            F.pad(first.permute(0, 3, 2, 1), wider).contiguous(),
            F.pad(second, wider).mT.contiguous(),
            constant.contiguous(memory_format=torch.channels_last),
            air[:, 0].contiguous(),
            "tf32x3" if has_tf32 else "ieee",
        )

    def __call__(self, own: Tensor) -> Tensor:
        """Return the increment, (B, D, H, W) like the dynamic channels ``own``."""
        own = own.contiguous(memory_format=torch.channels_last)
        found = torch.empty_like(own)
        batch, channels, height, width = own.shape
        with torch.cuda.device_of(own):
            _increment[triton.cdiv(height * width, CELLS), batch](
                own, self.constant, self.first, self.second, self.air, found,
                height, width, int(len(self.first) > 1),
                CHANNELS=channels, HIDDEN=self.constant.shape[1],
                TILE=self.second.shape[2], PADDED=self.second.shape[1],
                CELLS=CELLS, UNITS=UNITS, PRECISION=self.precision, num_stages=1,
            )  # fmt: skip
        return found


def runs_on(state: Tensor, channels: int, hidden: int) -> bool:
    """Return whether the kernel is for states (B, C, H, W) like this: float32, an NVIDIA GPU.

    It is tried once for each number of dynamic channels and of hidden units.
    """
    is_known = state.is_cuda and torch.version.hip is None and state.dtype == torch.float32
    return is_known and _works(state.device, channels, hidden)


@cache
def _works(device: torch.device, channels: int, hidden: int) -> bool:
    """Compare the kernel with plain PyTorch; Triton wants a C compiler and a GPU that it knows."""
    random = torch.Generator().manual_seed(0)
    first, second, constant, own = (
        torch.randn(shape, generator=random).to(device)
        for shape in ((hidden, channels, 4), (channels, hidden), (hidden, 5, 7), (channels, 5, 7))
    )
    kernel = torch.einsum("hcf,fij->hcij", first, FILTERS.to(device))
    seen = F.conv2d(F.pad(own[None], [1, 1, 1, 1], mode="circular"), kernel) + constant
    expected = F.conv2d(torch.relu(seen), second[..., None, None])
    try:
        air = torch.ones_like(own[None, :1])
        found = Increment.of(first[None], second[None], constant[None], air)(own[None])
        if (error := ((found - expected).norm() / expected.norm()).item()) < TOLERANCE:
            return True
        reason = f"it is off by {error:.1g} of plain PyTorch's result"
    except Exception as error:  # of Triton, of a compiler, of the driver: all have their own
        reason = first_line(error)
    warnings.warn(f"no kernel for {device} ({reason}): plain PyTorch, slower", stacklevel=3)
    return False
