"""A sweep runs every combination once, goes on where it stopped, and keeps failures apart."""

import json

import jupytext
import nbformat
import pytest

from pinca_lib.errors import InputError
from pinca_lib.runs.sweep import connect, sweep_tables, sweep_tasks, train

# Stands for a training: it writes a log and says whether it was told to go on with a run.
NOTEBOOK = """
# %% tags=["parameters"]
output_dir = ""
resume = ""
seed = 0
hidden = 0

# %%
from pathlib import Path
if hidden == 13:
    raise ValueError("13 is unlucky")
folder = Path(resume or Path(output_dir) / "init_nca_20260102-030405")
folder.mkdir(exist_ok=True)
begun = (folder / "metrics.csv").exists()
(folder / "metrics.csv").write_text(f"iteration,loss,begun\\n1,{seed + hidden},{int(begun)}\\n")
"""


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "notebook.ipynb"
    content = jupytext.reads(NOTEBOOK, "py:percent")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content.metadata["kernelspec"] = kernel
    nbformat.write(content, path)
    return path


def test_there_is_a_task_for_every_combination(tmp_path):
    tasks = sweep_tasks("n.ipynb", tmp_path, {"seed": [0, 1], "hidden": [8, 16]}, {"epochs": 3})
    assert [task.settings for task in tasks] == [
        {"seed": 0, "hidden": 8}, {"seed": 0, "hidden": 16},
        {"seed": 1, "hidden": 8}, {"seed": 1, "hidden": 16},
    ]  # fmt: skip
    assert tasks[1].parameters == {"seed": 0, "hidden": 16, "epochs": 3}
    assert len({task.folder for task in tasks}) == 4
    (task,) = sweep_tasks("n.ipynb", tmp_path, {"data_dir": ["../my data/é"]})
    assert task.folder.parent == tmp_path  # whatever a value is, it makes one folder


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"sed": [0]}, "unknown parameter 'sed'"),
        ({"seed": [0, -1]}, "parameter seed='-1'"),
        ({"seed": 0}, "settings: seed is 0; expected a list"),
        ({"seed": []}, "expected a list"),
        ({"output_dir": ["a"]}, "output_dir is set by the sweep"),
        ({"seed": [0, 0]}, "values that differ"),
        ({}, "at least one list"),
    ],
)
def test_wrong_settings_are_named(tmp_path, settings, line):
    with pytest.raises(InputError, match=line):
        sweep_tasks("n.ipynb", tmp_path, settings)


def test_a_task_is_done_once_and_goes_on_where_it_stopped(tmp_path, notebook):
    (task,) = sweep_tasks(notebook, tmp_path / "sweep", {"seed": [3]})
    run = task.folder / "init_nca_20260102-030405"
    run.mkdir(parents=True)  # as a worker that died has left it
    (run / "ca_model_step_1.pth").touch()
    (run / "metrics.csv").touch()
    died = task.folder / "init_nca_20260102-020304"  # before its first checkpoint
    died.mkdir()
    (died / "metrics.csv").write_text("iteration,loss\n1,99\n")
    result = train(task)
    assert (result["loss"], result["begun"], result["run"]) == (3, 1, run.name)
    (task.folder / "notebook.ipynb").unlink()
    assert train(task) == result  # from result.json: the notebook does not run again
    assert not (task.folder / "notebook.ipynb").exists()
    (other,) = sweep_tasks(notebook, tmp_path / "sweep", {"seed": [3]}, {"epochs": 9})
    assert other.result is None  # with other parameters it is not done
    (task.folder / "result.json").write_text("{")
    assert task.result is None


def test_failures_are_kept_apart(tmp_path, notebook):
    tasks = sweep_tasks(notebook, tmp_path / "sweep", {"hidden": [1, 13]})
    with connect(workers=1) as client:
        *_, table = sweep_tables(tasks, client)
    assert list(table["state"]) == ["done", "failed"]
    assert table["loss"][0] == 1
    assert "13 is unlucky" in table["error"][1]
    assert json.loads((tasks[0].folder / "result.json").read_text())["result"]["loss"] == 1


def test_a_scheduler_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"scheduler='nowhere': no answer"):
        connect("nowhere")
