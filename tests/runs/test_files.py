"""The log of a run: cut to what a checkpoint knows, and nothing else of it changed."""

import math

from pinca_lib.runs.files import append_row, cut_log


def test_a_log_is_cut_before_an_iteration_and_keeps_figures_that_are_nan(tmp_path):
    log = tmp_path / "metrics.csv"
    rows = [{"iteration": i, "loss": 0.1 + i / 3, "ssim": math.nan} for i in range(4)]
    for row in rows:
        append_row(log, row)
    whole = log.read_text().splitlines()
    found = cut_log(log, 2)
    assert log.read_text().splitlines() == whole[:3]
    assert [row["loss"] for row in found] == [0.1, 0.1 + 1 / 3]
    assert all(math.isnan(row["ssim"]) for row in found)


def test_half_a_row_of_a_power_cut_is_dropped(tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("iteration,loss,ssim\n0,1.5,0.5\n1,0.")
    assert cut_log(log, 5) == [{"iteration": 0, "loss": 1.5, "ssim": 0.5}]
    assert log.read_text() == "iteration,loss,ssim\n0,1.5,0.5\n"


def test_a_log_without_rows_left_is_removed(tmp_path):
    log = tmp_path / "metrics.csv"
    append_row(log, {"iteration": 3, "loss": 1.0})
    assert cut_log(log, 3) == []
    assert not log.exists()
    assert cut_log(log, 3) == []
