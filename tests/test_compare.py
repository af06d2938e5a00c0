"""The comparison of models: what trains nothing is held out, and a table keeps one row of each."""

import csv
import sys

import pytest
import torch

from pinca_lib.datasets import list_cases, load_case
from pinca_lib.parameters import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "data"))
import compare


@pytest.fixture
def project(tmp_path, monkeypatch, city_folder):
    """A project of which the three towns are the training data."""
    (tmp_path / "data").mkdir()
    city_folder.rename(tmp_path / "data" / "train")
    monkeypatch.setattr(compare, "PROJECT_ROOT", tmp_path)
    return tmp_path


def test_cities_that_are_held_out_train_nothing(project):
    folder, cases = compare.split(["town1"])
    assert [path.stem for path in sorted(folder.glob("town*.h5"))] == ["town0", "town2"]
    assert [case.names[0] for case in cases] == ["town1/town1_d000", "town1/town1_d045"]
    (project / "data" / "train" / "town2.h5").unlink()
    again, _ = compare.split(["town1"])  # a run that goes on has the data that it began with
    assert (again / "town2.h5").exists()


def test_scores_are_medians_of_what_is_finite_and_count_the_rest(city_folder):
    cases = [load_case(*place) for place in list_cases(city_folder).values()]
    calls = []

    def predict(case):
        calls.append(case)
        return case.states[0] * (torch.nan if len(calls) == 1 else 1)

    found = compare.score(compare.Trained(predict, 7, [(3, lambda: None)]), cases)
    assert found["relative_l2_wind"] == 0
    assert (found["diverged"], found["parameters"]) == (1, 7)


def test_a_table_keeps_the_newest_row_of_each_model_seed_and_split(tmp_path):
    table = tmp_path / "table.csv"
    for model, seed, error in (
        ("ours", 0, 0.5),
        ("ours", 1, 0.4),
        ("theirs", 0, 0.6),
        ("ours", 0, 0.3),
    ):
        compare.write(table, {"model": model, "seed": seed, "held_out": "test", "error": error})
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["seed"], row["error"]) for row in rows] == [
        ("ours", "1", "0.4"), ("theirs", "0", "0.6"), ("ours", "0", "0.3")]  # fmt: skip


def test_models_that_differ_above_alone_share_an_init_nca():
    ours, *others = compare.ABLATION
    shared = [one.name for one in others if compare.first_like(one, compare.ABLATION) is ours]
    assert shared == [one.name for one in others if not one.init]
    assert 0 < len(shared) < len(others)
