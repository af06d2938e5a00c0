"""Several processes train as one: their gradients, their parts of the pool, their end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import several
import torch
from small_cities import write_plain_city

from pinca_lib.datasets import load_dataset
from pinca_lib.errors import InputError
from pinca_lib.runs.tensor_files import load_tensors
from pinca_lib.training.processes import Processes

TWO = ("--nproc-per-node", "2")
NOTEBOOK = """
# %% tags=["parameters"]
seed = 0

# %%
import os, time
print("process", os.environ["RANK"], "seed", seed)

# %%
if os.environ["RANK"] == "1":
    time.sleep(5)  # until process 0 has printed
    raise ValueError("process 1 has had enough")
time.sleep(100)
"""


def start(*command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True,
                          text=True)  # fmt: skip


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory) -> tuple[Path, Path]:
    """The folders of the cities and of what two processes have written; see ``several.py``."""
    cities, output = tmp_path_factory.mktemp("cities"), tmp_path_factory.mktemp("output")
    for seed in range(3):
        write_plain_city(cities / f"town{seed}.h5", degrees=(0.0, 45.0), seed=seed)
    script = str(Path(several.__file__))
    done = start("torch.distributed.run", "--standalone", *TWO, script, str(cities), str(output))
    assert not done.returncode, done.stderr
    return cities, output


def test_two_processes_with_three_samples_have_the_gradient_of_one_with_six(trained_by_two):
    cities, output = trained_by_two
    training, batch = several.six_samples(load_dataset(cities, 24))
    training.descend(several.loss_of(training, batch))
    for ours, theirs in zip(training.rule.parameters(), torch.load(output / "gradients.pth"),
                            strict=True):  # fmt: skip
        rounding = 1e-8 * float(ours.grad.abs().max())  # of a sum, whose terms may cancel
        torch.testing.assert_close(theirs, ours.grad, rtol=1e-4, atol=rounding)


def test_one_process_goes_on_with_the_run_of_two(trained_by_two):
    cities, output = trained_by_two
    (folder,) = (output / "whole").iterdir()
    saved = load_tensors(folder / "ca_pool_step_6.pth")
    assert saved["dynamic"].shape == (8, 18, 24, 24)
    dataset = load_dataset(cities, 24)
    with pytest.warns(UserWarning, match="was begun by 2 processes and goes on with 1"):
        run, _ = several.train(dataset, output / "whole", 7, "latest")
    assert [row["iteration"] for row in run.rows] == list(range(7))
    assert [row["rank"] for row in run.rows] == [0.5] * 6 + [0]  # the log has the means
    assert [path.name for path in sorted(folder.glob("*pool*"))] == ["ca_pool_step_7.pth"]


def test_samples_that_cannot_be_shared_equally_are_refused():
    started = {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    four = Processes(started)
    assert four.share("batch_size", 8) == 2
    with pytest.raises(InputError, match="batch_size=6: expected a multiple of 4, the number of"):
        four.share("batch_size", 6)
    with pytest.raises(InputError, match="device='cuda:1': 4 processes need devices of their own"):
        four.join(torch.device("cuda:1"))
    assert four.part(torch.arange(8)).tolist() == [2, 3]


def test_what_several_processes_lack_is_named(monkeypatch):
    two = Processes({"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2",
                     "LOCAL_WORLD_SIZE": "2"})  # fmt: skip
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="this machine has 1 GPUs for 2 processes"):
        two.join(torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match=r"needs accelerate: pip install 'pinca\[cluster\]'"):
        two.join(torch.device("cpu"))


def test_a_process_alone_needs_no_other_library():
    code = (
        "import sys, pinca_lib.runs.run\nfrom pinca_lib.runs import choose_device\n"
        "choose_device('cpu'); assert 'accelerate' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_process_that_fails_ends_all_with_a_line(tmp_path):
    path, output = tmp_path / "notebook.ipynb", tmp_path / "out.ipynb"
    content = jupytext.reads(NOTEBOOK, "py:percent")
    content.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(content, path)
    began = time.monotonic()
    done = start("pinca_lib.torchrun", *TWO, str(path), str(output), "-p", "seed", "7")
    assert done.returncode == 1
    assert time.monotonic() - began < 90
    assert "process 1: ValueError: process 1 has had enough\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert "process 1 failed, so all were ended; a run that has begun goes on" in done.stderr
    assert "process 0 seed 7" in output.read_text(encoding="utf-8")
