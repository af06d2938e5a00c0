"""Train the automaton and its rivals alike and score them on cases that none has seen.

    python -m benchmarks.compare settings --hold-out florence
    python -m benchmarks.compare defaults --hold-out florence
    python -m benchmarks.compare ablation --hold-out florence
    python -m benchmarks.compare rivals [--seeds 0 1 2]
    python -m benchmarks.compare longer [--on fresh]
    python -m benchmarks.compare rivals --times

Every model gets the same cases, augmentation, batch and running average, and units and bounds
alike; what else differs is written in ``trainings``, and this: a PI-NCA has an Init-NCA of other
losses under it, two new cases an iteration in place of six, normalised gradients and more weight
decay. Each is trained in a folder of its own in ``outputs/compare/<fingerprint of the training
data>`` and goes on there after a stop; ``--device cuda`` does it on a GPU. Scores go to
``benchmarks/tables/<set>.csv``, those of each case to ``<set>_cases.csv`` beside it: of the test
data, or, with ``--on fresh``, of the fresh ones, or, with ``--hold-out``, of those cities of the
training data, which then train nothing. A rival is scored as it is, and by the mean of what it
predicts of a city's mirror images and turns; of an automaton it is scored, too, how it heals an
edit. What a row says of cases larger than the others has columns of its own; an FNO is no judge of
them, since its modes belong to one size of the domain. Times are blank at first: ``--times``
trains nothing and measures those of all rows of a table on the CPU, one model after the other;
leave it the machine alone.
"""

import argparse
import json
import shutil
import time
from ast import literal_eval
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from papermill import inspect_notebook
from papermill.exceptions import PapermillExecutionError
from torch import Tensor

from benchmarks import TABLES
from benchmarks.pretrain import EXPERIMENTS, PRETRAINED, train
from benchmarks.rivals import Rival
from benchmarks.trainings import SETS, Recipe
from pinca_lib import evaluation
from pinca_lib.automaton import CA
from pinca_lib.channels import FIELDS, FLUX, fresh_states
from pinca_lib.datasets import WindDataset, list_cases, load_case, load_dataset
from pinca_lib.evaluation import healing_errors
from pinca_lib.physics import realisable
from pinca_lib.rollouts import rollout
from pinca_lib.runs import PROJECT_ROOT, Run, choose_device
from pinca_lib.runs.checkpoints import checkpoints, load_rules
from pinca_lib.training import Move, PILoss, SamplePool, Training, channel_units, seed_everything
from pinca_lib.writing import written_whole

STEPS = 64
SIZE = 64  # cells a side of the training cases
KEPT = ("relative_l2_wind", "relative_l2_Uped", "relative_l2_TKEped", "relative_l2_Tuwped",
        "correlation_dwdz", "r2_Uped", "mae_Uped", "score_ssim", "broken_Uped", "broken_TKEped",
        "broken_Tuwped")  # fmt: skip
MEANS = KEPT[:3]

LOSS = partial(PILoss, "relative", 2.25, 1.0, lambda_overflow=1.0, lambda_rest=50.0)


@dataclass(frozen=True)
class Trained:
    """What became of a recipe: a prediction, and what it costs."""

    predict: Callable[[WindDataset], Tensor]
    parameters: int
    iterations: Sequence[Callable[[], None]]  # one of each training, log and pictures aside
    rules: Sequence[CA] = ()  # that heal what is edited


def train_automaton(
    recipe: Recipe, folder: Path, data_dir: Path, seed: int, device: str, below: Path
) -> Trained:
    """Train an Init-NCA in folder ``below`` and a PI-NCA on top of it: notebooks 01 and 02.

    Weights that ship are not trained again.
    """
    full = {"data_dir": str(data_dir), "pool_size": 256, "seed": seed, "device": device}
    of_init, of_pi = full | recipe.init, full | recipe.pi
    dataset = load_dataset(data_dir, SIZE)
    if ships(recipe, dataset, seed):
        init, run = (PRETRAINED / f"{experiment}.pth" for experiment in EXPERIMENTS)
    else:
        below.mkdir(parents=True, exist_ok=True)
        init = train("init_nca", below, recipe.init_epochs, **of_init)
        run = train("pi_nca", folder, recipe.epochs, **of_pi, init_checkpoint=str(init))
    rules = load_rules(init, run)
    pool = SamplePool(dataset, 64, np.random.default_rng(0))

    def iteration(
        rules: Sequence[CA], steps: int, recorded: int, rests: bool = False
    ) -> Callable[[], None]:
        trained = deepcopy(rules[-1]).requires_grad_(True)
        training = Training(trained, pool, learning_rate=1e-3)
        loss = LOSS(lambda_pinn=of_pi.get("lambda_pinn", recipe.lambda_pinn))

        def iterate() -> None:
            batch = pool.sample(6, restarts=1)
            state = rollout([*rules[:-1], trained], batch.state, steps, recorded)
            after = rollout([*rules[:-1], trained], state, 1, recorded=1) if rests else None
            training.descend(loss(state, batch, after)["loss"])

        return iterate

    steps = [(given.get("min_steps", 16) + given.get("max_steps", 32)) // 2
             for given in (of_init, of_pi)]  # fmt: skip
    iterations = [iteration(rules[:1], steps[0], steps[0]),
                  iteration(rules, steps[1], of_pi.get("recorded", 16),
                            of_pi.get("lambda_rest", 1) > 0)]  # fmt: skip
    count = sum(weights.numel() for rule in rules for weights in rule.parameters())
    return Trained(
        lambda case: rollout(rules, fresh_states(case.states), STEPS)[0], count, iterations, rules
    )


def ships(recipe: Recipe, dataset: WindDataset, seed: int) -> bool:
    """Return whether the weights that ship are those of this training, as their cards say.

    They saw larger cities as well, which no training here sees.
    """
    of_rules = (recipe.init_epochs, recipe.init), (recipe.epochs, recipe.pi)
    for (experiment, notebook), (epochs, differs) in zip(
        EXPERIMENTS.items(), of_rules, strict=True
    ):
        card = json.loads((PRETRAINED / f"{experiment}.json").read_text(encoding="utf-8"))
        path = PROJECT_ROOT / "notebooks" / f"{notebook}.ipynb"
        usual = {name: literal_eval(about["default"])
                 for name, about in inspect_notebook(path).items()}  # fmt: skip
        asked = usual | {"pool_size": 256, "seed": seed} | differs
        asked |= {"init_checkpoint": card["parameters"].get("init_checkpoint")}
        fingerprint = card["data_fingerprint"].partition("+")[0]
        made = card["iterations"], fingerprint, card["parameters"]
        of_these = {name: asked.get(name) for name in card["parameters"]}
        if made != (epochs, dataset.fingerprint(), of_these):
            return False
    return True


def train_rival(recipe: Recipe, folder: Path, data_dir: Path, seed: int, device: str) -> Trained:
    """Train a rival as the notebooks train a rule, on cases moved anew in every iteration."""
    begun = any(checkpoints(path) for path in folder.glob(f"{recipe.rival}_*"))
    run = Run(recipe.rival, SimpleNamespace(
        output_dir=str(folder), data_dir=str(data_dir), resume="latest" if begun else "",
        epochs=recipe.epochs, seed=seed, learning_rate=recipe.learning_rate,
        anneal=recipe.anneal, given=frozenset({"epochs", "seed", "learning_rate"})))  # fmt: skip
    random = seed_everything(seed)
    dataset = load_dataset(data_dir, SIZE)
    follows_wind = recipe.network.get("follows_wind", False)
    units = channel_units(dataset.states, follows_wind=follows_wind)

    def prepared(hardware: torch.device) -> tuple[Training, Callable[[], dict[str, Tensor]]]:
        network = Rival(recipe.rival, units, **recipe.network).to(hardware)
        pool = SamplePool(dataset, 6, random, hardware, channels=12, augment=True)
        loss = LOSS(lambda_pinn=recipe.lambda_pinn)
        training = Training(network, pool, learning_rate=recipe.learning_rate, ema_decay=0.99,
                            iterations=recipe.epochs if recipe.anneal else None,
                            weight_decay=recipe.weight_decay, is_normalised=False)  # fmt: skip

        def iterate() -> dict[str, Tensor]:
            batch = pool.sample(6, restarts=6)
            terms = loss(network(batch.state), batch)
            training.descend(terms["loss"])
            return terms

        return training, iterate

    training, iterate = prepared(choose_device(device))
    for iteration in run.iterations(training, dataset):
        run.log(iteration, iterate())
    best = training.average.cpu().eval()
    count = sum(2 * w.numel() if w.is_complex() else w.numel() for w in best.parameters())
    _, timed = prepared(torch.device("cpu"))
    return Trained(torch.no_grad()(lambda case: best(case.states)[0]), count, [timed])


def train_either(
    recipe: Recipe, folder: Path, data_dir: Path, seed: int, device: str, below: Path
) -> Trained:
    """Train a recipe in its folder; what diverges predicts nothing."""
    if recipe.rival:
        return train_rival(recipe, folder, data_dir, seed, device)
    try:
        return train_automaton(recipe, folder, data_dir, seed, device, below)
    except PapermillExecutionError as error:
        if error.ename != "FloatingPointError":
            raise
        print(f"{recipe.name}: {error.evalue}")
        return Trained(lambda case: torch.full_like(case.states[0], torch.nan), 0, ())


def over_moves(predict: Callable[[WindDataset], Tensor]) -> Callable[[WindDataset], Tensor]:
    """Average what is predicted of a city's eight mirror images and turns, each moved back."""

    def mean(case: WindDataset) -> Tensor:
        found, fluxes = [], []
        for y, x, is_swapped in product((False, True), repeat=3):
            there = Move(0, 0, y, x, is_swapped)
            back = Move(0, 0, x, y, True) if is_swapped else there
            moved = there.state(case.states[0])[None]
            found.append(back.state(predict(replace(case, states=moved))))
            if not is_swapped:  # else the flux is unknown
                fluxes.append(found[-1][FLUX])
        state = torch.stack(found).mean(0)
        state[FLUX] = torch.stack(fluxes).mean(0)
        state[FIELDS] = realisable(state[None, FIELDS])[0]
        return state

    return mean


def ways(recipe: Recipe, trained: Trained) -> dict[str, Callable[[WindDataset], Tensor]]:
    """Return in what ways a recipe is scored, by the names of their rows."""
    found = {recipe.name: trained.predict}
    if recipe.rival:
        found[f"{recipe.name}, over 8 moves"] = over_moves(trained.predict)
    return found


def judge(
    predict: Callable[[WindDataset], Tensor], cases: list[WindDataset], rules: Sequence[CA] = ()
) -> list[dict]:
    """Return the figures of every case, its name and its cells, and how rules heal it."""
    rows = []
    for case in cases:
        row = {"case": case.names[0], "cells": case.states[0, 0].numel(), "healing": np.nan}
        row |= evaluation.evaluate(
            predict(case), case.states[0], case.extents[0], bool(case.has_dwdz[0])
        )
        if rules:
            (row["healing"],) = healing_errors(rules, case.states[0], case.extents[0], STEPS)
        rows.append(row)
    return rows


def summary(rows: list[dict]) -> dict[str, float]:
    """Return medians over the cases of the least size, and some means.

    What ``diverged`` is left out; ``_large`` are medians over the cases of more than the least
    size. ``healing`` is of the cases of the least size as well, ``healing_most`` of the worst.
    """
    least = min(row["cells"] for row in rows)
    large = [row for row in rows if row["cells"] > least]
    usual = [row for row in rows if row["cells"] == least]
    figures = {key: evaluation.median(usual, key) for key in KEPT}
    figures |= {f"mean_{key}": mean_over(usual, key) for key in MEANS}
    figures |= {f"{key}_large": evaluation.median(large, key) for key in MEANS}
    figures |= {"healing": evaluation.median(usual, "healing"),
                "healing_most": float(np.max([row["healing"] for row in usual]))}  # fmt: skip
    return {key: round(value, 4) for key, value in figures.items()} | {
        "diverged": sum(bool(np.isnan(row["mae_Uped"])) for row in rows)
    }


def mean_over(rows: list[dict], key: str) -> float:
    """Return the mean of a figure over the rows that have it; NaN if none has."""
    values = [row[key] for row in rows if np.isfinite(row[key])]
    return fmean(values) if values else np.nan


def median_time(work: Callable[[], None], rounds: int = 7) -> float:
    """Return the median duration of some calls, seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return median(times)


def retime(
    rows: list[dict], recipes: Sequence[Recipe], data_dir: Path, cases: list[WindDataset]
) -> None:
    """Measure what predictions and trainings take, s, by models that saw one iteration."""
    least = min(case.states[0, 0].numel() for case in cases)
    usual = [case for case in cases if case.states[0, 0].numel() == least]
    for recipe in recipes:
        lengths = [length for length in (recipe.init_epochs, recipe.epochs) if length]
        brief = replace(recipe, epochs=1, init_epochs=min(recipe.init_epochs, 1))
        with TemporaryDirectory() as folder:
            trained = train_either(brief, Path(folder), data_dir, 0, "cpu", Path(folder) / "below")
        timed = zip(lengths, trained.iterations, strict=False)  # none of what diverges
        training_s = round(sum(length * median_time(iterate) for length, iterate in timed))
        for name, predict in ways(recipe, trained).items():
            taken = [median_time(partial(predict, case), rounds=3) for case in usual]
            for row in rows:
                if row["model"] == name:
                    row |= {"case_s": round(median(taken), 4), "training_s": training_s}


def first_like(recipe: Recipe, others: Sequence[Recipe]) -> Recipe:
    """Return the first recipe whose Init-NCA is trained in the same way."""

    def of_init(one: Recipe) -> tuple:
        return one.rival, one.init, one.init_epochs

    return next(other for other in others if of_init(other) == of_init(recipe))


def split(held_out: list[str], unseen: str = "test") -> tuple[Path, Path, list[WindDataset]]:
    """Return the folder of these data's runs, that to train on, and the cases to be scored on."""
    data = PROJECT_ROOT / "data"
    fingerprint = load_dataset(data / "train", SIZE).fingerprint()
    runs = PROJECT_ROOT / "outputs" / "compare" / fingerprint[:8]
    if not held_out:
        places = list_cases(data / unseen).values()
        return runs, data / "train", [load_case(*place) for place in places]
    folder = runs / ("without_" + "_".join(held_out))
    if not folder.exists():
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in ("train", "held_out"):
            (unfinished / part).mkdir(parents=True)
        for path in (data / "train").glob("*.h5"):
            is_held_out = path.name.startswith(tuple(held_out))
            shutil.copy(path, unfinished / ("held_out" if is_held_out else "train") / path.name)
        unfinished.rename(folder)
    places = list_cases(folder / "held_out").values()
    return runs, folder / "train", [load_case(*place) for place in places]


def main() -> None:
    """Train and score what the command line asks for."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("set", choices=tuple(SETS))
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--hold-out", nargs="+", default=[], help="beginnings of city names")
    arguments.add_argument("--on", choices=("test", "fresh"), default="test", help="scored on")
    arguments.add_argument("--only", nargs="+", default=[], help="names of models")
    arguments.add_argument("--device", default="cpu", help="to train on")
    arguments.add_argument("--times", action="store_true", help="only measure times")
    chosen = arguments.parse_args()
    if chosen.hold_out and chosen.on != "test":
        arguments.error("--hold-out scores on the cities that it names; leave --on out")
    runs, data_dir, cases = split(chosen.hold_out, chosen.on)
    table = TABLES / f"{chosen.set}.csv"

    if chosen.times:
        rows = read(table)
        if not rows:
            arguments.error(f"--times: there is no {table.name} yet; leave --times out to train")
        retime(rows, SETS[chosen.set], data_dir, cases)
        replace_table(table, rows)
        return

    def folder_of(recipe: Recipe, seed: int) -> Path:
        words = (chosen.set, *(chosen.hold_out or ["test"]), recipe.name, str(seed))
        name = "_".join(words).replace(" ", "-").replace("'", "")
        return runs / f"{name}_{sha256(repr(recipe).encode()).hexdigest()[:8]}"

    for seed in chosen.seeds:
        for recipe in SETS[chosen.set]:
            if chosen.only and recipe.name not in chosen.only:
                continue
            folder = folder_of(recipe, seed)
            folder.mkdir(parents=True, exist_ok=True)
            below = folder_of(first_like(recipe, SETS[chosen.set]), seed)
            trained = train_either(recipe, folder, data_dir, seed, chosen.device, below)
            costs = {"parameters": trained.parameters, "case_s": "", "training_s": ""}
            for name, predict in ways(recipe, trained).items():
                own = {"model": name, "seed": seed, "data": runs.name,
                       "held_out": " ".join(chosen.hold_out) or chosen.on}  # fmt: skip
                rows = judge(predict, cases, trained.rules)
                done = {"cases": len(rows), "iterations": recipe.init_epochs + recipe.epochs}
                write(table, [own | done | summary(rows) | costs])
                write(table.with_stem(f"{chosen.set}_cases"), [
                    own | {key: row[key] for key in ("case", "cells")}
                    | {key: round(row[key], 4) for key in MEANS} for row in rows])  # fmt: skip


def write(table: Path, rows: list[dict]) -> None:
    """Put rows of a model into a table, in place of those of the same model, seed and cases.

    Rows of models that were trained on other data go. One process at a time writes a table.
    """
    old = [row for row in read(table) if row["data"] == rows[0]["data"]]
    key = ("model", "seed", "held_out")
    kept = [row for row in old if any(row[k] != str(rows[0][k]) for k in key)]
    replace_table(table, kept + rows)


def read(table: Path) -> list[dict]:
    """Return the rows of a table, none if there is none."""
    if not table.exists():
        return []
    return pd.read_csv(table, dtype=str, keep_default_na=False).to_dict("records")


def replace_table(table: Path, rows: list[dict]) -> None:
    """Write a table whose columns are those of its last row."""
    with written_whole(table) as partial:
        pd.DataFrame(rows, columns=list(rows[-1])).to_csv(partial, index=False)


if __name__ == "__main__":
    main()
