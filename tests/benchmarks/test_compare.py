"""The comparison of models: what trains nothing is held out, and a table keeps one row of each."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from papermill.exceptions import PapermillExecutionError
from small_cities import write_plain_city

from benchmarks import compare, trainings
from benchmarks.rivals import Rival
from pinca_lib.automaton.rule import CA
from pinca_lib.datasets.dataset import list_cases, load_case, load_dataset
from pinca_lib.runs.checkpoints import checkpoints
from pinca_lib.runs.parameters import PROJECT_ROOT
from pinca_lib.runs.tensor_files import load_tensors


@pytest.fixture
def project(tmp_path, monkeypatch, city_folder):
    """A project of which the three towns are the training data."""
    (tmp_path / "data").mkdir()
    city_folder.rename(tmp_path / "data" / "train")
    monkeypatch.setattr(compare, "PROJECT_ROOT", tmp_path)
    return tmp_path


def test_cities_that_are_held_out_train_nothing(project):
    _, folder, cases = compare.split(["town1"])
    assert [path.stem for path in sorted(folder.glob("town*.h5"))] == ["town0", "town2"]
    assert [case.names[0] for case in cases] == ["town1/town1_d000", "town1/town1_d045"]
    assert compare.split(["town1"])[1] == folder


def test_other_data_have_other_runs(project):
    runs, _, _ = compare.split(["town1"])
    (project / "data" / "train" / "town2.h5").unlink()
    others, folder, _ = compare.split(["town1"])
    assert others != runs
    assert [path.stem for path in folder.glob("town*.h5")] == ["town0"]


def test_scores_leave_out_what_diverged_and_set_larger_cases_apart(city_folder, tmp_path):
    (tmp_path / "large").mkdir()
    write_plain_city(tmp_path / "large" / "large.h5", 48, 48)
    places = [*list_cases(city_folder).values(), *list_cases(tmp_path / "large").values()]
    cases = [load_case(*place) for place in places]
    calls = []

    def predict(case):
        calls.append(case)
        wrong = torch.nan if len(calls) == 1 else 2 if case.states.shape[-1] == 48 else 1
        return case.states[0] * wrong

    rows = compare.judge(predict, cases)
    assert [row["cells"] for row in rows] == [case.states[0, 0].numel() for case in cases]
    assert [row["case"] for row in rows] == [case.names[0] for case in cases]
    found = compare.summary(rows)
    assert found["relative_l2_wind"] == found["mean_relative_l2_wind"] == 0
    assert found["relative_l2_wind_large"] == pytest.approx(1)
    assert found["diverged"] == 1


def test_rules_are_scored_by_how_they_heal_and_what_has_none_is_not(city_folder, monkeypatch):
    cases = [load_case(*place) for place in list_cases(city_folder).values()]
    errors = [0.01 * k for k in range(len(cases))]
    left = iter(errors)
    monkeypatch.setattr(compare, "healing_errors", lambda *about: [next(left)])
    found = compare.summary(compare.judge(lambda case: case.states[0], cases, rules=[CA()]))
    assert found["healing"] == pytest.approx(np.median(errors), abs=1e-4)
    assert found["healing_most"] == pytest.approx(max(errors), abs=1e-4)
    found = compare.summary(compare.judge(lambda case: case.states[0], cases))
    assert np.isnan([found["healing"], found["healing_most"]]).all()


def test_what_is_held_out_is_what_is_scored(monkeypatch, capsys):
    given = ["compare.py", "longer", "--hold-out", "florence", "--on", "fresh"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        compare.main()
    assert "leave --on out" in capsys.readouterr().err


@pytest.mark.parametrize("ename", ["FloatingPointError", "KeyError"])
def test_a_training_that_diverges_has_a_row_without_scores(
    ename, city_folder, tmp_path, monkeypatch
):
    def fail(*arguments, **parameters):
        raise PapermillExecutionError(0, 0, "", ename, "the loss is 1e+30", [])

    monkeypatch.setattr(compare, "train", fail)
    own = trainings.Recipe("ours", 1, 1), tmp_path, city_folder, 0, "cpu", tmp_path / "below"
    if ename == "KeyError":
        with pytest.raises(PapermillExecutionError):
            compare.train_either(*own)
        return
    trained = compare.train_either(*own)
    cases = [load_case(*place) for place in list_cases(city_folder).values()]
    found = compare.summary(compare.judge(trained.predict, cases))
    assert found["diverged"] == len(cases)
    assert np.isnan([found["relative_l2_wind"], found["mean_relative_l2_wind"]]).all()
    assert trained.parameters == 0


def test_over_moves_no_direction_is_preferred(city_folder):
    case = load_case(*next(iter(list_cases(city_folder).values())))
    same = compare.over_moves(lambda moved: moved.states[0])(case)
    torch.testing.assert_close(same, case.states[0])

    def eastward(moved):
        state = moved.states[0].clone()
        state[6], state[7], state[8], state[10] = 1, 0, 1, 0.01
        return state

    state = compare.over_moves(eastward)(case)
    torch.testing.assert_close(state[[6, 7, 10]], torch.zeros_like(state[[6, 7, 10]]))
    torch.testing.assert_close(state[8], torch.ones_like(state[8]))


@pytest.mark.parametrize("rival", ["unet", "fno"])
def test_a_rival_is_scored_by_its_running_average_and_goes_on_after_a_stop(
    rival, project, tmp_path, monkeypatch
):
    """Trained whole, or stopped after two of four iterations, it predicts the same."""
    data = project / "data" / "train"
    small = {"unet": {"features": (4,) * 6, "dropout": 0.5},
             "fno": {"n_modes": (4, 4), "hidden_channels": 4}}[rival]  # fmt: skip
    recipe = trainings.Recipe("one", 4, rival=rival, network=small)
    whole = compare.train_rival(recipe, tmp_path / "whole", data, 0, "cpu")
    monkeypatch.setattr("pinca_lib.runs.run.CHECKPOINT_EVERY", 2)
    with monkeypatch.context() as cut:
        cut.setattr(compare.PILoss, "__call__", power_cut_after(2, compare.PILoss.__call__))
        with pytest.raises(KeyboardInterrupt):
            compare.train_rival(recipe, tmp_path / "parts", data, 0, "cpu")
    parts = compare.train_rival(recipe, tmp_path / "parts", data, 0, "cpu")
    case = load_dataset(data, 64)
    torch.testing.assert_close(parts.predict(case), whole.predict(case))
    saved = load_tensors(checkpoints(next((tmp_path / "parts").glob(f"{rival}_*")))[-1])
    average, last = saved["model_state_dict"], saved["trained_state_dict"]
    network = Rival(rival, torch.ones(24), **small).requires_grad_(False).eval()
    network.load_state_dict(average)
    torch.testing.assert_close(parts.predict(case), network(case.states)[0])
    assert any(not torch.equal(average[name], last[name]) for name in average)


def power_cut_after(calls, work):
    """Return the work, which comes to an end after some calls."""
    left = iter(range(calls))

    def cut(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return work(*arguments)

    return cut


def test_a_table_keeps_the_newest_rows_of_each_model_seed_and_split_on_the_same_data(tmp_path):
    table = tmp_path / "table.csv"
    for model, seed, data, errors in (
        ("ours", 2, "fewer", [0.7]),
        ("ours", 0, "all", [0.5, 0.6]),
        ("ours", 1, "all", [0.4]),
        ("theirs", 0, "all", [0.6]),
        ("ours", 0, "all", [0.3, 0.2]),
    ):
        row = {"model": model, "seed": seed, "data": data, "held_out": "test"}
        compare.write(table, [row | {"error": error} for error in errors])
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["seed"], row["error"]) for row in rows] == [
        ("ours", "1", "0.4"), ("theirs", "0", "0.6"), ("ours", "0", "0.3"), ("ours", "0", "0.2"),
    ]  # fmt: skip


def test_times_are_measured_and_nothing_else_changes(city_folder, tmp_path, monkeypatch):
    """Two lengths of training, one rival with a row for its moves; a stranger's row stays."""

    def brief(recipe, folder, *rest):
        assert recipe.epochs == 1
        assert recipe.init_epochs == (0 if recipe.rival else 1)
        count = 2 if recipe.init_epochs else 1
        return compare.Trained(lambda case: case.states[0], 7, [lambda: None] * count)

    monkeypatch.setattr(compare, "train_either", brief)
    monkeypatch.setattr(compare, "median_time", lambda work, rounds=7: [work()] and 0.5)
    recipes = [
        trainings.Recipe("ours", 4, 10),
        trainings.Recipe("theirs", 20, rival="fno"),
    ]
    names = ("ours", "theirs", "theirs, over 8 moves", "stranger")
    rows = [{"model": name, "error": "0.1", "case_s": "", "training_s": ""} for name in names]
    cases = [load_case(*place) for place in list_cases(city_folder).values()]
    compare.retime(rows, recipes, city_folder, cases)
    assert [row["training_s"] for row in rows] == [7, 10, 10, ""]
    assert [row["case_s"] for row in rows] == [0.5, 0.5, 0.5, ""]
    assert [row["error"] for row in rows] == ["0.1"] * 4


def test_the_weights_that_ship_stand_for_their_own_training_alone():
    data = load_dataset(PROJECT_ROOT / "data" / "train", 64)
    ours = trainings.FAMILIES[0]
    assert compare.ships(ours, data, seed=0)
    assert not compare.ships(ours, data, seed=1)
    assert not compare.ships(trainings.RIVALS[0], data, seed=0)
    assert not compare.ships(replace(ours, pi={"recorded": 1}), data, seed=0)
    assert not compare.ships(ours, replace(data, states=data.states[:-1]), seed=0)


def test_with_other_defaults_the_weights_that_ship_are_of_another_training(monkeypatch):
    data = load_dataset(PROJECT_ROOT / "data" / "train", 64)
    inspect = compare.inspect_notebook

    def changed(path):
        found = inspect(path)
        return found | {"min_steps": found["min_steps"] | {"default": "17"}}

    monkeypatch.setattr(compare, "inspect_notebook", changed)
    assert not compare.ships(trainings.FAMILIES[0], data, seed=0)


def test_models_that_differ_above_alone_share_an_init_nca():
    ours, *others = sorted(trainings.ABLATION, key=lambda one: not one.name.startswith("ours"))
    shared = [one.name for one in others if compare.first_like(one, trainings.ABLATION) is ours]
    assert shared == [one.name for one in others if one.init == ours.init]
    assert 0 < len(shared) < len(others)
