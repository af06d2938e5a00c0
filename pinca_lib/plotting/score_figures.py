"""How right models are, as tables and pictures: case by case, and over what makes a case hard."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

# Told apart by all: Okabe and Ito 2002.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def _coloured(tables: Mapping) -> Iterator[tuple]:
    return zip(tables.items(), cycle(COLOURS))


def table(rows: Sequence[Mapping], columns: Mapping[str, str]) -> str:
    """Return rows as a table in Markdown, with the columns named and their titles."""
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot_cases(tables: Mapping[str, Sequence[dict]], figure: str, label: str) -> Figure:
    """Draw one figure of merit for every case, a mark for each model.

    Parameters
    ----------
    tables : mapping of str to sequence of dict
        For each model the rows of ``evaluation.evaluate``, with ``case``; the same cases in all.
    figure : str
        The column to draw.
    label : str
        What it is called, with its unit.
    """
    first = next(iter(tables.values()))
    order = np.argsort([row[figure] for row in first])
    axes = Figure(figsize=(7, 1 + 0.28 * len(first)), layout="constrained").subplots()
    for (name, rows), colour in _coloured(tables):
        values = [rows[k].get(figure, np.nan) for k in order]
        axes.plot(values, range(len(order)), "o", ms=6, color=colour, label=name)
    axes.set_yticks(range(len(order)), [first[k]["case"] for k in order], fontsize=7)
    axes.set(xlabel=label, xlim=(0, None))
    axes.grid(axis="x", alpha=0.3)
    axes.figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return axes.figure


def plot_over(
    tables: Mapping[str, Sequence[dict]],
    places: Sequence[float],
    xlabel: str,
    figure: str,
    label: str,
) -> Figure:
    """Draw one figure of merit of every case over some property of it.

    Parameters
    ----------
    tables, figure, label
        As for ``plot_cases``.
    places : sequence of float
        The property, case by case.
    xlabel : str
        What it is called.
    """
    axes = Figure(figsize=(6, 4), layout="constrained").subplots()
    for (name, rows), colour in _coloured(tables):
        axes.plot(places, [row.get(figure, np.nan) for row in rows], "o", color=colour, label=name)
    axes.set(xlabel=xlabel, ylabel=label, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return axes.figure


def plot_hit_rates(
    tables: Mapping[str, Sequence[dict]], limits: Sequence[float], field: str
) -> Figure:
    """Draw the mean hit rate of a field over the error W that counts as none."""
    axes = Figure(figsize=(6, 4), layout="constrained").subplots()
    for (name, rows), colour in _coloured(tables):
        means = [np.nanmean([row.get(f"hit_rate_{field}_w{limit:g}", np.nan) for row in rows])
                 for limit in limits]  # fmt: skip
        axes.plot(limits, means, "o-", color=colour, label=name)
    axes.axhline(0.66, color="black", lw=1, ls="--", label="asked of models against wind tunnels")
    axes.set(xlabel="W (m/s)", ylabel=f"mean hit rate of {field}", ylim=(0, 1), xscale="log")
    axes.grid(alpha=0.3)
    axes.figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return axes.figure


COSTS = {
    "parameters": "parameters",
    "case_s": "a case of 64×64 cells (s)",
    "training_s": "training (s)",
}


def plot_costs(rows: Sequence[Mapping[str, str]], figure: str, label: str) -> Figure:
    """Draw one figure of merit over what a model costs: a mark for each row.

    Parameters
    ----------
    rows : sequence of mapping of str to str
        From the tables that ``benchmarks/compare.py`` writes, without times until these are
        measured. The seeds of a ``model`` share a colour.
    figure, label
        As for ``plot_cases``.
    """
    axes = Figure(figsize=(9, 3.5), layout="constrained").subplots(1, len(COSTS), sharey=True)
    models = {}
    for row in rows:
        models.setdefault(row["model"], []).append(row)
    for own, (cost, title) in zip(axes, COSTS.items(), strict=True):
        for (name, found), colour in _coloured(models):
            places = [float(row[cost] or "nan") for row in found]
            own.plot(places, [float(row[figure]) for row in found], "o", color=colour, label=name)
        own.set(xlabel=title)
        own.grid(alpha=0.3)
        if cost == "parameters":
            own.set_xscale("log")
        else:
            own.set_xlim(left=0)
    axes[0].set(ylabel=label, ylim=(0, 1.08 * axes[0].dataLim.y1))
    axes[0].legend(fontsize=8)
    return axes[0].figure
