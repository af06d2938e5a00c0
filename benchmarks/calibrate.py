"""Calibrate error bars for models of several seeds, on cases that none of them was trained on.

    python -m benchmarks.calibrate [--ensemble data/pretrained/ensemble]

``error_bars.json`` goes into the folder of the ensemble. How many cells of other cases the bars
cover goes to ``benchmarks/tables/coverage.csv``.
"""

import argparse

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from benchmarks import TABLES
from benchmarks.accuracy import STEPS
from benchmarks.speed import write_csv
from pinca_lib.channels import GEO_MASK, PREDICTED, SPEED, fresh_states
from pinca_lib.datasets import list_cases, load_case
from pinca_lib.evaluation import SHARE, ErrorBars, features
from pinca_lib.evaluation.error_bars import LEAST
from pinca_lib.rollouts import rollout
from pinca_lib.runs import PROJECT_ROOT, load_rule
from pinca_lib.runs.ensemble import fingerprints_of, load_members

CELLS = 400  # of each case that the fit takes


def predictions(members, folder: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what each member predicts in air, (M, 6, 1, N), and the true mean speed, by case."""
    found = {}
    for name, place in list_cases(PROJECT_ROOT / folder).items():
        states = load_case(*place).states
        air = states[0, GEO_MASK] > 0
        start = fresh_states(states)
        each = [rollout(rules, start, STEPS)[0, PREDICTED][:, None, air] for rules in members]
        found[name] = np.stack([fields.numpy() for fields in each]), states[0, SPEED, air].numpy()
    return found


def fitted(cases, random: np.random.Generator) -> tuple[float, ...]:
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


def coverage(bars: ErrorBars, cases: dict) -> list[dict]:
    """Return which share of each case's cells the bars cover, and how wide they are."""
    rows = []
    for name, (fields, speed) in cases.items():
        half, error = bars(fields)[0], np.abs(mean_speed(fields) - speed)
        row = {"case": name, "covered": float((error <= half).mean())}
        row |= {"mean_half_width": float(half.mean()), "mean_error": float(error.mean())}
        rows.append({key: v if isinstance(v, str) else round(v, 4) for key, v in row.items()})
    return rows


def main() -> None:
    """Fit, write and count."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--ensemble", default="data/pretrained/ensemble")
    arguments.add_argument("--init", default="data/pretrained/init_nca.pth")
    arguments.add_argument("--pi", default="data/pretrained/pi_nca.pth")
    arguments.add_argument("--data-dir", default="data/validation", help="cases to calibrate on")
    chosen = arguments.parse_args()
    init_nca = load_rule(chosen.init)
    rules = [init_nca, load_rule(chosen.pi, init_nca=init_nca)]
    folder = PROJECT_ROOT / chosen.ensemble
    members = load_members(folder, rules)
    known = predictions(members, chosen.data_dir)
    weights = fitted(known.values(), np.random.default_rng(0))
    bars = ErrorBars(weights, fingerprints_of(members))
    bars.write(folder / "error_bars.json")
    splits = {"validation": known} | {
        s: predictions(members, f"data/{s}") for s in ("test", "fresh")
    }
    rows = [{"split": s} | row for s, cases in splits.items() for row in coverage(bars, cases)]
    write_csv(TABLES / "coverage.csv", rows)


if __name__ == "__main__":
    main()
