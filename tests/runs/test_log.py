"""The log of a run: cut to what a checkpoint knows, and nothing else of it changed."""

import math

import pytest

from pinca_lib.errors import InputError
from pinca_lib.runs.log import Log

ROWS = [{"iteration": i, "loss": 0.1 + i / 3, "ssim": math.nan} for i in range(4)]


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "metrics.csv")
    for row in ROWS:
        log.append(row)
    return log


def test_a_log_is_cut_before_an_iteration_and_keeps_figures_that_are_nan(log):
    whole = log.path.read_text().splitlines()
    found = Log.resumed(log.path, 2)
    assert log.path.read_text().splitlines() == whole[:3]
    assert [row["loss"] for row in found.rows] == [0.1, 0.1 + 1 / 3]
    assert all(math.isnan(row["ssim"]) for row in found.rows)


def test_half_a_row_of_a_power_cut_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("iteration,loss,ssim\n0,1.5,0.5\n1,0.")
    assert Log.resumed(path, 5).rows == [{"iteration": 0, "loss": 1.5, "ssim": 0.5}]
    assert path.read_text() == "iteration,loss,ssim\n0,1.5,0.5\n"


def test_a_log_without_rows_left_is_removed(log):
    assert Log.resumed(log.path, 0).rows == []
    assert not log.path.exists()
    assert Log.resumed(log.path, 0).rows == []


def test_the_digest_finds_every_change_of_a_row(log):
    text = log.path.read_text()
    assert Log.resumed(log.path, 9).digest() == log.digest()
    assert Log.resumed(log.path, 3).digest() != log.digest()
    log.path.write_text(text.replace("0.1,", "0.2,"))
    assert Log.resumed(log.path, 9).digest() != log.digest()


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text.replace(",", ";"),
        lambda text: "\ufeff" + text.replace(",", ";").replace(".", ","),
        lambda text: text.replace("0.1,", ","),
        lambda text: text.replace("iteration", "step"),
        lambda text: text.replace("0.1,", "0.1,0.1,"),
        lambda text: "\0" * len(text),
    ],
)
def test_a_log_that_a_spreadsheet_or_a_crash_changed_is_refused_and_kept(log, changed):
    log.path.write_text(changed(log.path.read_text()))
    content = log.path.read_bytes()
    with pytest.raises(InputError, match=r"metrics\.csv: not as this run has written it"):
        Log.resumed(log.path, 4)
    assert log.path.read_bytes() == content


def test_rows_that_cannot_be_written_now_are_written_later(log, monkeypatch):
    text, place = log.path.read_text(), log.path
    log.path = place.parent / "gone" / "metrics.csv"  # as if another program held the file
    with pytest.warns(UserWarning, match="cannot be written now .* rows are written later"):
        log.append(ROWS[0])
    log.path = place
    log.append(ROWS[1])
    assert log.path.read_text() == text + "".join(f"{line}\n" for line in text.splitlines()[1:3])
    assert len(log.rows) == 6
