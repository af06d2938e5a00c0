"""Notebook parameters: right ones in their types, wrong ones in one line that names them."""

import os

import pytest

from pinca_lib.errors import InputError
from pinca_lib.runs import parameters
from pinca_lib.runs.parameters import input_path, output_path, read_parameters

CELL = """data_dir: str = "data/train"
epochs: int = 40  # iterations
learning_rate: float = 1e-3
batch_size: int = 6
swaps: int = 1
pool_size: int = 64
min_steps: int = 8
max_steps: int = 24
resume: str = ""
init_loss: str = "pixel"
gradient_checkpoints: int = 0
image_size: int = 64
"""


def notebook(given: str = "") -> dict:
    """The globals of a notebook whose cells have run, as papermill injects what was given."""
    cells = ["", "import torch", CELL]
    if given:
        cells.append("# Parameters\n" + given)
    namespace = {"unrelated": 3}
    for cell in cells:
        exec(cell, namespace)
    return namespace | {"In": [*cells, "read_parameters(globals())"]}


def test_defaults_are_read():
    p = read_parameters(notebook())
    assert (p.epochs, p.learning_rate, p.data_dir) == (40, 1e-3, "data/train")
    assert p.given == frozenset()


def test_what_papermill_was_given_wins_and_is_remembered():
    p = read_parameters(notebook("epochs = 7\nlearning_rate = 1\n"))
    assert p.epochs == 7
    assert isinstance(p.learning_rate, float)
    assert p.given == {"epochs", "learning_rate"}


def test_a_whole_float_is_an_integer():
    epochs = read_parameters(notebook("epochs = 1e3")).epochs
    assert epochs == 1000
    assert isinstance(epochs, int)


def test_a_plain_script_without_history_reads_the_same():
    namespace = {}
    exec(CELL, namespace)
    assert read_parameters(namespace).epochs == 40


def test_the_switch_of_the_experiment_means_its_sixteen_segments():
    given = {"False": 0, "True": 16, "4": 4}
    for value, segments in given.items():
        p = read_parameters(notebook(f"gradient_checkpoints = {value}"))
        assert p.gradient_checkpoints is segments


def test_an_unknown_parameter_is_an_error_that_names_the_known_ones():
    with pytest.raises(InputError, match=r"unknown parameter 'epoch'; .*epochs"):
        read_parameters(notebook("epoch = 7"))


def test_a_parameter_of_another_notebook_is_unknown_here():
    with pytest.raises(InputError, match="unknown parameter 'alpha'"):
        read_parameters(notebook("alpha = 2.0"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("epochs = 1.5", "epochs='1.5': expected a whole number from 1"),
        ("epochs = 0", "epochs='0'"),
        ("epochs = -3", "epochs='-3'"),
        ("epochs = 'many'", "epochs='many'"),
        ("epochs = None", "epochs='None'"),
        ("epochs = True", "epochs='True'"),
        ("epochs = [3]", "epochs="),
        ("epochs = float('inf')", "epochs='inf'"),
        ("learning_rate = float('nan')", "learning_rate='nan'"),
        ("learning_rate = 0", "learning_rate"),
        ("data_dir = [3]", "expected text"),
        (
            "init_loss = 'best'",
            "init_loss='best': expected one of 'relative', 'pixel', 'filters', 'vgg'",
        ),
        ("gradient_checkpoints = 'yes'", "gradient_checkpoints='yes': expected a whole number"),
        ("gradient_checkpoints = -1", "gradient_checkpoints='-1': expected a whole number from 0"),
        ("max_steps = 8", r"max_steps=8: expected more than min_steps=8"),
        ("swaps = 7", r"swaps=7: expected at most batch_size=6"),
        ("batch_size = 65", r"batch_size=65: expected at most pool_size=64"),
        ("image_size = 8", r"image_size='8': expected a whole number from 16 to 4096, or 0"),
    ],
)
def test_a_wrong_value_names_the_parameter_and_what_was_expected(given, message):
    with pytest.raises(InputError, match=message) as raised:
        read_parameters(notebook(given))
    assert "\n" not in str(raised.value)


def test_resume_may_be_given_as_true_or_false():
    assert read_parameters(notebook("resume = True")).resume == "latest"
    assert read_parameters(notebook("resume = False")).resume == ""


def test_paths_start_at_the_projects_root_else_at_the_working_folder(tmp_path, monkeypatch):
    root, work = tmp_path / "root", tmp_path / "work"
    (root / "data").mkdir(parents=True)
    (work / "mine").mkdir(parents=True)
    monkeypatch.setattr(parameters, "PROJECT_ROOT", root)
    monkeypatch.chdir(work)
    assert input_path("data_dir", "data") == root / "data"
    assert input_path("data_dir", "mine") == work / "mine"
    assert input_path("data_dir", str(work)) == work
    assert input_path("buildings", "mine|layername=a b") == work / "mine|layername=a b"
    with pytest.raises(InputError, match=r"parameter data_dir='gone': .*root.*work"):
        input_path("data_dir", "gone")


def test_a_notebook_shows_the_message_without_a_traceback():
    assert InputError("what was wrong")._render_traceback_() == ["InputError: what was wrong"]


@pytest.mark.parametrize("given", ["case = 45", "output_dir = 202406", "data_dir = 1.5"])
def test_a_name_that_papermill_made_a_number_is_refused_with_the_way_to_give_it(given):
    name = given.split()[0]
    namespace = notebook(given) | {"In": [f"{name}: str = ''"]}
    with pytest.raises(InputError, match=rf"{name}=.*expected text, not a number.* -r {name} 045"):
        read_parameters(namespace)


def test_texts_that_say_a_number_or_a_truth_mean_the_same_by_every_route():
    cell = {"In": ["epochs: int = 1\nwind_from: str = ''\nbounded: bool = True\nresume: str = ''"]}
    typed = {"epochs": 7, "wind_from": 270, "bounded": False, "resume": True}
    raw = {"epochs": "7", "wind_from": "270", "bounded": "False", "resume": "True"}  # by -r
    assert read_parameters(cell | typed) == read_parameters(cell | raw)


def test_home_and_variables_in_paths_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    (tmp_path / "data").mkdir()
    assert input_path("data_dir", "~/data") == tmp_path / "data"
    assert output_path("$RUNS/new") == tmp_path / "runs" / "new"
    with pytest.raises(InputError, match="output_dir='.NO_SUCH/new': there is no such user or env"):
        output_path("$NO_SUCH/new")


def test_paths_of_another_system_and_empty_ones_are_refused():
    of_windows = ["C:\\new", "D:runs", "\\\\server\\runs", "runs\\new"]
    for path in ["/srv/runs"] if os.name == "nt" else of_windows:
        with pytest.raises(InputError, match="path of Windows"):
            output_path(path)
    for empty in ("", " "):
        with pytest.raises(InputError, match=f"output_dir='{empty}': expected a path"):
            output_path(empty)
