"""The benchmark: contenders agree, rows are complete, nothing beyond torch is needed. No times."""

import csv
import os
import platform
import subprocess
import sys
from concurrent.futures import Future
from importlib.util import find_spec

import pytest
import torch

from benchmarks import contenders, speed as benchmark
from benchmarks.contenders import OURS, REFERENCE, random_rule, random_state
from pinca_lib.plotting import plot_scaling, plot_speed
from pinca_lib.runs import PROJECT_ROOT

CPU = torch.device("cpu")
TASKS = ("rollout", "both rules", *contenders.TRAININGS)
OF_NUMBA = ("cffi", "_cffi_backend", "pycparser")  # which it takes where they are installed


@pytest.fixture(scope="module")
def table():
    """Rows of each kind; the rest is in notebook 05, since each contender's process takes 2 s."""
    return [
        *benchmark.time_rollouts(CPU, [(2, 8)], 2, [0.0]),
        *benchmark.time_training(CPU, [16], 2, ["Init-NCA"]),
        *benchmark.measure_memory([(1, 64)], ["both rules"]),
    ]


def test_every_contender_is_in_every_row_of_the_rollouts(table):
    names = [name for name in contenders.names(CPU) if name != contenders.CAX or find_spec("cax")]
    rollouts = [row for row in table if row["what"] == "rollout"]
    assert [row["contender"] for row in rollouts] == names
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


@pytest.mark.parametrize("what", TASKS)
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


@pytest.mark.parametrize("what", TASKS)
@pytest.mark.parametrize("name", [REFERENCE, OURS])
def test_times_are_those_of_one_step(what, name, monkeypatch):
    contenders.prepare(name, contenders.Task(what, 1, 8, 0.0, "cpu"), torch.get_num_threads())
    monkeypatch.setattr(contenders, "seconds", lambda work, device: work.args[1])  # a second a step
    assert contenders.again() == 1


def test_the_ceiling_counts_a_multiplication_and_an_addition(monkeypatch):
    monkeypatch.setattr(benchmark, "seconds", lambda work, device: 0.5)
    assert benchmark.ceiling(CPU) == 2 * 2 * 2048**3


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
    assert all(row["states"] > 0 for row in table if row["what"].startswith("memory"))
    assert all(len(benchmark.line(row)) > 60 for row in table)
    assert len(plot_speed(table).axes[0].patches) == sum("times_as_fast" in r for r in table)
    assert len(plot_scaling(table).axes[0].containers) == len({row["contender"] for row in table})
    benchmark.write_csv(tmp_path / "new" / "table.csv", table)
    with (tmp_path / "new" / "table.csv").open(encoding="utf-8") as file:
        assert [row["what"] for row in csv.DictReader(file)] == [row["what"] for row in table]


def test_it_needs_nothing_beyond_torch_and_what_the_fast_path_needs():
    code = (
        "import sys, torch, numba, scipy.linalg, threadpoolctl\n"
        "try: import triton.language\n"
        "except ImportError: pass\n"
        "found = lambda: {name.partition('.')[0] for name in sys.modules}\n"
        "before = found()\n"
        "from benchmarks import speed as benchmark\n"
        "task = benchmark.Task('both rules', 1, 8, 0.0, 'cpu')\n"
        "benchmark.prepare('ours', task, 1)\n"
        "print(*found() - before - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "pinca_lib" in done.stdout
    assert set(done.stdout.split()) <= {"benchmarks", "lazy_loader", "pinca_lib", *OF_NUMBA}


def test_on_a_gpu_the_kernel_is_timed_beside_plain_pytorch(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(contenders.dispatch, "fused", object())
    assert contenders.names(cuda) == [REFERENCE, OURS, contenders.PLAIN]
    monkeypatch.setattr(contenders.dispatch, "fused", None)
    assert contenders.names(cuda) == [REFERENCE, OURS]


def test_a_device_that_cannot_be_timed_is_refused(monkeypatch):
    monkeypatch.setattr(benchmark, "choose_device", lambda name: torch.device("mps"))
    with pytest.raises(SystemExit, match="use 'cpu' or 'cuda'"):
        benchmark.main(["--device", "mps"])


def test_it_says_where_the_fast_path_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "compiled", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for part in ("time_rollouts", "time_both_rules", "time_training", "measure_memory"):
        monkeypatch.setattr(benchmark, part, lambda *arguments: [])
    benchmark.run(CPU)
    told = capsys.readouterr().out
    assert "GPU: not measured: no CUDA device" in told
    assert "compiled code: not measured" in told


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are not steered")
def test_a_process_keeps_its_buffers_where_that_is_asked_for():
    names = [REFERENCE, contenders.KEPT]
    with benchmark.processes(names) as own:
        found = {name: own[name].submit(page_faults).result() for name in names}
    assert found[REFERENCE] > 16 > found[contenders.KEPT]  # pages may have up to 2 MB
    assert not set(contenders.ENVIRONMENTS[contenders.KEPT]) & set(os.environ)


def page_faults():
    """Return the page faults of filling 64 MB, when that was done many times before."""
    import resource

    def fill():
        torch.ones(2**24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    faults = [fill() for _ in range(20)]
    return faults[-1] - faults[-2]
