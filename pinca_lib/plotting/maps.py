"""Maps of a place: wind, comfort and change, in the place's own coordinates, north up."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from pinca_lib.cities.place import Place, towards
from pinca_lib.cities.prediction import WindMaps
from pinca_lib.plotting.figures import BUILDING

ASSUMED = "#c9a27a"  # buildings whose height was assumed


def plot_place(place: Place) -> Figure:
    """Draw the heights of all buildings, and the outline of the site."""
    place = place.overview()
    axes = Figure(figsize=(7, 6), layout="constrained").subplots()
    heights = np.where(place.heights > 0, place.heights, np.nan)
    west, south, east, north = place.grid.bounds
    image = axes.imshow(heights, cmap=colormaps["viridis"], origin="lower",
                        extent=(west, east, south, north), interpolation="nearest")  # fmt: skip
    site = place.site_grid.bounds
    axes.add_patch(Rectangle(site[:2], site.east - site.west, site.north - site.south, fill=False,
                             ec="crimson", lw=1.5, label="site that is shown"))  # fmt: skip
    axes.legend(loc="upper right", fontsize=8)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=7)
    axes.set(xlabel="east (m)", ylabel="north (m)", title=f"{place.name}: buildings")
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="height above ground (m)")
    return _figure(axes)


def plot_wind(
    maps: WindMaps,
    number: int = 0,
    doubtful: np.ndarray | None = None,
    title: str = "",
    axes: Axes | None = None,
    norm: Normalize | None = None,
) -> Figure:
    """Draw mean speed with streamlines under one wind.

    Parameters
    ----------
    maps : WindMaps
    number : int
        Which of its winds.
    doubtful : ndarray of shape (h, w), bool, optional
        Cells that are unlike the training data; they are hatched.
    title : str
        What stands above; the wind's direction without it.
    axes : Axes, optional
        To draw into; a figure of its own without it.
    norm : Normalize, optional
        Range of the colours, m/s; from zero to the 99.5th percentile without it.
    """
    maps, doubtful = _overview(maps, doubtful)
    speed, place = maps.speed[number], maps.place
    norm = norm or Normalize(0, max(float(np.nanpercentile(speed, 99.5)), 1e-3))
    alone = axes is None
    axes = axes or Figure(figsize=(8, 7.4), dpi=75, layout="constrained").subplots()
    _streamlines(axes, maps, number)
    _map(axes, maps, number, speed, "viridis", norm, doubtful, title, "mean speed at 2 m (m/s)")
    if alone:
        _legend(axes, [], place, doubtful)
    return _figure(axes)


def plot_error(
    maps: WindMaps, number: int = 0, doubtful: np.ndarray | None = None, title: str = ""
) -> Figure:
    """Draw how far the mean speed may be off under one wind.

    Parameters
    ----------
    maps : WindMaps
        With an ``error``.
    number : int
        Which of its winds.
    doubtful : ndarray of shape (h, w), bool, optional
        Cells that are unlike the training data; they are hatched.
    title : str
        What stands above; the wind's direction without it.
    """
    assert maps.error is not None
    error, place = maps.error[number], maps.place
    axes = Figure(figsize=(8, 7.4), dpi=75, layout="constrained").subplots()
    norm = Normalize(0, max(float(np.nanpercentile(error, 99.5)), 1e-3))
    _map(axes, maps, number, error, "magma", norm, doubtful, title, "± mean speed at 2 m (m/s)")
    _legend(axes, [], place, doubtful)
    return _figure(axes)


def plot_directions(maps: WindMaps, doubtful: np.ndarray | None = None) -> Figure:
    """Draw mean speed under every wind, in one range of colours.

    Parameters
    ----------
    maps : WindMaps
    doubtful : ndarray of shape (h, w), bool, optional
        Cells that are unlike the training data; they are hatched.
    """
    maps, doubtful = _overview(maps, doubtful)
    count = len(maps.wind_from)
    columns = min(4, count)
    rows = -(-count // columns)
    size = max(2.2 * columns + 0.8, 6.0), 2.2 * rows + 0.3  # with room for the legend
    figure = Figure(figsize=size, dpi=72, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    norm = Normalize(0, float(np.nanpercentile(maps.speed, 99.5)))
    image: Any = None
    for number, axes in enumerate(grid[:count]):
        image = _plane(axes, maps.place, maps.speed[number], colormaps["viridis"], norm)
        _buildings(axes, maps.place)
        _hatch(axes, maps.place, doubtful)
        _arrow(axes, maps.wind_from[number])
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
        axes.set_title(f"from {maps.wind_from[number]:g}°", fontsize=9)
    for axes in grid[count:]:
        axes.remove()
    figure.colorbar(image, ax=list(grid[:count]), shrink=0.6, label="mean speed at 2 m (m/s)")
    _legend(grid[0], [], maps.place, doubtful)
    return figure


def plot_classes(
    place: Place,
    classes: np.ndarray,
    labels: Sequence[str],
    title: str,
    doubtful: np.ndarray | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw comfort classes, calmest first.

    Parameters
    ----------
    place : Place
    classes : ndarray of shape (h, w), int
        Number of the class of each cell of the site; -1 in buildings.
    labels : sequence of str
        Of the classes, for the legend.
    title : str
    doubtful : ndarray of shape (h, w), bool, optional
        Cells that are unlike the training data; they are hatched.
    axes : Axes, optional
    """
    axes = axes or Figure(figsize=(8, 7.4), dpi=75, layout="constrained").subplots()
    colours = colormaps["viridis"](np.linspace(0, 1, len(labels)))
    norm = BoundaryNorm(np.arange(len(labels) + 1) - 0.5, len(labels))
    plane = np.where(classes < 0, np.nan, classes.astype(float))
    _plane(axes, place, plane, ListedColormap(colours), norm)
    _buildings(axes, place)
    _hatch(axes, place, doubtful)
    _north_scale_and_wind(axes, place)
    patches = [Patch(color=c, label=label) for c, label in zip(colours, labels, strict=True)]
    _legend(axes, patches, place, doubtful)
    axes.set_title(title)
    return _figure(axes)


def plot_change(
    before: WindMaps, after: WindMaps, number: int = 0, doubtful: np.ndarray | None = None
) -> Figure:
    """Draw mean speed before and after a proposal, and the difference, under one wind.

    Parameters
    ----------
    before, after : WindMaps
    number : int
        Which of their winds.
    doubtful : ndarray of shape (h, w), bool, optional
        Cells that are unlike the training data before or after; they are hatched.
    """
    figure = Figure(figsize=(16, 5.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    both = np.stack([before.speed[number], after.speed[number]])
    norm = Normalize(0, float(np.nanpercentile(both, 99.5)))
    plot_wind(before, number, doubtful, "today", left, norm)
    plot_wind(after, number, doubtful, "with the proposal", middle, norm)
    change = after.speed[number] - before.speed[number]
    most = max(float(np.nanpercentile(np.abs(change), 99.5)), 1e-3)
    image = _plane(right, after.place, change, colormaps["RdBu_r"], Normalize(-most, most))
    _buildings(right, after.place)
    _hatch(right, after.place, doubtful, "black")
    _north_scale_and_wind(right, after.place, after.wind_from[number])
    right.set_title("change")
    figure.colorbar(image, ax=right, shrink=0.8, label="change of mean speed at 2 m (m/s)")
    _legend(right, [], after.place, doubtful)
    return figure


def _overview(maps: WindMaps, doubtful: np.ndarray | None) -> tuple[WindMaps, np.ndarray | None]:
    """Return maps and doubtful cells of a town as a figure can show them; others as they are."""
    return maps.overview(), None if doubtful is None else maps.place.thinned(doubtful)


def _map(
    axes: Axes,
    maps: WindMaps,
    number: int,
    plane: np.ndarray,
    colours: str,
    norm: Normalize,
    doubtful: np.ndarray | None,
    title: str,
    label: str,
) -> None:
    """Draw a plane (h, w) under one wind, with buildings, hatching, wind and a colour bar."""
    image = _plane(axes, maps.place, plane, colormaps[colours], norm)
    _buildings(axes, maps.place)
    _hatch(axes, maps.place, doubtful)
    _north_scale_and_wind(axes, maps.place, maps.wind_from[number])
    axes.set_title(title or f"{maps.place.name}: wind from {maps.wind_from[number]:g}°")
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label=label)


def _plane(axes: Axes, place: Place, plane: np.ndarray, colours, norm) -> Any:
    west, south, east, north = place.site_grid.bounds
    # Large coordinates leave no room for labels, so axes count from the site's corner.
    image = axes.imshow(
        plane,
        cmap=colours.with_extremes(bad=BUILDING),
        norm=norm,
        origin="lower",
        extent=(0, east - west, 0, north - south),
        interpolation="nearest",
    )
    axes.set(xlabel=f"east of {west:,.0f} (m)", ylabel=f"north of {south:,.0f} (m)")
    return image


def _centres(place: Place) -> tuple[np.ndarray, np.ndarray]:
    height, width = place.site_grid.shape
    return (np.arange(width) + 0.5) * place.grid.cell, (np.arange(height) + 0.5) * place.grid.cell


def _buildings(axes: Axes, place: Place) -> None:
    """Fill the buildings in grey, those of assumed height in another colour."""
    west, south, east, north = place.site_grid.bounds
    built = place.on_site(place.heights) > 0
    kinds = np.where(built, np.where(place.on_site(place.assumed), 1.0, 0.0), np.nan)
    axes.imshow(kinds, cmap=ListedColormap([BUILDING, ASSUMED]), vmin=0, vmax=1, origin="lower",
                extent=(0, east - west, 0, north - south), interpolation="nearest",
                zorder=1.5)  # fmt: skip


def _streamlines(axes: Axes, maps: WindMaps, number: int) -> None:
    wind = np.nan_to_num(maps.wind[number])
    if np.hypot(*wind).max() > 0:
        x, y = _centres(maps.place)
        # Below the buildings (1.5): a streamline ends a cell or two inside of a wall.
        axes.streamplot(x, y, wind[0], wind[1], color=(1, 1, 1, 0.55), linewidth=0.6,
                        density=2, arrowsize=0.6, zorder=1.2)  # fmt: skip


def _hatch(axes: Axes, place: Place, cells: np.ndarray | None, colour: str = "white") -> None:
    if cells is None or not (cells := cells & (place.on_site(place.heights) == 0)).any():
        return
    height, width = (count * place.grid.cell for count in place.site_grid.shape)
    x, y = (np.concatenate([[0], centres, [side]])  # as far as the edge of the map
            for centres, side in zip(_centres(place), (width, height), strict=True))  # fmt: skip
    hatched = axes.contourf(x, y, np.pad(cells.astype(float), 1, "edge"), levels=[0.5, 1.5],
                            colors="none", hatches=["////"])  # fmt: skip
    hatched.set_edgecolor(colour)
    hatched.set_linewidth(0)


def _legend(axes: Axes, patches: list[Patch], place: Place, doubtful: np.ndarray | None) -> None:
    """Explain classes and hatching below the map."""
    if doubtful is not None and doubtful.any():
        share = doubtful[place.on_site(place.heights) == 0].mean()
        unlike = f"unlike the training data ({share:.1%} of the open ground): do not rely on it"
        patches = [*patches, Patch(facecolor="0.4", edgecolor="white", hatch="////", label=unlike)]
    if patches:
        _figure(axes).legend(handles=patches, loc="outside lower center", frameon=False)


def _arrow(axes: Axes, wind_from: float) -> None:
    x, y = towards(wind_from)
    head, tail = ((0.12 + way * x, 0.12 + way * y) for way in (0.08, -0.08))
    style = {"arrowstyle": "-|>", "color": "crimson", "lw": 2}
    axes.annotate("", head, tail, xycoords="axes fraction", arrowprops=style)


def _north_scale_and_wind(axes: Axes, place: Place, wind_from: float | None = None) -> None:
    outline = [withStroke(linewidth=3, foreground="white")]  # to be read on any colour
    arrow = {"arrowstyle": "-|>", "lw": 1.5, "path_effects": outline}
    axes.annotate("N", (0.95, 0.98), (0.95, 0.89), xycoords="axes fraction", ha="center",
                  va="center", fontsize=9, arrowprops=arrow, path_effects=outline)  # fmt: skip
    width = place.site_grid.shape[1] * place.grid.cell
    length = max((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
                  if step <= width / 4), default=width / 4)  # fmt: skip
    ends = [0.97 * width - length, 0.97 * width]
    axes.plot(ends, [0.03 * width] * 2, "k-", lw=3, path_effects=outline)
    axes.text(ends[0] + length / 2, 0.045 * width, f"{length:g} m", ha="center", fontsize=8,
              path_effects=outline)  # fmt: skip
    if wind_from is not None:
        _arrow(axes, wind_from)


def _figure(axes: Axes) -> Figure:
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure
