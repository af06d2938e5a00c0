"""Figures of metrics show every model and every case."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pinca_lib.plotting import score_figures

CASES = ("town/d0", "town/d90", "village/d0")


@pytest.fixture
def tables():
    return {
        name: [{"case": case, "error": scale * k, "hit_rate_u_w0.1": 0.5, "hit_rate_u_w0.2": np.nan}
               for k, case in enumerate(CASES, 1)]
        for name, scale in (("ours", 0.1), ("mean flow", 0.3))
    }  # fmt: skip


def drawn(figure):
    FigureCanvasAgg(figure).draw()  # an invalid artist fails here
    return figure.axes[0]


def test_cases_are_sorted_by_the_error_of_the_first_model(tables):
    tables["ours"][0]["error"] = 9.0
    axes = drawn(score_figures.plot_cases(tables, "error", "error (m/s)"))
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CASES[1:] + CASES[:1])
    ours, other = axes.get_lines()
    assert list(ours.get_xdata()) == sorted(ours.get_xdata())
    assert list(other.get_xdata())[-1] == pytest.approx(0.3)  # the same case on the same line


def test_every_case_is_drawn_at_its_property(tables):
    axes = drawn(score_figures.plot_over(tables, [3, 1, 2], "distance", "error", "error"))
    for line, rows in zip(axes.get_lines(), tables.values(), strict=True):
        assert list(line.get_xdata()) == [3, 1, 2]
        assert list(line.get_ydata()) == [row["error"] for row in rows]


def test_hit_rates_are_means_over_the_cases(tables):
    tables["ours"][0]["hit_rate_u_w0.1"] = 0.2
    axes = drawn(score_figures.plot_hit_rates(tables, (0.1,), "u"))
    assert axes.get_lines()[0].get_ydata()[0] == pytest.approx(0.4)


def test_every_model_is_drawn_and_in_the_legend(tables):
    many = {f"model {k}": tables["ours"] for k in range(8)}
    axes = drawn(score_figures.plot_cases(many, "error", "error"))
    assert [line.get_label() for line in axes.get_lines()] == list(many)


@pytest.mark.parametrize("seconds", ["9", ""])
def test_costs_show_every_seed_of_every_model(seconds):
    row = {"error": "0.5", "parameters": "100", "case_s": "0.1", "training_s": seconds}
    rows = [row | {"model": model} for model in ("ours", "ours", "theirs")]
    figure = score_figures.plot_costs(rows, "error", "error")
    drawn(figure)
    for axes in figure.axes:
        assert [len(line.get_xdata()) for line in axes.get_lines()] == [2, 1]


def test_a_table_has_the_requested_columns():
    rows = [{"model": "ours", "error": "0.5", "seed": 0}, {"model": "theirs", "error": "0.6"}]
    expected = "| who | off by |\n| --- | --- |\n| ours | 0.5 |\n| theirs | 0.6 |"
    assert score_figures.table(rows, {"model": "who", "error": "off by"}) == expected
