"""Figures that compare predicted with measured wind."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pinca_lib.evaluation import HIT_RATE_D, MeasuredCase, at_probes, compare

AROUND = 25.0  # m, shown around the probes


def plot_tunnel_maps(cases: Sequence[MeasuredCase], planes: Sequence[np.ndarray]) -> Figure:
    """Draw predicted speeds, with the measured ones as dots in the same colours.

    A dot that cannot be seen agrees with the prediction.

    Parameters
    ----------
    cases : sequence of MeasuredCase
    planes : sequence of ndarray of shape (H, W)
        Predicted speeds of each case; they are scaled to the mean of the measured ones.
    """
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(cases) :]:
        axes.set_axis_off()
    for axes, case, plane in zip(panels.flat, cases, planes, strict=False):
        grid = case.place.grid
        east, north = (start + grid.cell * count for start, count in
                       ((grid.west, grid.shape[1]), (grid.south, grid.shape[0])))  # fmt: skip
        factor = compare(at_probes(plane, case), case.speeds)["factor"]
        shown = np.where(case.place.heights > 0, np.nan, factor * plane)
        limit = 1.1 * case.speeds.max()
        style = {"vmin": 0, "vmax": limit, "cmap": "viridis"}
        axes.set_facecolor("0.8")
        image = axes.imshow(
            shown, origin="lower", extent=(grid.west, east, grid.south, north), **style
        )
        axes.scatter(*case.probes.T, c=case.speeds, s=18, edgecolors="white", lw=0.5, **style)
        (low_x, low_y), (high_x, high_y) = case.probes.min(axis=0), case.probes.max(axis=0)
        axes.set(xlim=(low_x - AROUND, high_x + AROUND), ylim=(low_y - AROUND, high_y + AROUND))
        axes.set_title(case.name, fontsize=9)
        axes.tick_params(labelsize=7)
        figure.colorbar(image, ax=axes, shrink=0.8)
    figure.suptitle("speed over that of the tunnel's inflow", fontsize=10)
    figure.supxlabel("x (m)", fontsize=9)
    figure.supylabel("y (m)", fontsize=9)
    return figure


def plot_tunnel_scatter(cases: Sequence[MeasuredCase], planes: Sequence[np.ndarray]) -> Figure:
    """Draw predicted over measured speeds of all probes, with the band of 25 %.

    Parameters
    ----------
    cases, planes
        As in ``plot_tunnel_maps``. Cases whose names differ in the last part share a panel.
    """
    groups: dict[str, list[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(", ".join(case.name.split(", ")[:2]), []).append(number)
    figure = Figure(figsize=(3 * len(groups), 3.2), layout="constrained")
    for axes, (name, numbers) in zip(figure.subplots(1, len(groups), squeeze=False)[0],
                                     groups.items(), strict=True):  # fmt: skip
        for number in numbers:
            case = cases[number]
            read = at_probes(planes[number], case)
            scaled = compare(read, case.speeds)["factor"] * read
            label = case.name.split(", ")[-1] if len(numbers) > 1 else None
            axes.plot(case.speeds, scaled, "o", ms=3, alpha=0.6, label=label)
        limit = 1.05 * max(axes.dataLim.x1, axes.dataLim.y1)
        line = np.array([0, limit])
        axes.fill_between(line, (1 - HIT_RATE_D) * line, (1 + HIT_RATE_D) * line, color="0.9")
        axes.plot(line, line, color="black", lw=0.8)
        axes.set(title=name, xlabel="measured (of the inflow)", xlim=line, ylim=line, aspect=1)
        if len(numbers) > 1:
            axes.legend(fontsize=7, loc="upper left")
    figure.axes[0].set_ylabel("predicted, scaled to the same mean")
    return figure
