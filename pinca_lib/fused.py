"""Steps of rules as kernels of an NVIDIA GPU, for what no gradient flows through.

One kernel filters, applies both layers, adds and bounds; what a cell perceives and its hidden layer
never leave the chip, and where there is room the layers' weights stay on it from cell to cell.
Products of float32 are made of three of TF32, which the tensor cores have from Ampere on; what is
lost is a few roundings of float32. Triton compiles it; PyTorch for CUDA brings Triton along on
Linux.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import FILTERS
from pinca_lib.blocks import block_sums
from pinca_lib.errors import first_line
from pinca_lib.tensorcores import spread_and_add, step

CELLS = 64  # of a program at a time: a tensor core's widest product
UNITS = 64  # hidden units at a time
PART = 4  # channels at a time: 16 numbers perceived, the least that a product takes
SCRATCH = 24 * 2**10  # bytes that a program needs beside the weights
LEAST_GRAPHED = 16  # steps from which a graph of launches repays its making
TOLERANCE = 1e-5  # relative; of TF32 alone it would be some 1e-3


@dataclass(frozen=True)
class Rule:
    """A rule over some cities, its layers in two parts: as TF32 has them, and what is left over."""

    first: Tensor  # (G, 2, PADDED, 4 STRIDE)
    second: Tensor  # (G, 2, TILE, PADDED)
    constant: Tensor  # (B, N, H, W), channels-last
    air: Tensor  # (B, H, W) of its cells, 0 to 1
    city_air: Tensor  # (B, 1, H, W) of the state's cells, 0 or 1
    shares: Tensor  # of the air of its cell that each cell of the state holds
    scale: int
    alpha: float  # -1: no bounds

    @classmethod
    def over(
        cls,
        layers: tuple[Tensor, Tensor, Tensor],
        air: Tensor,
        city: tuple[Tensor, Tensor],
        scale: int = 1,
        alpha: float | None = None,
    ) -> "Rule":
        """Bring a rule to the form of the kernels.

        Parameters
        ----------
        layers : (G, N, D, 4), (G, D, N), (B, N, h, w)
            What each hidden unit takes of the filtered dynamic channels, what those take of it, and
            what base channels and bias add to it; G is B, or 1.
        air : Tensor of shape (B, 1, h, w)
            Of the rule's cells, 0 to 1.
        city : (B, 1, H, W), (B, 1, H, W)
            Air of the state's cells, and their shares of that of their block (``blocks``).
        scale, alpha
            As of ``CA``.
        """
        first, second, constant = layers
        channels, hidden = second.shape[1:]
        more = -hidden % 32
        tile = triton.next_power_of_2(max(channels, 16))
        first = F.pad(first, [0, 0, 0, -channels % PART, 0, more]).flatten(2)
        return cls(
            _in_two(first),
            _in_two(F.pad(second, [0, more, 0, tile - channels])),
            constant.contiguous(memory_format=torch.channels_last),
            air[:, 0].contiguous(),
            city[0].float().contiguous(),
            city[1],
            scale,
            -1.0 if alpha is None else alpha,
        )

    def apply(self, own: Tensor, new: Tensor, channels: int) -> None:
        """Advance ``own`` (B, H, W, STRIDE), of so many channels, by a step, into ``new``."""
        if self.scale == 1:
            return self._launch(own, new, channels)
        means = block_sums(self.shares * own.movedim(-1, 1), self.scale).movedim(1, -1).contiguous()
        increments = torch.empty_like(means)
        self._launch(means, increments, channels)
        batch, height, width, stride = own.shape
        spread_and_add[triton.cdiv(height * width, CELLS), batch](
            own, new, increments, self.city_air, height, width, *means.shape[1:3], self.scale,
            CHANNELS=channels, STRIDE=stride, TILE=self.second.shape[2], CELLS=CELLS,
            ALPHA=self.alpha,
        )  # fmt: skip

    def _launch(self, own: Tensor, new: Tensor, channels: int) -> None:
        batch, height, width, stride = own.shape
        programs, room = _capacity(own.device)
        stays = self.first[0].nbytes + self.second[0].nbytes + SCRATCH <= room
        tiles = triton.cdiv(height * width, CELLS)
        step[min(tiles, max(1, programs // batch)) if stays else tiles, batch](
            own, new, self.constant, self.first, self.second, self.air,
            height, width, int(len(self.first) > 1),
            CHANNELS=channels, STRIDE=stride, HIDDEN=self.constant.shape[1],
            PADDED=self.first.shape[2], TILE=self.second.shape[2], CELLS=CELLS, UNITS=UNITS,
            PART=PART, STAYS=stays, ADDS=self.scale == 1, ALPHA=self.alpha, num_stages=1,
        )  # fmt: skip


def _in_two(weights: Tensor) -> Tensor:
    large = (weights.contiguous().view(torch.int32) & -8192).view(torch.float32)
    return torch.stack([large, weights - large], dim=1).contiguous()


@cache
def _capacity(device: torch.device) -> tuple[int, int]:
    """Return how many programs run at once, two a multiprocessor, and the memory of each."""
    if device.type != "cuda":  # interpreted
        return 2, 2**17
    about = torch.cuda.get_device_properties(device)
    return 2 * about.multi_processor_count, about.shared_memory_per_multiprocessor // 2 - 1024


def advance(dynamic: Tensor, rules: Sequence[Rule], steps: int) -> Tensor:
    """Apply rules in turn for some steps to dynamic channels (B, D, H, W); return them so."""
    batch, channels, height, width = dynamic.shape
    states = dynamic.new_zeros(2, batch, height, width, triton.cdiv(channels, PART) * PART)
    states[0, ..., :channels] = dynamic.movedim(1, -1)

    def turn(times: int) -> int:
        for number in range(times * len(rules)):
            own, new = states[number % 2], states[1 - number % 2]
            rules[number % len(rules)].apply(own, new, channels)
        return times * len(rules) % 2

    with torch.cuda.device_of(dynamic):
        if dynamic.is_cuda and steps >= LEAST_GRAPHED:
            turn(2)  # which compiles
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")
                turn(2)
                graph.capture_end()
            torch.cuda.current_stream().wait_stream(stream)
            for _ in range(steps // 2 - 1):
                graph.replay()
            steps %= 2
        side = turn(steps)
    return states[side, ..., :channels].movedim(-1, 1)


def runs_on(state: Tensor, channels: int, hidden: int) -> bool:
    """Return whether the kernels are for states (B, C, H, W) like this: float32, a GPU with TF32.

    They are tried once for each number of dynamic channels and of hidden units.
    """
    is_known = state.is_cuda and torch.version.hip is None and state.dtype == torch.float32
    has_tf32 = is_known and torch.cuda.get_device_capability(state.device) >= (8, 0)
    return has_tf32 and _works(state.device, channels, hidden)


@cache
def _works(device: torch.device, channels: int, hidden: int) -> bool:
    """Compare a rollout with plain PyTorch; Triton wants a C compiler and a GPU that it knows."""
    random = torch.Generator().manual_seed(0)
    first, second, constant, own = (
        torch.randn(shape, generator=random).to(device)
        for shape in ((hidden, channels, 4), (channels, hidden), (hidden, 5, 7), (channels, 5, 7))
    )
    first, second = first / channels, 0.1 * second / hidden
    kernel = torch.einsum("hcf,fij->hcij", first, FILTERS.to(device))
    expected = own = own[None]
    try:
        with torch.backends.cudnn.flags(allow_tf32=False):
            for _ in range(LEAST_GRAPHED):
                seen = F.pad(expected, [1, 1, 1, 1], mode="circular")
                active = torch.relu(F.conv2d(seen, kernel) + constant)
                expected = expected + F.conv2d(active, second[..., None, None])
        air = torch.ones_like(own[:, :1])
        rule = Rule.over((first[None], second[None], constant[None]), air, (air, air))
        found = advance(own, [rule], LEAST_GRAPHED)
        if (error := ((found - expected).norm() / expected.norm()).item()) < TOLERANCE:
            return True
        reason = f"it is off by {error:.1g} of plain PyTorch's result"
    except Exception as error:  # of Triton, of a compiler, of the driver: all have their own
        reason = first_line(error)
    warnings.warn(f"no kernel for {device} ({reason}): plain PyTorch, slower", stacklevel=3)
    return False
