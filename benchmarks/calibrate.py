"""Calibrate error bars for models of several seeds, on cases that none of them was trained on.

    python -m benchmarks.calibrate

Takes the models in ``data/pretrained`` and the cases of the validation split.
``data/pretrained/ensemble/error_bars.json`` gets the bars. How many cells of other cases they cover
goes to ``benchmarks/tables/coverage.csv``.
"""

from collections.abc import Sequence

import numpy as np
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


def predictions(members: Members, split: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what each member predicts in air, (M, 6, 1, N), and the true mean speed, by case."""
    found = {}
    for name, place in list_cases(PROJECT_ROOT / "data" / split).items():
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
    return [
        {"case": name} | covered(bars(fields)[0], np.abs(mean_speed(fields) - speed))
        for name, (fields, speed) in cases.items()
    ]


def measured_coverage(bars: ErrorBars, members: Members) -> list[dict]:
    """Return the same for the probes of the measured cases, after scaling to their mean speed."""
    rows = []
    for case in evaluation.measured_cases(PROJECT_ROOT / "data" / "measured"):
        each = [predict_wind(rules, case.place, [case.wind_from], STEPS) for rules in members]
        maps = evaluation.mean_of(each, bars)
        speeds, half = (
            evaluation.at_probes(plane, case) for plane in (case.plane(maps), maps.error[0])
        )
        error = np.abs(speeds - case.speeds * speeds.mean() / case.speeds.mean())
        rows.append({"split": "measured", "case": case.name} | covered(half, error))
    return rows


def covered(half: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Return which share of absolute errors is within the half-widths, and the means of both."""
    shares = {"covered": error <= half, "mean_half_width": half, "mean_error": error}
    return {name: round(float(values.mean()), 4) for name, values in shares.items()}


def main() -> None:
    """Fit, write and count."""
    members, folder = shipped_members(), PROJECT_ROOT / "data" / "pretrained" / "ensemble"
    known = predictions(members, "validation")
    bars = ErrorBars(fitted(known.values(), np.random.default_rng(0)), fingerprints_of(members))
    bars.write(folder / "error_bars.json")
    splits = {"validation": known} | {s: predictions(members, s) for s in ("test", "fresh")}
    rows = [{"split": s} | row for s, cases in splits.items() for row in coverage(bars, cases)]
    write_csv(TABLES / "coverage.csv", rows + measured_coverage(bars, members))


if __name__ == "__main__":
    main()
