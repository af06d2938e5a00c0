"""Calibrate error bars for models of several seeds, on cases that none of them was trained on.

    python -m benchmarks.calibrate

Takes the models in ``data/pretrained`` and the cases of the validation split.
``data/pretrained/ensemble/error_bars.json`` gets the bars. How many cells of other cases they cover
goes to ``benchmarks/tables/coverage.csv``, beside what one half-width for all cells would cover.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linprog

from benchmarks import TABLES
from benchmarks.accuracy import STEPS, shipped_members
from benchmarks.speed import write_csv
from pinca_lib import evaluation
from pinca_lib.automaton import CA
from pinca_lib.channels import GEO_MASK, PREDICTED, SPEED, fresh_states
from pinca_lib.cities.prediction import predict_wind
from pinca_lib.datasets import list_cases, load_case
from pinca_lib.evaluation import SHARE, ErrorBars, features
from pinca_lib.evaluation.error_bars import LEAST
from pinca_lib.rollouts import rollout
from pinca_lib.runs import PROJECT_ROOT
from pinca_lib.runs.ensemble import fingerprints_of

CELLS = 400  # of each case that the fit takes

Members = Sequence[Sequence[CA]]  # each an Init-NCA and a PI-NCA
Case = tuple[np.ndarray, np.ndarray]  # what each member predicts in air (M, 6, 1, N), true speed


def predictions(members: Members, split: str) -> dict[str, Case]:
    """Return the cases of a split, by name."""
    found = {}
    for name, place in list_cases(PROJECT_ROOT / "data" / split).items():
        states = load_case(*place).states
        air = states[0, GEO_MASK] > 0
        start = fresh_states(states)
        each = [rollout(rules, start, STEPS)[0, PREDICTED][:, None, air] for rules in members]
        found[name] = np.stack([fields.numpy() for fields in each]), states[0, SPEED, air].numpy()
    return found


def fitted(cases: Iterable[Case], random: np.random.Generator) -> tuple[float, ...]:
    """Fit the weights of error bars to the errors of cases, each with ``CELLS`` cells.

    This is a quantile regression (Koenker and Bassett 1978) of the logarithm of the error: the
    share of errors below the bar is to be ``SHARE``. It is solved as a linear program: error =
    features w + above - below, both non-negative, with the least SHARE above + (1 - SHARE) below.
    """
    rows, errors = [], []
    for fields, speed in cases:
        cells = random.choice(speed.size, CELLS)
        drawn = fields[..., cells]
        rows.append(features(drawn)[0])
        errors.append(np.abs(mean_speed(drawn) - speed[cells]))
    values, matrix = np.log(np.concatenate(errors) + LEAST), np.concatenate(rows)
    count, width = matrix.shape
    parts = [matrix, sparse.identity(count), -sparse.identity(count)]
    costs = np.repeat([0, SHARE, 1 - SHARE], [width, count, count])
    bounds = [(None, None)] * width + [(0, None)] * (2 * count)
    solved = linprog(costs, A_eq=sparse.hstack(parts), b_eq=values, bounds=bounds, method="highs")
    return tuple(map(float, solved.x[:width]))


def mean_speed(fields: np.ndarray) -> np.ndarray:
    """Return the members' mean of the mean speed, (M, 6, 1, N) to (N,)."""
    return fields[:, SPEED - PREDICTED.start, 0].mean(axis=0)


def one_width(cases: Iterable[Case]) -> float:
    """Return the half-width that covers ``SHARE`` of the cells of cases."""
    errors = [np.abs(mean_speed(fields) - speed) for fields, speed in cases]
    return float(np.quantile(np.concatenate(errors), SHARE))


def counted(errors: np.ndarray, half: np.ndarray, constant: float) -> dict[str, float]:
    """Return what half-widths cover, (N,) each, and what a constant one does."""
    by_constant = evaluation.coverage(errors, np.full_like(half, constant))
    return evaluation.coverage(errors, half) | {"covered_by_constant": by_constant["covered"]}


def covered(bars: ErrorBars, constant: float, cases: dict[str, Case]) -> list[dict]:
    """Return what the bars cover of each case."""
    return [
        {"case": name} | counted(mean_speed(fields) - speed, bars(fields)[0], constant)
        for name, (fields, speed) in cases.items()
    ]


def covered_in_tunnel(bars: ErrorBars, constant: float, members: Members) -> list[dict]:
    """Return what the bars cover of the probes of each measured case."""
    rows = []
    for case in evaluation.measured_cases(PROJECT_ROOT / "data" / "measured"):
        each = [predict_wind(rules, case.place, [case.wind_from], STEPS) for rules in members]
        maps = evaluation.mean_of(each, bars)
        found = counted(*evaluation.errors_at_probes(maps, case), constant)
        rows.append({"split": "measured", "case": case.name} | found)
    return rows


def main() -> None:
    """Fit, write and count."""
    members, folder = shipped_members(), PROJECT_ROOT / "data" / "pretrained" / "ensemble"
    known = predictions(members, "validation")
    bars = ErrorBars(fitted(known.values(), np.random.default_rng(0)), fingerprints_of(members))
    bars.write(folder / "error_bars.json")
    splits = {"validation": known} | {s: predictions(members, s) for s in ("test", "fresh")}
    constant = one_width(known.values())
    print(f"one half-width for all cells: {constant:.3f} m/s")
    rows = [
        {"split": split} | row
        for split, cases in splits.items()
        for row in covered(bars, constant, cases)
    ]
    table = pd.DataFrame(rows + covered_in_tunnel(bars, constant, members)).round(4)
    write_csv(TABLES / "coverage.csv", table.to_dict("records"))


if __name__ == "__main__":
    main()
