"""Figures of states, sample pools, losses, scores and speed, with buildings drawn in grey."""

import time
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from pinca_lib.channels import CHANNELS, FIELDS, GEO_MASK, KNOWN_COUNT, PREDICTED, SPEED, Channel
from pinca_lib.evaluation import ScaledPhysicsMetrics
from pinca_lib.training import Batch, SamplePool

BUILDING = "0.6"  # grey
DASHBOARD_EVERY = 5.0  # s
SCORE_LABELS = {
    "mae": "mean absolute error",
    "ssim": "structural similarity",
    "tke": "TKE bound",
    "flux": "flux bound",
    "speed": "speed bound",
    "continuity": "continuity",
    "mean": "mean of all six",
}
PHYSICS_LABELS = {
    "L_k_neg": "TKE bound (m²/s²)",
    "L_flux": "flux bound (m²/s²)",
    "L_u_bound": "speed bound (m/s)",
    "L_continuity": "continuity, squared (1/s²)",
}


def describe(channel: int) -> Channel:
    """Return name, label and unit of a channel; hidden channels have their number as label."""
    if channel < KNOWN_COUNT:
        return CHANNELS[channel]
    return Channel(f"hidden_{channel}", f"hidden {channel}", signed=True)


def error_of(channel: Channel) -> Channel:
    """Return a channel that describes the error of another: the same unit, and signed."""
    return Channel("error", f"error of {channel.label}", channel.unit, signed=True)


def colour_map(channel: Channel) -> Colormap:
    """Return a diverging colour map for signed channels, else a sequential one; NaN is grey."""
    return colormaps["RdBu_r" if channel.signed else "viridis"].with_extremes(bad=BUILDING)


def colour_range(channel: Channel, *planes: np.ndarray) -> Normalize:
    """Return the range of a colour bar: the 1st to 99th percentile of all cells of the planes.

    The range is centred on zero for signed channels. NaN and infinity are ignored.
    """
    values = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    if channel.signed:
        high = max(abs(low), abs(high)) or 1.0
        return Normalize(-high, high)
    return Normalize(low, high if high > low else low + 1.0)


def air_plane(state: Tensor, channel: int) -> np.ndarray:
    """Return one channel of a state (C, H, W) as an array (H, W).

    Dynamic channels are NaN in buildings; base channels are returned everywhere.
    """
    plane = state[channel].detach().cpu().numpy().astype(np.float32)
    if channel in range(PREDICTED.start):
        return plane
    return np.where(state[GEO_MASK].detach().cpu().numpy() > 0, plane, np.float32(np.nan))


def draw_plane(
    axes: Axes,
    plane: np.ndarray,
    channel: Channel,
    extent: Sequence[float] | Tensor | None = None,
    norm: Normalize | None = None,
    title: str | None = None,
) -> AxesImage:
    """Draw a plane with its colour bar.

    Parameters
    ----------
    axes : Axes
    plane : ndarray of shape (H, W)
        Row 0 is drawn at the bottom, NaN in grey.
    channel : Channel
        Gives the colour map, the label and the unit.
    extent : (height, width) in metres, optional
        Without it the axes count cells.
    norm : Normalize, optional
        Range of the colour bar; by default that of ``colour_range``.
    title : str, optional
        By default the channel's label.

    Returns
    -------
    AxesImage
    """
    norm = norm or colour_range(channel, plane)
    height, width = map(float, extent) if extent is not None else plane.shape
    image = axes.imshow(plane, cmap=colour_map(channel), norm=norm, origin="lower",
                        extent=(0, width, 0, height), interpolation="nearest")  # fmt: skip
    unit = "m" if extent is not None else "cells"
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", title=title or channel.label)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label=channel.title)
    return image


def plot_channels(
    state: Tensor,
    channels: Sequence[int] = range(KNOWN_COUNT),
    extent: Sequence[float] | Tensor | None = None,
) -> Figure:
    """Draw channels of one state (C, H, W) side by side, each with its own colour bar.

    The axes are in metres if ``extent``, (height, width) in metres, is given.
    """
    columns = min(4, len(channels))
    rows = -(-len(channels) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, index in zip(grid, channels, strict=False):
        draw_plane(axes, air_plane(state, index), describe(index), extent)
    for axes in grid[len(channels) :]:
        axes.remove()
    return figure


def plot_comparison(
    state: Tensor,
    target: Tensor,
    extent: Sequence[float] | Tensor | None,
    channels: Sequence[int] = range(KNOWN_COUNT)[FIELDS],
) -> Figure:
    """Draw prediction, simulation and error, with one row for each channel.

    Parameters
    ----------
    state : Tensor of shape (C, H, W)
        The prediction, in the units of ``pinca_lib.channels``.
    target : Tensor of shape (12, H, W)
        The simulation, in the same units.
    extent : (height, width) in metres, or None
        Without it the axes count cells.
    channels : sequence of int
        The channels to draw; by default the five fields.
    """
    figure = Figure(figsize=(10.5, 2.9 * len(channels)), layout="constrained")
    grid = figure.subplots(len(channels), 3, squeeze=False)
    for row, index in zip(grid, channels, strict=True):
        channel = describe(index)
        planes = [air_plane(state, index), air_plane(target, index)]
        norm = colour_range(channel, planes[1])
        draw_plane(row[0], planes[0], channel, extent, norm, f"prediction: {channel.label}")
        draw_plane(row[1], planes[1], channel, extent, norm, f"simulation: {channel.label}")
        draw_plane(row[2], planes[0] - planes[1], error_of(channel), extent)
    return figure


def plot_pool(pool: SamplePool, count: int = 32) -> Figure:
    """Draw the mean speed of the first samples of the pool, in their current state."""
    count = min(count, len(pool))
    columns = min(16, count)
    figure = Figure(figsize=(0.75 * columns + 1, 0.75 * -(-count // columns) + 0.4),
                    layout="constrained")  # fmt: skip
    grid = figure.subplots(-(-count // columns), columns, squeeze=False).ravel()
    channel = CHANNELS[SPEED]
    planes = [air_plane(state, SPEED) for state in pool.states[:count]]
    norm = colour_range(channel, *planes)
    for axes in grid:
        axes.axis("off")
    for axes, plane in zip(grid, planes, strict=False):
        image = axes.imshow(plane, cmap=colour_map(channel), norm=norm, origin="lower")
    figure.colorbar(image, ax=list(grid), label=channel.title)
    figure.suptitle(f"sample pool: {channel.label} of the first {count} samples", fontsize=10)
    return figure


def plot_batch(state: Tensor, target: Tensor) -> Figure:
    """Draw the mean speed of a batch, (B, C, H, W), above its targets, (B, 12, H, W).

    At most 8 samples are drawn.
    """
    count = min(len(state), 8)
    channel = CHANNELS[SPEED]
    rows = [[air_plane(sample, SPEED) for sample in states[:count]] for states in (state, target)]
    norm = colour_range(channel, *rows[1])
    figure = Figure(figsize=(1.7 * count + 1, 3.6), layout="constrained")
    grid = figure.subplots(2, count, squeeze=False)
    for name, line, planes in zip(("prediction", "simulation"), grid, rows, strict=True):
        for axes, plane in zip(line, planes, strict=True):
            image = axes.imshow(plane, cmap=colour_map(channel), norm=norm, origin="lower")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.colorbar(image, ax=grid, label=channel.title)
    return figure


def plot_losses(rows: Sequence[dict[str, float]], axes: Axes | None = None) -> Figure:
    """Draw the loss of every iteration on a logarithmic axis, in given axes or a new figure."""
    axes = axes or Figure(figsize=(6, 3.2), layout="constrained").subplots()
    axes.plot([r["iteration"] for r in rows], [r["loss"] for r in rows], ".", ms=4, alpha=0.4)
    axes.set(xlabel="iteration", ylabel="loss", yscale="log", title="training loss")
    return axes.figure.figure  # of a figure, the figure itself; of a subfigure, that around it


def plot_scores(
    rows: Sequence[dict[str, float]], window: int = 100, axes: Axes | None = None
) -> Figure:
    """Draw the six scores and their mean, each averaged over the last ``window`` iterations."""
    axes = axes or Figure(figsize=(6, 3.2), layout="constrained").subplots()
    iterations = [row["iteration"] for row in rows]
    for name in (*ScaledPhysicsMetrics.SCORES, "mean"):
        values = moving_mean([row[name] for row in rows], window)
        colour, thickness = ("black", 2.5) if name == "mean" else (None, 1.2)
        axes.plot(iterations, values, label=SCORE_LABELS[name], color=colour, lw=thickness)
    axes.set(xlabel="iteration", ylabel="score (1 is best)", ylim=(-0.02, 1.02),
             title=f"scores, averaged over the last {window} iterations")  # fmt: skip
    axes.legend(fontsize=7, ncols=2, loc="lower right")
    return axes.figure.figure


def plot_physics(rows: Sequence[dict[str, float]], terms: Sequence[str]) -> Figure:
    """Draw terms of ``PhysicsLoss`` over the iterations, on a logarithmic axis without zeros."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    iterations = [row["iteration"] for row in rows]
    for name in terms:
        values = [row[name] or np.nan for row in rows]
        axes.plot(iterations, values, ".-", ms=3, lw=0.6, label=PHYSICS_LABELS.get(name, name))
    axes.set(xlabel="iteration", ylabel="mean violation (unit in the legend)", yscale="log")
    axes.legend(fontsize=8)
    return figure


def plot_speed(table: Sequence[dict]) -> Figure:
    """Draw the speed of each implementation relative to the reference, for each grid.

    Parameters
    ----------
    table : sequence of dict
        Rows of ``benchmarks.speed.run``.
    """
    rows = [row for row in table if "times_as_fast" in row]
    speeds: dict[str, dict[str, float]] = {row["contender"]: {} for row in rows}
    for row in rows:
        ground = f"{row['built']:.0%} built" if row["built"] else "open"
        grid = f"{row['what']}, {row['batch']}×{row['size']}², {ground}"
        speeds[row["contender"]][grid] = row["times_as_fast"]
    grids = list(next(iter(speeds.values())))
    figure = Figure(figsize=(8, 1 + 0.45 * len(grids)), layout="constrained")
    axes = figure.subplots()
    thickness = 0.8 / len(speeds)
    for i, (name, ratios) in enumerate(speeds.items()):
        heights = [grids.index(grid) + (i - (len(speeds) - 1) / 2) * thickness for grid in ratios]
        bars = axes.barh(heights, [*ratios.values()], thickness, label=name)
        axes.bar_label(bars, fmt="%.1f×", fontsize=6, padding=2)
    axes.margins(x=0.1, y=0.01)  # leave space for the label of the longest bar
    axes.set_yticks(range(len(grids)), grids, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="speed relative to the rule as written")
    axes.legend(fontsize=8)
    return figure


def plot_scaling(table: Sequence[dict]) -> Figure:
    """Draw the time per step over the number of cells, for cities without buildings.

    Parameters
    ----------
    table : sequence of dict
        As in ``plot_speed``.
    """
    rows = [row for row in table if row["what"] == "rollout" and not row["built"]]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["contender"] for row in rows):
        found = [row for row in rows if row["contender"] == name]
        found.sort(key=lambda row: row["batch"] * row["size"] ** 2)
        cells = [row["batch"] * row["size"] ** 2 for row in found]
        middle, low, high = (np.array([row[key] for row in found])
                             for key in ("ms_per_step", "ms_least", "ms_most"))  # fmt: skip
        axes.errorbar(cells, middle, (middle - low, high - middle), marker="o", capsize=2,
                      label=name)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="number of cells",
             ylabel="time per step (ms), median and range")  # fmt: skip
    axes.legend(fontsize=8)
    return figure


def moving_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Return for each value the mean of the last ``window`` values up to it, or of all if fewer."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)


class Dashboard:
    """A figure of the training's progress that is updated in place in a notebook.

    Parameters
    ----------
    every : float
        Shortest time between two updates, s.
    """

    def __init__(self, every: float = DASHBOARD_EVERY):
        self.every, self.drawn_at, self.handle = every, -np.inf, None

    def update(
        self, rows: Sequence[dict[str, float]], batch: Batch, state: Tensor, last: bool = False
    ) -> None:
        """Update the figure if enough time has passed or if this is the last iteration."""
        if time.monotonic() - self.drawn_at < self.every and not last:
            return
        from IPython.display import display

        figure = plot_progress(rows, batch, state)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.drawn_at = time.monotonic()


def plot_progress(rows: Sequence[dict[str, float]], batch: Batch, state: Tensor) -> Figure:
    """Draw loss and scores, and below them the first sample of the last batch and its target."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
    left, right = upper.subplots(1, 2)
    plot_losses(rows, left)
    plot_scores(rows, axes=right)
    channel = CHANNELS[SPEED]
    planes = [air_plane(x[0], SPEED) for x in (state, batch.target)]
    norm = colour_range(channel, planes[1])
    titles = [f"{kind}: {channel.label}" for kind in ("prediction", "simulation")]
    for axes, plane, title in zip(lower.subplots(1, 2), planes, titles, strict=True):
        draw_plane(axes, plane, channel, batch.extents[0], norm, title)
    return figure
