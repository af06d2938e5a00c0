"""Steps of rules as kernels of an NVIDIA GPU, for what no gradient flows through.

One kernel filters, applies both layers, adds and bounds; what a cell perceives and its hidden layer
never leave the chip, on which the layers' weights stay from cell to cell. Products of float32 are
made of three of TF32, which the tensor cores have from Ampere on; what is lost is a few roundings
of float32. The kernels are in ``tensorcores.cu``; NVRTC, which comes with PyTorch for CUDA on Linux
and Windows, compiles them as they are needed.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from cuda.bindings import driver
from cuda.core import (
    Device,
    Kernel,
    LaunchConfig,
    ObjectCode,
    Program,
    ProgramOptions,
    Stream,
    launch,
)
from torch import Tensor
from torch.nn import functional as F

from pinca_lib.automaton import CA, FILTERS, MEMORY_LIMIT
from pinca_lib.blocks import block_means
from pinca_lib.channels import BASE, BASE_COUNT, DYNAMIC, GEO_MASK, KNOWN_COUNT
from pinca_lib.errors import first_line
from pinca_lib.frames import halves, heading
from pinca_lib.physics import ALPHA, MARGIN

SOURCE = Path(__file__).with_name("tensorcores.cu")
PART, TILE = 4, 8  # slots that are perceived at a time; hidden units, and slots that are written
MOST_UNITS = 12  # tiles of hidden units of a chunk, whose sums fill a thread's registers
THREADS = 256  # of a block, of which a multiprocessor has one
CELLS = 256  # of a block, where each thread has its own
CONSTANTS = {"MARGIN": MARGIN, "MEMORY_LIMIT": f"{MEMORY_LIMIT}f", "THREADS": THREADS}
TRIAL_STEPS = 4
TOLERANCE = 1e-5  # relative; of TF32 alone it would be some 1e-3


@dataclass(frozen=True)
class Layout:
    """Where the weights of a kind of rule are for the kernels, and the channels that it takes.

    Attributes
    ----------
    weights : Tensor of shape (chunks, N)
        Which of a rule's W1 (hidden, C, 4), b1 (hidden,), W2 (C, hidden) and a last 0, in a row,
        goes where: for each chunk of hidden units the bias, and what lanes bring to a product, two
        numbers each: of the first layer by what is perceived, of the second by hidden units.
    seen : Tensor of shape (slots,), int32
        The channels that are perceived, by halves. Where there is none, it is the mask.
    written : Tensor of shape (slots,), int32
        Those that are written; C for none.
    parts, tiles : (int, int)
        How many ``PART``s are perceived, and how many ``TILE``s written, of each half.
    units : int
        Tiles of hidden units of a chunk.
    """

    weights: Tensor
    seen: Tensor
    written: Tensor
    parts: tuple[int, int]
    tiles: tuple[int, int]
    units: int


@cache
def _layout(channels: int, hidden: int, follows_wind: bool, device: torch.device) -> Layout:
    evens, odds = halves(channels, slice(None)) if follows_wind else (list(range(channels)), [])
    evens, odds = (half + [channels] * (-len(half) % PART) for half in (evens, odds))
    written = [half + [channels] * (-len(half) % TILE) for half in halves(channels, DYNAMIC)]
    chunks = -(-hidden // (TILE * MOST_UNITS))
    units = -(-hidden // (TILE * chunks))

    filters = len(FILTERS)
    w1, bias, w2, (none,) = torch.arange(hidden * (channels * (filters + 1) + 1) + 1).split(
        [hidden * channels * filters, hidden, hidden * channels, 1]
    )
    rows = [0, chunks * units * TILE - hidden]
    w1 = F.pad(w1.view(hidden, channels, filters), [0, 0, 0, 1, *rows], value=none)
    bias = F.pad(bias, rows, value=none)
    w2 = F.pad(w2.view(channels, hidden).T, [0, 1, *rows], value=none)

    def block(slots: list[int], one: int, others: list[int], other: int) -> Tensor:
        pairs = torch.stack([w1[:, slots, one], w1[:, others, other]], dim=-1)
        return pairs.reshape(chunks, -1)

    own, along, across, laplacian = range(filters)
    parts = [bias.view(chunks, -1)]
    for start in range(0, len(evens), PART):
        even, odd = (half[start : start + PART] for half in (evens, odds))
        beside = (odd or [channels] * PART) if follows_wind else even
        parts += [block(even, own, even, along), block(even, laplacian, beside, across)]
        if odd:
            parts.append(block(odd, own, odd, along))
        if follows_wind:
            parts.append(block(beside, laplacian, even, across))
    second = w2[:, written[0] + written[1]].view(chunks, units, TILE // 2, 2, -1, TILE)
    parts.append(second.permute(0, 1, 4, 5, 2, 3).flatten(1))
    seen = [c if c < channels else GEO_MASK for c in evens + odds]
    return Layout(
        torch.cat(parts, dim=1).to(device),
        torch.tensor(seen, dtype=torch.int32, device=device),
        torch.tensor(written[0] + written[1], dtype=torch.int32, device=device),
        (len(evens) // PART, len(odds) // PART),
        (len(written[0]) // TILE, len(written[1]) // TILE),
        units,
    )


@dataclass(frozen=True)
class Rule:
    """A rule over some cities.

    Attributes
    ----------
    weights : Tensor of shape (chunks, N)
        Its layers, as ``Layout`` has them.
    winds : Tensor of shape (B, 2), or None
        The ``heading`` of the cities, if it follows that.
    alpha : Tensor, scalar, or None
        As in ``CA``.
    scale : int
        As in ``CA``.
    layout : Layout
    means : Tensor of shape (B, C, h, w), or None
        What its cells hold, base channels already, if they are wider than the state's.
    added : Tensor of shape (chunks, B, C, h, w), or None
        Room for what chunks of hidden units add to its cells, if there are several chunks, or
        wider cells.
    """

    weights: Tensor
    winds: Tensor | None
    alpha: Tensor | None
    scale: int
    layout: Layout
    means: Tensor | None
    added: Tensor | None

    @classmethod
    def over(cls, rule: CA, state: Tensor, winds: Tensor | None) -> "Rule":
        """Bring a rule over the cities of states (B, C, H, W) to the form of the kernels."""
        (w1, bias, w2), scale = rule.layers(), rule.scale
        layout = _layout(rule.channels, len(w1), rule.follows_wind, state.device)
        w2 = w2 / 2 if rule.follows_wind else w2
        weights = torch.cat([w1.flatten(), bias, w2.flatten(), bias.new_zeros(1)])[layout.weights]
        means = added = None
        if scale > 1:
            room = [0, 0, 0, 0, 0, rule.channels - BASE_COUNT]
            means = F.pad(block_means(state[:, BASE], scale), room)
        if scale > 1 or len(weights) > 1:
            added = state.new_empty(len(weights), *(state if means is None else means).shape)
        return cls(weights, winds, rule.alpha, scale, layout, means, added)

    def launches(self, own: Tensor, new: Tensor) -> list[Callable[[], None]]:
        """Return the kernels that advance states (B, C, H, W) into ``new``, of the same cities."""
        if self.added is None:
            return [self._step(own, new)]
        batch, channels, height, width = own.shape
        shape = channels, height, width, self.scale
        launches = [self._step(own if self.means is None else self.means, self.added)]
        if self.means is not None:
            cells = math.prod(self.means.shape[2:])
            grid = -(-cells // CELLS), channels - BASE_COUNT, batch
            launches.insert(0, launched("average", grid, CELLS, 0, own, self.means, *shape))
        grid, chunks = (-(-height * width // CELLS), 1, batch), len(self.added)
        given = own, new, self.added, chunks, *shape, self.alpha
        return [*launches, launched("spread", grid, CELLS, 0, *given)]

    def _step(self, own: Tensor, new: Tensor) -> Callable[[], None]:
        about, (chunks, count) = self.layout, self.weights.shape
        adds = "false" if new is self.added else "true"
        name = "step<{}, {}, {}, {}, {}, {}>".format(*about.parts, about.units, *about.tiles, adds)
        given = own, new, self.weights, self.winds, about.seen, about.written, *own.shape
        grid = _multiprocessors(own.device), chunks, 1
        return launched(name, grid, THREADS, 4 * count, *given, self.alpha)


def launched(
    name: str, grid: tuple[int, int, int], threads: int, shared: int, *given: Tensor | int | None
) -> Callable[[], None]:
    """Return what launches a kernel, compiled, on what it is given; None is a null pointer."""
    device = given[0].device
    values = [arg.data_ptr() if isinstance(arg, Tensor) else arg or 0 for arg in given]
    stream = Stream.from_handle(torch.cuda.current_stream(device).cuda_stream)
    config = LaunchConfig(grid=grid, block=threads, shmem_size=shared)
    return partial(launch, stream, config, _kernel(name, device, shared), *values)


def compiled(name: str, architecture: str) -> ObjectCode:
    """Compile a kernel for GPUs of an architecture, ``"sm_90"`` say."""
    options = ProgramOptions(
        arch=architecture,
        std="c++17",
        device_as_default_execution_space=True,
        define_macro=[(name, str(value)) for name, value in CONSTANTS.items()],
    )
    program = Program(SOURCE.read_text(encoding="utf-8"), "c++", options)
    return program.compile("cubin", name_expressions=(name,))


@cache
def _kernel(name: str, device: torch.device, shared: int) -> Kernel:
    gpu = Device(device.index)
    gpu.set_current()
    kernel = compiled(name, f"sm_{gpu.arch}").get_kernel(name)
    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (result,) = driver.cuKernelSetAttribute(most, shared, kernel.handle, gpu.device_id)
    if result != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{shared} bytes of shared memory: {result.name}")
    return kernel


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


@torch.no_grad()
def advance(state: Tensor, rules: Sequence[CA], steps: int) -> Tensor:
    """Apply rules in turn for some steps to states (B, C, H, W); return what becomes of them."""
    winds = heading(state) if any(rule.follows_wind for rule in rules) else None
    prepared = [Rule.over(rule, state, winds) for rule in rules]
    own, new = state.clone(memory_format=torch.contiguous_format), state.contiguous().clone()
    turns = []
    for _ in range(2):  # after two, or two times as many, rules the same launches come again
        for rule in prepared:
            turns.append(rule.launches(own, new))
            own, new = new, own
    with torch.cuda.device_of(state):
        for number in range(steps * len(rules)):
            for kernel in turns[number % len(turns)]:
                kernel()
    return (own, new)[steps * len(rules) % 2]


def runs_on(state: Tensor, rule: CA) -> bool:
    """Return whether the kernels are for states (B, C, H, W) like this: float32, a GPU with TF32.

    They are tried once for each kind of rule.
    """
    is_known = state.is_cuda and torch.version.hip is None and state.dtype == torch.float32
    if not is_known or rule.channels < KNOWN_COUNT:
        return False
    is_bounded = rule.alpha is not None
    kind = rule.channels, rule.w1.out_channels, rule.follows_wind, rule.scale, is_bounded
    has_tf32 = torch.cuda.get_device_capability(state.device) >= (8, 0)
    return has_tf32 and _works(state.device, *kind)


@cache
def _works(
    device: torch.device,
    channels: int,
    hidden: int,
    follows_wind: bool,
    scale: int,
    is_bounded: bool,
) -> bool:
    """Compare a rollout with the rule itself."""
    random = torch.Generator().manual_seed(0)
    alpha = ALPHA if is_bounded else None
    rule = CA(channels, hidden, alpha=alpha, follows_wind=follows_wind, scale=scale)
    rule.requires_grad_(False)
    for weights, size in ((rule.w1.weight, 1 / channels), (rule.w2.weight, 0.1 / hidden)):
        weights.copy_(size * torch.randn(weights.shape, generator=random))
    rule = rule.to(device)
    state = torch.randn(1, channels, 5, 7, generator=random).to(device)
    state[:, GEO_MASK] = 1
    try:
        found, expected = advance(state, [rule], TRIAL_STEPS), state
        with torch.backends.cudnn.flags(allow_tf32=False):
            for _ in range(TRIAL_STEPS):
                expected = rule(expected)
        found, expected = found[:, DYNAMIC], expected[:, DYNAMIC]
        if (error := ((found - expected).norm() / expected.norm()).item()) < TOLERANCE:
            return True
        reason = f"it is off by {error:.1g} of the rule itself"
    except Exception as error:  # of a compiler, of the driver: all have their own
        reason = first_line(error)
    warnings.warn(f"no kernel for {device} ({reason}): plain PyTorch, slower", stacklevel=3)
    return False
