"""Run folders: resuming is exact, logs are complete, and a power cut loses no checkpoint."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_rules import city_state, trained, windward_rule

from pinca_lib.automaton.rule import CA
from pinca_lib.channels import TOPO
from pinca_lib.datasets.dataset import load_dataset
from pinca_lib.errors import InputError
from pinca_lib.rollouts import rollout
from pinca_lib.runs import files as runfiles, run as runs
from pinca_lib.runs.checkpoints import (
    checkpoints,
    load_rule,
    load_tensors,
    save_tensors,
    start_from,
)
from pinca_lib.runs.run import Run
from pinca_lib.training.descent import Training, seed_everything
from pinca_lib.training.losses import InitLoss
from pinca_lib.training.pool import SamplePool


class PowerCutError(Exception):
    """Stands for a power cut."""


@pytest.fixture
def dataset(city_folder):
    return load_dataset(city_folder, 24)


def settings(output_dir, **changes) -> SimpleNamespace:
    values = {"output_dir": str(output_dir), "data_dir": "cities", "resume": "", "seed": 3,
              "epochs": 7, "device": "cpu", "learning_rate": 1e-3}  # fmt: skip
    return SimpleNamespace(**(values | changes), given=frozenset(changes))


def train(dataset, parameters, power_cut_in: int | None = None) -> tuple[Run, Training]:
    """Run a small training loop, with the texture loss because it draws random numbers."""
    run = Run("tiny", parameters)
    random = seed_everything(run.parameters.seed)
    rule = CA()
    pool = SamplePool(dataset, 8, random, augment=True)
    training = Training(rule, pool, learning_rate=run.parameters.learning_rate, ema_decay=0.9)
    loss = InitLoss("filters", 1.0)
    for iteration in run.iterations(training, dataset):
        if iteration % 3 == 0:
            pool.refresh()
        batch = pool.sample(2, restarts=int(iteration % 2 == 0))
        steps = training.draw_steps(2, 5)
        state = rollout([rule], batch.state, steps, steps)
        terms = loss(state, batch)
        training.descend(terms["loss"])
        pool.write(batch, state)
        run.log(iteration, terms | {"steps": steps})
        if iteration == power_cut_in:
            raise PowerCutError
    return run, training


def everything(training: Training) -> dict:
    return training.state_dict() | {"pool": training.pool.state_dict()}


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("power_cut_in", [0, 3, 4, 6])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    dataset, tmp_path, monkeypatch, power_cut_in
):
    monkeypatch.setattr(runs, "CHECKPOINT_EVERY", 2)
    whole, expected = train(dataset, settings(tmp_path / "a"))
    with pytest.raises(PowerCutError):
        train(dataset, settings(tmp_path / "b"), power_cut_in)
    run, training = train(dataset, settings(tmp_path / "b", resume="latest"))
    assert same(everything(training), everything(expected))
    assert run.rows == whole.rows
    for name in ("metrics.csv", "ca_model_step_7.pth"):
        assert (run.folder / name).exists()
    assert (run.folder / "metrics.csv").read_bytes() == (whole.folder / "metrics.csv").read_bytes()
    with (run.folder / "metrics.csv").open() as file:
        assert [int(row["iteration"]) for row in csv.DictReader(file)] == list(range(7))


def test_an_interrupted_cell_continues_when_it_is_run_again(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_EVERY", 2)
    run = Run("tiny", settings(tmp_path / "runs"))
    pool = SamplePool(dataset, 8, seed_everything(3))
    training = Training(CA(), pool, learning_rate=1e-3)
    seen = []
    for stop_at in (3, None):
        for iteration in run.iterations(training, dataset):
            run.log(iteration, {"loss": 0.0})
            if iteration == stop_at:
                break
            seen.append(iteration)
    assert seen == [0, 1, 2, 2, 3, 4, 5, 6]
    assert [row["iteration"] for row in run.rows] == list(range(7))
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_folder_contains_checkpoints_pool_configuration_and_log(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_EVERY", 2)
    run, training = train(dataset, settings(tmp_path))
    assert re.fullmatch(r"tiny_\d{8}-\d{6}", run.folder.name)
    names = sorted(path.name for path in run.folder.iterdir())
    kept = [f"ca_model_step_{step}.pth" for step in (4, 6, 7)]
    assert names == [*kept, "ca_pool_step_7.pth", "config.json", "metrics.csv"]
    config = json.loads((run.folder / "config.json").read_text())
    assert config["parameters"]["seed"] == 3
    assert config["data_fingerprint"] == dataset.fingerprint()
    assert config["cells"] == [2.0, 2.0]
    rule = load_rule(str(run.folder))
    assert rule.cells == (2.0, 2.0)
    assert rule.tallest == dataset.states[:, TOPO].max() > 0
    assert config["versions"]["torch"] == torch.__version__
    saved = load_tensors(run.folder / kept[-1])
    assert saved["epoch"] == 7
    assert {"model_state_dict", "optimizer_state_dict"} <= saved.keys()
    assert same(saved["model_state_dict"], dict(training.average.state_dict()))
    assert same(saved["trained_state_dict"], dict(training.rule.state_dict()))


def test_a_power_cut_while_saving_leaves_the_previous_checkpoint(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_EVERY", 2)
    _, expected = train(dataset, settings(tmp_path / "a"))
    real_save = torch.save
    saved = []

    def dying_save(data, file):
        saved.append(data)
        if len(saved) == 6:  # the checkpoint of iteration 4, after its pool
            file.write_bytes(b"half of it")
            raise PowerCutError
        real_save(data, file)

    monkeypatch.setattr(torch, "save", dying_save)
    with pytest.raises(PowerCutError):
        train(dataset, settings(tmp_path / "b"))
    monkeypatch.setattr(torch, "save", real_save)
    _, training = train(dataset, settings(tmp_path / "b", resume="latest"))
    assert same(everything(training), everything(expected))


def test_a_finished_run_can_be_extended(dataset, tmp_path):
    _, expected = train(dataset, settings(tmp_path / "a"))
    train(dataset, settings(tmp_path / "b", epochs=4))
    run, training = train(dataset, settings(tmp_path / "b", resume="latest", epochs=7))
    assert same(everything(training), everything(expected))
    assert len(run.rows) == 7


def test_resuming_keeps_the_runs_own_parameters(dataset, tmp_path):
    train(dataset, settings(tmp_path, seed=5))
    now = settings(tmp_path, resume="latest")
    now.given = frozenset({"resume"})
    resumed = Run("tiny", now)
    assert resumed.parameters.seed == 5
    assert str(resumed).endswith("from iteration 7")
    now.given = frozenset({"resume", "seed"})
    with pytest.raises(InputError, match=r"seed=3: the run to resume .* has 5"):
        Run("tiny", now)


def test_the_default_epochs_of_the_notebook_do_not_extend_a_resumed_run(dataset, tmp_path):
    train(dataset, settings(tmp_path, epochs=3))
    now = settings(tmp_path, resume="latest")  # the notebook's default: 7
    now.given = frozenset({"resume"})
    assert Run("tiny", now).parameters.epochs == 3
    now.given = frozenset()  # the cell was edited
    assert Run("tiny", now).parameters.epochs == 7


def test_a_run_resumes_only_on_top_of_the_same_init_nca(dataset, tmp_path):
    run = Run("tiny", settings(tmp_path, init_checkpoint="there.pth"))
    pool = SamplePool(dataset, 8, seed_everything(3))
    training = Training(CA(), pool, learning_rate=1e-3)
    below, other = trained(seed=1), trained(seed=2)
    assert len(list(run.iterations(training, dataset, below))) == 7
    again = settings(tmp_path, resume="latest", epochs=9, init_checkpoint="moved.pth")
    with pytest.raises(InputError, match=r"init_checkpoint='moved.pth' is not the Init-NCA"):
        next(Run("tiny", again).iterations(training, dataset, other))
    assert next(Run("tiny", again).iterations(training, dataset, below)) == 7
    assert load_rule(str(run.folder), init_nca=below)
    with pytest.raises(InputError, match="trained on top of another Init-NCA"):
        load_rule(str(run.folder), init_nca=other)


def test_a_new_run_has_no_folder_before_its_first_iteration(tmp_path):
    run = Run("tiny", settings(tmp_path))
    assert str(run) == "a new run of tiny"
    with pytest.raises(RuntimeError, match="run of tiny has no folder yet"):
        run.log(0, {"loss": 0.0})


def test_a_run_of_an_older_version_cannot_be_resumed(dataset, tmp_path):
    run, _ = train(dataset, settings(tmp_path))
    newer = settings(tmp_path, resume=str(run.folder), augment=True)
    with pytest.raises(InputError, match="older version without the parameters augment"):
        Run("tiny", newer)


def test_an_output_folder_that_cannot_be_made_raises_an_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "gone").symlink_to(tmp_path / "unmounted" / "disk")
    for place in ("file", "gone"):
        with pytest.raises(InputError, match="output_dir: cannot write to"):
            runfiles.new_folder(tmp_path / place, "tiny")


def test_a_run_that_cannot_be_resumed_raises_an_error_with_the_reason(
    dataset, tmp_path, city_folder
):
    with pytest.raises(InputError, match="no run of tiny"):
        Run("tiny", settings(tmp_path, resume="latest"))
    with pytest.raises(InputError, match="resume='nowhere'"):
        Run("tiny", settings(tmp_path, resume="nowhere"))
    with pytest.raises(InputError, match="is this a run folder"):
        Run("tiny", settings(tmp_path, resume=str(city_folder)))
    run, _ = train(dataset, settings(tmp_path))
    with pytest.raises(InputError, match="is a run of tiny, not of other"):
        Run("other", settings(tmp_path, resume=str(run.folder)))
    dataset.states[0, 6] += 0.1
    with pytest.raises(InputError, match="not what this run was trained on"):
        train(dataset, settings(tmp_path, resume="latest", epochs=9))


def test_a_damaged_checkpoint_raises_an_error_and_no_file_is_changed(dataset, tmp_path):
    run, _ = train(dataset, settings(tmp_path))
    (run.folder / "ca_model_step_7.pth").write_bytes(b"rubbish")
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(InputError, match=r"ca_model_step_7\.pth: not a readable checkpoint"):
        train(dataset, settings(tmp_path, resume="latest", epochs=9))
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


@pytest.mark.parametrize(
    ("about", "message"),
    [
        *(({"cells": cells}, "the least and largest side")
          for cells in ("2 m", [2.0], [2.0, 1.0], [0.0, 1.0], [float("nan")] * 2)),
        *(({"tallest": tallest}, "the height of a building in m")
          for tallest in ("28 m", -1.0, float("nan"), [28.0])),
    ],
)  # fmt: skip
def test_a_checkpoint_of_impossible_data_is_refused(dataset, tmp_path, about, message):
    run, _ = train(dataset, settings(tmp_path))
    path = run.folder / "ca_model_step_7.pth"
    torch.save(load_tensors(path) | about, path)
    with pytest.raises(InputError, match=f"expected {message}"):
        load_rule(str(path))


def test_a_rule_is_loaded_frozen_from_a_file_or_a_run_folder(dataset, tmp_path):
    run, training = train(dataset, settings(tmp_path))
    for place in (run.folder, run.folder / "ca_model_step_7.pth"):
        rule = load_rule(str(place))
        assert same(dict(rule.state_dict()), dict(training.average.state_dict()))
        assert not any(p.requires_grad for p in rule.parameters())


def test_a_rule_is_loaded_with_its_units_bounds_wind_and_wider_cells(tmp_path):
    rule, path = windward_rule(alpha=2.25, scale=4), tmp_path / "wide.pth"
    torch.save({"model_state_dict": rule.state_dict()}, path)
    found, state = load_rule(str(path)), city_state(1, height=8, width=8)
    assert found.scale == 4
    assert torch.equal(found(state), rule(state))


def test_a_training_starts_from_a_rule_on_cells_of_its_own_width(tmp_path):
    before, path = windward_rule(alpha=2.25, scale=2), tmp_path / "before.pth"
    before.units = torch.rand(24) + 1
    torch.save({"model_state_dict": before.state_dict()}, path)
    rule = CA(units=torch.ones(24), alpha=1.0, follows_wind=True, scale=4)
    start_from(rule, str(path))
    state = city_state(1, height=8, width=8)
    assert rule.scale == 4
    assert all(weights.requires_grad for weights in rule.parameters())
    coarse, fine = before(state), rule(state.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.allclose(fine[:, :, ::2, ::2], coarse, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        (CA(hidden=40), r"w1\.bias, w1\.weight, w2\.weight"),
        (CA(units=torch.ones(24)), "units"),
        (CA(alpha=2.25), "alpha"),
        (CA(follows_wind=True), "_follows_wind"),
    ],
)
def test_a_training_does_not_start_from_a_rule_of_other_parts(rule, part, tmp_path):
    path = tmp_path / "before.pth"
    torch.save({"model_state_dict": CA().state_dict()}, path)
    kept = {name: weights.clone() for name, weights in rule.state_dict().items()}
    with pytest.raises(InputError, match=rf"before.pth: .*this run's rule in {part}; give"):
        start_from(rule, str(path))
    assert same(kept, dict(rule.state_dict()))


@pytest.mark.parametrize("hidden", [1, 40])
def test_a_rule_of_another_hidden_layer_is_loaded_as_it_is(hidden, tmp_path):
    path, state = tmp_path / "narrow.pth", torch.rand(1, 24, 5, 5)
    rule = CA(hidden=hidden)
    torch.nn.init.normal_(rule.w2.weight)
    torch.save({"model_state_dict": rule.state_dict()}, path)
    assert torch.equal(load_rule(str(path))(state), rule(state))


def test_the_experiments_own_checkpoints_load(tmp_path):
    rule = trained()
    weights = {"w1.weight": rule.w1.weight, "w1.bias": rule.w1.bias, "w2.weight": rule.w2.weight}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes == {"w1.weight": (96, 96, 1, 1), "w1.bias": (96,), "w2.weight": (24, 96, 1, 1)}
    path = tmp_path / "ca_model_step_5000.pth"
    torch.save({"model_state_dict": weights, "optimizer_state_dict": {}, "epoch": 5000}, path)
    state = torch.rand(1, 24, 5, 5)
    assert torch.equal(load_rule(str(path))(state), rule(state))


class Trap:
    """A pickle that makes a file when it is loaded carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 1}, "not a checkpoint of this automaton"),
        ([1, 2], "not a checkpoint of this automaton"),
        ({"model_state_dict": CA(12).state_dict()}, r"w1\.weight has shape \(96, 48, 1, 1\)"),
        ({"model_state_dict": {**CA().state_dict(), "w1.bias": torch.full((96,), np.nan)}}, "NaN"),
        (
            {"model_state_dict": {**CA().state_dict(), "w1.bias": "text"}},
            r"expected \(1, 96, 1, 1\)",
        ),
        (
            {"model_state_dict": {**CA().state_dict(), "w1.bias": torch.zeros(95)}},
            "95 hidden units",
        ),
        ({"model_state_dict": {**CA().state_dict(), "_scale": torch.tensor(0)}}, "_scale is 0"),
    ],
)
def test_a_foreign_checkpoint_stops_with_a_clear_error(tmp_path, content, message):
    path = tmp_path / "foreign.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"foreign\.pth: .*{message}"):
        load_rule(str(path))


def test_a_missing_or_hostile_checkpoint_stops_and_runs_nothing(tmp_path):
    with pytest.raises(InputError, match="checkpoint='gone.pth': nothing there"):
        load_rule("gone.pth")
    with pytest.raises(InputError, match=r"no checkpoint \(ca_model_step_<i>\.pth\)"):
        load_rule(str(tmp_path))
    torch.save({"model_state_dict": Trap(str(tmp_path / "owned"))}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_rule(str(tmp_path / "trap.pth"))
    assert not (tmp_path / "owned").exists()
    (tmp_path / "empty.pth").touch()
    with pytest.raises(InputError, match=r"empty\.pth: not a readable checkpoint \(EOFError"):
        load_rule(str(tmp_path / "empty.pth"))


def test_checkpoints_are_sorted_by_number_and_written_whole(tmp_path):
    for step in (9, 100, 20):
        save_tensors({"epoch": step}, tmp_path / f"ca_model_step_{step}.pth")
    (tmp_path / "ca_model_step_best.pth").touch()
    assert [load_tensors(path)["epoch"] for path in checkpoints(tmp_path)] == [9, 20, 100]
    assert not list(tmp_path.glob(".part_*"))
