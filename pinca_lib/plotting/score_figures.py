"""Tables and figures that compare the metrics of models."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pinca_lib.channels import CHANNELS

# Okabe and Ito (2002): colours that people with colour blindness can distinguish.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


LABELS = {channel.name: channel.label for channel in CHANNELS}

Rows = TypeVar("Rows")


def _coloured(tables: Mapping[str, Rows]) -> Iterator[tuple[tuple[str, Rows], str]]:
    """Return each model's name and rows with a colour; the colours repeat if they run out."""
    return zip(tables.items(), cycle(COLOURS))


def table(rows: Sequence[Mapping], columns: Mapping[str, str]) -> str:
    """Return rows as a Markdown table; ``columns`` maps the keys to show to their titles."""
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot_cases(tables: Mapping[str, Sequence[dict]], metric: str, label: str) -> Figure:
    """Draw one metric for every case, with a mark for each model.

    The cases are sorted by the metric of the first model.

    Parameters
    ----------
    tables : mapping of str to sequence of dict
        For each model the rows of ``evaluation.evaluate`` with ``case`` added; all models have the
        same cases in the same order.
    metric : str
        The key to draw.
    label : str
        Label of the metric, with its unit.
    """
    first = next(iter(tables.values()))
    order = np.argsort([row[metric] for row in first])
    figure = Figure(figsize=(7, 1 + 0.28 * len(first)), layout="constrained")
    axes = figure.subplots()
    for (name, rows), colour in _coloured(tables):
        values = [rows[k].get(metric, np.nan) for k in order]
        axes.plot(values, range(len(order)), "o", ms=6, color=colour, label=name)
    axes.set_yticks(range(len(order)), [first[k]["case"] for k in order], fontsize=7)
    axes.set(xlabel=label, xlim=(0, None))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return figure


def plot_over(
    tables: Mapping[str, Sequence[dict]],
    places: Sequence[float],
    xlabel: str,
    metric: str,
    label: str,
) -> Figure:
    """Draw one metric of every case over a property of the cases.

    Parameters
    ----------
    tables, metric, label
        As in ``plot_cases``.
    places : sequence of float
        The property of each case.
    xlabel : str
        Label of the property, with its unit.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (name, rows), colour in _coloured(tables):
        axes.plot(places, [row.get(metric, np.nan) for row in rows], "o", color=colour, label=name)
    axes.set(xlabel=xlabel, ylabel=label, ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return figure


def plot_hit_rates(
    tables: Mapping[str, Sequence[dict]], limits: Sequence[float], field: str
) -> Figure:
    """Draw the mean hit rate of a field over W, the absolute error that counts as none.

    Parameters
    ----------
    tables
        As in ``plot_cases``.
    limits : sequence of float
        Values of W, m/s; those for which the rows have a hit rate.
    field : str
        Name of the field (``pinca_lib.channels``).
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (name, rows), colour in _coloured(tables):
        means = [np.nanmean([row.get(f"hit_rate_{field}_w{limit:g}", np.nan) for row in rows])
                 for limit in limits]  # fmt: skip
        axes.plot(limits, means, "o-", color=colour, label=name)
    axes.axhline(0.66, color="black", lw=1, ls="--", label="required against wind tunnels: 0.66")
    axes.set(xlabel="W, the error that counts as none (m/s)", xscale="log", ylim=(0, 1),
             ylabel=f"mean hit rate of {LABELS.get(field, field)}")  # fmt: skip
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return figure


COSTS = {
    "parameters": "number of parameters",
    "case_s": "time per case of 64×64 cells (s)",
    "training_s": "training time (s)",
}


def plot_costs(rows: Sequence[Mapping[str, str]], metric: str, label: str) -> Figure:
    """Draw one metric over the size and the computing time of models, with a mark for each row.

    Parameters
    ----------
    rows : sequence of mapping of str to str
        Rows of the tables that ``benchmarks/compare.py`` writes. A time that is not measured yet
        is empty. The seeds of a ``model`` share a colour.
    metric, label
        As in ``plot_cases``.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, len(COSTS), sharey=True)
    models: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        models.setdefault(row["model"], []).append(row)
    for axes, (cost, title) in zip(panels, COSTS.items(), strict=True):
        for (name, seeds), colour in _coloured(models):
            places = [float(row[cost] or "nan") for row in seeds]
            axes.plot(places, [float(row[metric]) for row in seeds], "o", color=colour, label=name)
        axes.set(xlabel=title)
        axes.grid(alpha=0.3)
        if cost == "parameters":
            axes.set_xscale("log")
        else:
            axes.set_xlim(left=0)
    panels[0].set(ylabel=label, ylim=(0, 1.08 * panels[0].dataLim.y1))
    panels[0].legend(fontsize=8)
    return figure


def plot_sweep(table: pd.DataFrame, settings: Sequence[str]) -> Figure:
    """Draw the last loss of every training of a sweep, with a mark for each that is done.

    Parameters
    ----------
    table : DataFrame
        From ``runs.sweep_tables``.
    settings : sequence of str
        The columns that set the trainings apart; the last one sets the colour.
    """
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(table)), layout="constrained")
    axes = figure.subplots()
    losses = table["loss"] if "loss" in table else pd.Series(np.nan, table.index)
    for (value, rows), colour in zip(table.groupby(settings[-1]), cycle(COLOURS)):
        label = f"{settings[-1]} = {value}"
        axes.plot(losses[rows.index], rows.index, "o", color=colour, label=label)
    names = [", ".join(f"{name} {row[name]}" for name in settings) for _, row in table.iterrows()]
    axes.set_yticks(range(len(table)), names, fontsize=7)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="loss of the last iteration")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    return figure
