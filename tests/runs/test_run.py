"""Run folders: resuming is exact, logs are complete, and a power cut loses no checkpoint."""

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_rules import city_state, trained, windward_rule

from pinca_lib.automaton.rule import CA
from pinca_lib.channels import TOPO
from pinca_lib.errors import InputError
from pinca_lib.rollouts import rollout
from pinca_lib.runs import files as runfiles, run as runs
from pinca_lib.runs.checkpoints import checkpoints, load_rule, start_from
from pinca_lib.runs.parameters import PROJECT_ROOT
from pinca_lib.runs.run import Run
from pinca_lib.runs.tensor_files import load_tensors, save_tensors
from pinca_lib.training.descent import Training, seed_everything
from pinca_lib.training.losses import InitLoss
from pinca_lib.training.pool import SamplePool


class PowerCutError(Exception):
    """Stands for a power cut."""


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
    names = sorted(path.name for path in run.folder.iterdir() if path.name != ".lock")
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
            file.write(b"half of it")
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
        assert run.folder
    with pytest.raises(RuntimeError, match="when its first iteration has started"):
        run.log(0, {"loss": 0.0})


def test_a_run_of_an_older_version_cannot_be_resumed(dataset, tmp_path):
    run, _ = train(dataset, settings(tmp_path))
    newer = settings(tmp_path, resume=str(run.folder), augment=True)
    with pytest.raises(InputError, match="lacks augment; it was made by an older version"):
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


def log_alone(dataset, parameters) -> tuple[Run, Training]:
    """Run a loop that only writes its log and its checkpoints."""
    run = Run("tiny", parameters)
    pool = SamplePool(dataset, 8, seed_everything(run.parameters.seed))
    training = Training(CA(), pool, learning_rate=1e-3)
    for iteration in run.iterations(training, dataset):
        run.log(iteration, {"loss": 0.1 * iteration})
    return run, training


@pytest.fixture
def finished(dataset, tmp_path, monkeypatch) -> Path:
    """The folder of a finished run, with checkpoints after 4, 6 and 7 iterations."""
    monkeypatch.setattr(runs, "CHECKPOINT_EVERY", 2)
    return log_alone(dataset, settings(tmp_path))[0].folder


def resumed(dataset, folder: Path, **changes) -> Run:
    return log_alone(dataset, settings(folder.parent, resume=str(folder), epochs=9, **changes))[0]


def flip(path: Path) -> None:
    """Change a bit in the largest record of a file of tensors."""
    with zipfile.ZipFile(path) as records:
        record = max(records.infolist(), key=lambda record: record.file_size)
    content = bytearray(path.read_bytes())
    content[record.header_offset + 200 + record.file_size // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "CRC-32"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "it is cut off"),
        (lambda path: path.write_bytes(b""), "it is cut off"),
        (
            lambda path: shutil.copy(path.with_name("ca_model_step_6.pth"), path),
            "is of iteration 6",
        ),
        (
            lambda path: shutil.copy(PROJECT_ROOT / "data/pretrained/pi_nca.pth", path),
            "of another run",
        ),
        (lambda path: torch.save([1], path), "not fit"),
    ],
)
def test_a_checkpoint_that_is_damaged_or_another_gives_way_to_the_one_before(
    dataset, finished, damage, message
):
    damage(finished / "ca_model_step_7.pth")
    with pytest.warns(UserWarning, match="going") as warned:
        run = resumed(dataset, finished)
    said = [str(warning.message) for warning in warned]
    assert re.search(rf"ca_model_step_7\.pth: .*{message}.* going back", said[0])
    assert "ca_pool_step_6.pth: cannot be read" in said[1]
    assert len(said) == 2
    assert [row["iteration"] for row in run.rows] == list(range(9))


def other_size(pool: Path) -> None:
    state = load_tensors(pool)
    torch.save(state | {"cases": state["cases"][:5]}, pool)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "CRC-32"),
        (Path.unlink, "cannot be read"),
        (other_size, r"cases has the shape \(5,\)"),
    ],
)
def test_a_pool_that_is_damaged_or_another_gives_way_to_a_fresh_one(
    dataset, finished, damage, message
):
    damage(finished / "ca_pool_step_7.pth")
    with pytest.warns(UserWarning, match=rf"ca_pool_step_7.*{message}.*with a fresh sample pool"):
        run = resumed(dataset, finished)
    assert len(run.rows) == 9


def test_a_run_without_a_sound_checkpoint_is_not_resumed_and_nothing_is_changed(dataset, finished):
    for path in checkpoints(finished):
        flip(path)
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with (
        pytest.warns(UserWarning, match="going back"),
        pytest.raises(InputError, match="has no sound checkpoint"),
    ):
        resumed(dataset, finished)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def rewrite(config: Path, change) -> None:
    content = json.loads(config.read_text())
    change(content)
    config.write_text(json.dumps(content))


def test_a_changed_configuration_is_noticed(dataset, finished):
    config = finished / "config.json"
    rewrite(config, lambda content: None)  # only laid out in another way
    resumed(dataset, finished)
    rewrite(config, lambda content: content["parameters"].update(learning_rate="fast"))
    with pytest.raises(InputError, match=r"config\.json: parameter learning_rate='fast': expected"):
        resumed(dataset, finished)
    rewrite(config, lambda content: content["parameters"].update(learning_rate=0.1))
    with (
        pytest.warns(UserWarning, match=r"does not belong to config\.json"),
        pytest.raises(InputError, match="has no sound checkpoint"),
    ):
        resumed(dataset, finished)


def test_a_parameter_that_did_not_exist_yet_is_as_it_was_then(dataset, finished):
    with pytest.warns(UserWarning, match=r"older version, so it gets .'gradient_checkpoints': 0"):
        run = resumed(dataset, finished, gradient_checkpoints=0)
    assert run.parameters.gradient_checkpoints == 0


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda text: text.replace("\n5,", "\n5,1"), 7),
        (lambda text: text.partition("\n3,")[0] + "\n", 3),
        (lambda text: text.partition("\n")[0] + "\n", 0),
    ],
)
def test_a_log_that_was_changed_is_noticed(dataset, finished, change, left):
    log = finished / "metrics.csv"
    log.write_text(change(log.read_text()))
    with pytest.warns(UserWarning, match=f"changed or deleted; going on with the {left} that"):
        run = resumed(dataset, finished)
    assert len(run.rows) == left + 2
    assert len(log.read_text().splitlines()) == left + 3


def test_a_run_is_trained_by_one_process_at_a_time(dataset, finished):
    code = (
        "import sys; from pathlib import Path; from pinca_lib.runs.files import locked\n"
        "lock = locked(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(finished)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match="another process trains in this folder"):
            resumed(dataset, finished)
        other.kill()
    assert len(resumed(dataset, finished).rows) == 9


def test_latest_is_the_run_that_began_last_wherever_that_was(finished):
    later = finished.with_name("tiny_20200101-000000")  # by the clock of another time zone
    shutil.copytree(finished, later)
    rewrite(later / "config.json", lambda content: content.update(begun="2050-01-01T00:00:00Z"))
    assert Run("tiny", settings(finished.parent, resume="latest")).folder == later
    for folder in (finished, later):  # as of an older version
        rewrite(folder / "config.json", lambda content: content.pop("begun"))
    os.utime(finished / "config.json", (4e9, 4e9))
    assert Run("tiny", settings(finished.parent, resume="latest")).folder == finished


def test_another_number_of_threads_is_said(dataset, finished, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    with pytest.warns(UserWarning, match="was begun with . threads and goes on with 77"):
        resumed(dataset, finished)


def full_disk(monkeypatch, failures: int) -> None:
    def save(data, path):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_tensors(data, path)

    monkeypatch.setattr(runs, "save_tensors", save)


def test_on_a_full_disk_a_training_goes_on_and_its_end_waits_for_space(
    dataset, finished, monkeypatch
):
    full_disk(monkeypatch, 2)
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        resumed(dataset, finished)
    middle, end = (str(warning.message) for warning in warned)
    assert re.search(r"after 8 iter.*needs \d+ MB, \d+ MB are free; the training goes on", middle)
    assert re.search("after 9 iterations cannot be written .*; waiting for 60 s", end)
    assert checkpoints(finished)[-1].name == "ca_model_step_9.pth"


def test_a_disk_that_stays_full_keeps_the_last_checkpoint(dataset, finished, monkeypatch):
    full_disk(monkeypatch, 99)
    monkeypatch.setattr(runs, "PATIENCE", 0)
    with (
        pytest.warns(UserWarning, match="the training goes on without it"),
        pytest.raises(InputError, match="No space left on device.*make space, and resume the run"),
    ):
        resumed(dataset, finished)
    assert checkpoints(finished)[-1].name == "ca_model_step_7.pth"
    assert (finished / "ca_pool_step_7.pth").exists()
    with pytest.raises(InputError, match="after 0 iterations cannot be written"):
        log_alone(dataset, settings(finished.parent))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        *(({"cells": cells}, "the least and largest side")
          for cells in ("2 m", [2.0], [2.0, 1.0], [0.0, 1.0], [float("nan")] * 2)),
        *(({"tallest": tallest}, "the height of a building in m")
          for tallest in ("28 m", -1.0, float("nan"), [28.0])),
    ],
)  # fmt: skip
def test_a_checkpoint_of_impossible_data_is_refused(tmp_path, about, message):
    path = tmp_path / "impossible.pth"
    torch.save({"model_state_dict": CA().state_dict()} | about, path)
    with pytest.raises(InputError, match=f"expected {message}"):
        load_rule(str(path))


def test_a_rule_is_loaded_frozen_from_a_file_or_a_run_folder(dataset, tmp_path):
    run, training = train(dataset, settings(tmp_path))
    for place in (run.folder, run.folder / "ca_model_step_7.pth"):
        rule = load_rule(str(place))
        assert same(dict(rule.state_dict()), dict(training.average.state_dict()))
        assert not any(p.requires_grad for p in rule.parameters())


def test_a_training_after_loading_draws_the_same_numbers_in_every_version():
    torch.manual_seed(0)
    load_rule(PROJECT_ROOT / "data" / "pretrained" / "init_nca.pth")
    assert torch.rand(2).tolist() == pytest.approx([0.3218212, 0.8549818], abs=1e-6)


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
        (
            {"model_state_dict": {**CA().state_dict(), "_scale": torch.tensor(999)}},
            "from 1 to 64",
        ),
        ({"model_state_dict": {**CA().state_dict(), "_scale": torch.tensor(1.5)}}, "float32"),
        ({"model_state_dict": {**CA().state_dict(), "alpha": torch.tensor(-1.0)}}, "alpha is -1"),
        ({"model_state_dict": {**CA().state_dict(), "units": torch.zeros(24)}}, "units go from 0"),
        (
            {"model_state_dict": CA().state_dict(), "more": torch.zeros(1).expand(10**10)},
            "a tensor of more numbers than the file",
        ),
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
    with pytest.raises(InputError, match=r"empty\.pth: not a readable checkpoint \(it is cut off"):
        load_rule(str(tmp_path / "empty.pth"))


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as records:
        records.writestr("archive/data.pkl", b"0" * 10**6)
    with pytest.raises(InputError, match=r"bomb\.pth: not a readable .*its content is compressed"):
        load_rule(str(path))


def test_checkpoints_are_sorted_by_number_and_written_whole(tmp_path):
    for step in (9, 100, 20):
        save_tensors({"epoch": step}, tmp_path / f"ca_model_step_{step}.pth")
    (tmp_path / "ca_model_step_best.pth").touch()
    assert [load_tensors(path)["epoch"] for path in checkpoints(tmp_path)] == [9, 20, 100]
    assert not list(tmp_path.glob(".part_*"))
