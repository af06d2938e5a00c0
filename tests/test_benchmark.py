"""The benchmark: contenders agree, rows are complete, nothing beyond torch is needed. No times."""

import csv
import subprocess
import sys
from concurrent.futures import Future
from importlib.util import find_spec

import pytest
import torch

from pinca_lib import benchmark, contenders
from pinca_lib.contenders import OURS, REFERENCE, random_rule, random_state
from pinca_lib.plotting import plot_scaling, plot_speed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table():
    grids = [(2, 8)]
    return [
        *benchmark.time_rollouts(CPU, grids, 2),
        *benchmark.time_training(CPU, (16,), 2),
        *benchmark.measure_memory(1, 64),
    ]


def test_every_contender_is_in_every_row_of_the_rollouts(table):
    names = [name for name in contenders.names(CPU) if name != contenders.CAX or find_spec("cax")]
    rollouts = [row for row in table if row["what"] == "rollout"]
    assert [row["contender"] for row in rollouts] == names * 2
    for row in rollouts:
        assert 0 < row["ms_least"] <= row["ms_per_step"] <= row["ms_most"]
        assert (row["times_as_fast"] == 1) == (row["contender"] == REFERENCE)
        assert row["ceiling_share"] > 0


class Here:
    """A process in name only."""

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("what", ["rollout", "Init-NCA", "PI-NCA"])
def test_a_contender_that_computes_something_else_is_refused(what, monkeypatch):
    task = contenders.Task(what, 1, 8, 0.0, "cpu")
    own = {REFERENCE: Here(), OURS: Here()}
    assert list(benchmark.take_turns(own, task, 1)) == [REFERENCE, OURS]

    def wrong(name, *arguments):
        found = contenders.prepare(name, *arguments)
        return [part * 1.001 if name == OURS else part for part in found]

    monkeypatch.setattr(benchmark, "prepare", wrong)
    with pytest.raises(AssertionError, match="ours is off by"):
        benchmark.take_turns(own, task, 1)


def test_a_contender_that_is_not_installed_is_passed_over(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cax", None)
    task = contenders.Task("rollout", 1, 8, 0.0, "cpu")
    own = {REFERENCE: Here(), contenders.CAX: Here()}
    assert list(benchmark.take_turns(own, task, 1)) == [REFERENCE]
    assert "CAX, tuned: not measured" in capsys.readouterr().err


def test_a_city_has_as_many_buildings_as_asked_for():
    state = random_state(4, 128, 0.3)
    assert 0.65 < state[:, 2].mean() < 0.75
    assert random_state(1, 20, 0.0)[:, 2].min() == 1


def test_the_least_work_is_that_of_both_layers_over_the_air():
    state = random_state(1, 16, 0.0)
    assert benchmark.needed_flops(random_rule(0), state) == 256 * (2 * 72 * 96 + 2 * 96 * 18)
    state[:, 2, :4] = 0
    assert benchmark.needed_flops(random_rule(0), state) == 192 * (2 * 72 * 96 + 2 * 96 * 18)


def test_rows_are_printed_drawn_and_written(table, tmp_path):
    assert all(row["states"] > 0 for row in table if row["what"] == "memory")
    assert all(len(benchmark.line(row)) > 60 for row in table)
    assert len(plot_speed(table).axes[0].patches) == sum("times_as_fast" in r for r in table)
    assert len(plot_scaling(table).axes[0].containers) == len({row["contender"] for row in table})
    benchmark.write_csv(tmp_path / "new" / "table.csv", table)
    with (tmp_path / "new" / "table.csv").open(encoding="utf-8") as file:
        assert [row["what"] for row in csv.DictReader(file)] == [row["what"] for row in table]


def test_it_needs_nothing_beyond_torch_and_what_the_fast_path_needs():
    code = (
        "import sys\n"
        "for name in ('jax', 'piq', 'IPython', 'matplotlib', 'h5py', 'torchvision', 'tqdm'):\n"
        "    sys.modules[name] = None\n"
        "import pinca_lib.benchmark as b; b.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--rounds" in done.stdout
