"""Score the shipped weights on every embedded case and on measured wind.

    python -m benchmarks.accuracy

A row for each case and model goes to ``benchmarks/tables/accuracy_cases.csv``: the PI-NCA, the
mean of all that ship, the Init-NCA alone, the mean flow of the training data and, where a file
holds them, one half average of the simulation against the other. Rollouts start at zero and take 64
steps; of the training cases the PI-NCA alone is scored. It takes a few minutes on two cores.

The comparison with a wind tunnel goes to ``benchmarks/tables/measured.csv``, beside a baseline that
knows only the distance to the walls.
"""

import torch

from benchmarks import TABLES
from benchmarks.speed import write_csv
from pinca_lib import evaluation
from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK, U, V, fresh_states
from pinca_lib.cities.prediction import predict_wind
from pinca_lib.datasets import list_cases, load_case, read_half_averages
from pinca_lib.rollouts import rollout
from pinca_lib.runs import PROJECT_ROOT, load_rules
from pinca_lib.runs.ensemble import load_members

STEPS = 64
SPLITS = ("train", "train_256m", "validation", "test", "fresh")
MEAN = "mean of three"
FIGURES = (
    "relative_l2_wind", "relative_l2_Uped", "relative_l2_TKEped", "relative_l2_Tuwped", "r2_Uped",
    "mae_Uped", "correlation_dwdz", "broken_TKEped", "broken_Tuwped", "broken_Uped",
    "broken_energy",
)  # fmt: skip


def shipped_members() -> list[list[CA]]:
    """Return the models that ship, each an Init-NCA and a PI-NCA; the first is the default."""
    rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
    return load_members(PROJECT_ROOT / "data" / "pretrained" / "ensemble", rules)


def score_cases(folder: str = "data", limit: int | None = None) -> list[dict]:
    """Return the rows.

    Parameters
    ----------
    folder : str
        Holds the splits; a path from the project's root.
    limit : int, optional
        Take so many cases of each split.
    """
    members = shipped_members()
    rules = members[0]
    splits = {split: dict(list(list_cases(PROJECT_ROOT / folder / split).items())[:limit])
              for split in SPLITS}  # fmt: skip
    seen = [load_case(*place).states[0] for place in splits["train"].values()]
    mean_flow = evaluation.MeanFlow(seen)
    table = []
    for split, places in splits.items():
        for name, place in places.items():
            case = load_case(*place)
            target, extent = case.states[0], case.extents[0]
            start = fresh_states(case.states)
            is_known = split.startswith("train")
            used = members[:1] if is_known else members
            each = [rollout(member, start, STEPS)[0] for member in used]
            pairs = {"PI-NCA": (each[0], target)}
            healing = {}
            if not is_known:
                pairs[MEAN] = torch.stack(each).mean(0), target
                pairs["Init-NCA alone"] = rollout(rules[:-1], start, STEPS)[0], target
                pairs["mean flow"] = mean_flow(target), target
                halves = read_half_averages(*place)
                pairs["half averages"] = tuple(map(torch.from_numpy, halves))
                errors = evaluation.healing_errors(rules, target, extent, STEPS, 2)
                healing = dict(zip(("healing_64", "healing_128"), errors, strict=True))
            air = target[GEO_MASK] > 0
            about = {
                "cells": air.numel(),
                "built": 1 - float(air.float().mean()),
                "wind_rms": float(target[[U, V]].square().sum(0)[air].mean().sqrt()),
            }
            for model, pair in pairs.items():
                found = evaluation.evaluate(*pair, extent, True)
                row = {key: found[key] for key in FIGURES} | about
                row |= healing if model == "PI-NCA" else {}
                rounded = {key: round(value, 4) for key, value in row.items()}
                table.append({"split": split, "case": name, "model": model} | rounded)
    return table


def score_measured(limit: int | None = None) -> list[dict]:
    """Return the scores of the first ``limit`` measured cases, or of all."""
    members = shipped_members()
    places = list_cases(PROJECT_ROOT / "data" / "train").values()
    openness = evaluation.Openness([load_case(*place).states[0] for place in places])
    table = []
    for case in evaluation.measured_cases(PROJECT_ROOT / "data" / "measured")[:limit]:
        each = [predict_wind(rules, case.place, [case.wind_from], STEPS) for rules in members]
        maps = {
            "PI-NCA": each[0],
            MEAN: evaluation.mean_of(each),
            "Init-NCA alone": predict_wind(members[0][:-1], case.place, [case.wind_from], STEPS),
        }
        planes = {model: case.plane(own) for model, own in maps.items()}
        planes["openness"] = openness(case.place)
        for model, plane in planes.items():
            for within in (0, 4):
                read = evaluation.at_probes(plane, case, within)
                found = evaluation.compare(read, case.speeds)
                found["level"] = evaluation.level(plane, case, within)
                if case.tke is not None and model in maps:
                    tke = evaluation.at_probes(maps[model].tke[0], case, within)
                    found["r_tke"] = evaluation.correlation(tke, case.tke)
                rounded = {key: round(value, 4) for key, value in found.items()}
                table.append({"case": case.name, "model": model, "within_m": within} | rounded)
    return table


def main() -> None:
    """Write the tables."""
    write_csv(TABLES / "accuracy_cases.csv", score_cases())
    write_csv(TABLES / "measured.csv", score_measured())


if __name__ == "__main__":
    main()
