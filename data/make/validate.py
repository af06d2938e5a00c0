# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the solver with a wind tunnel, also with one setting of the solver changed at a time.

The automaton learns from the solver, so it is not expected to be better. This script simulates
case C of the Architectural Institute of Japan: 3 × 3 cubes of 20 m, 20 m apart. The middle cube is
absent (0H), as high as the others (1H) or twice as high (2H). There are three wind directions. Case
A is a single tower of 20 × 20 × 40 m under one wind. The blocks stand in the middle of a periodic
square.

Usage
-----
python data/make/validate.py [--out DIR] [--settings NAME ...] [--variants 0H 1H 2H A] [--gpu]

The result of `simulate.Solver.run` for each case is written to ``<setting>_<variant>_<angle>.npz``;
for a case that diverged, a ``.txt`` is written instead. A run that was stopped can be continued
with the same command: existing cases are skipped, and on a CPU the state of an unfinished one is
stored every ten minutes. With ``--score`` nothing is simulated. The existing cases are compared
with the measurements, and their rows are written to ``validation.csv`` next to this script. Rows of
other cases stay. ``approach.csv`` compares the wind over the ground of case A with the tunnel's
inflow.

The scores are those of `pinca_lib.evaluation.measured`, so ``--score`` needs the project's own
environment. ``factor`` scales simulated speeds in units of u_tau.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas
from fields import MOMENTS, stress_balance
from simulate import Numerics, Solver, keep

CUBE = 20.0  # side of a cube, and width of a street, m
ANGLES = (0.0, 22.5, 45.0)  # wind directions of the tunnel, degrees from +x towards -y
VARIANTS = {  # heights of the middle block and of the eight around it, m
    "0H": (0.0, CUBE),
    "1H": (CUBE, CUBE),
    "2H": (2 * CUBE, CUBE),
    "A": (2 * CUBE, 0.0),
}
ABOUT = ["setting", "variant", "angle"]  # what names the rows of a case
SPIN_UP = 10.0  # T, below a lid at 64 m; longer in proportion below a higher one


@dataclass(frozen=True)
class Setting:
    """A variant of the simulation: numerics, length and width of the domain, averaging time."""

    numerics: Numerics = field(default_factory=Numerics)
    domain: tuple[float, float] = (256.0, 256.0)  # m
    averaging: float = 25.0  # T


SETTINGS = {
    "data": Setting(),
    "reynolds_2000": Setting(Numerics(reynolds=2000.0)),
    "lid_80": Setting(Numerics(lid=80.0)),  # twice the tall block, the rule of the data
    "smagorinsky": Setting(Numerics(smagorinsky=0.1)),
    "long": Setting(averaging=100.0),
    "rough_ground": Setting(Numerics(roughness=0.03)),  # z0 that fits the tunnel's inflow
    "domain_512": Setting(domain=(512.0, 256.0)),  # a longer fetch at 0°
    "domain_160": Setting(domain=(160.0, 160.0)),
    "cell_1": Setting(Numerics(cell=1.0), domain=(160.0, 160.0)),
}


def blocks(variant: str, cell: float, domain: tuple[float, float]) -> np.ndarray:
    """Return building heights in cells, shape (H, W), with up to nine blocks in the middle.

    Parameters
    ----------
    variant : str
        One of `VARIANTS`.
    cell : float
        Side of a cell, m.
    domain : (float, float)
        Length along x and width along y, m.
    """
    nx, ny = (round(side / cell) for side in domain)
    heights = np.zeros((ny, nx), int)
    side = round(CUBE / cell)
    middle, around = VARIANTS[variant]
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            y = ny // 2 + 2 * row * side - side // 2
            x = nx // 2 + 2 * column * side - side // 2
            height = middle if row == column == 0 else around
            heights[y : y + side, x : x + side] = round(height / cell)
    return heights


def score_all(folder: Path, measured: Path) -> pandas.DataFrame:
    """Score all simulated cases, for the layers below and above 2 m and for their mean.

    The probes of case A are at 2.5 m: the rows ``probes`` interpolate to that height. Of the two
    halves of the averaging time, ``halves_r`` is the correlation at the probes, and ``r_first`` and
    ``r_second`` are those with the measurements. ``level`` is that of `pinca_lib.evaluation`,
    ``r_tke`` the correlation with the measured TKE, and ``stress_balance`` that of `fields`.
    """
    from pinca_lib.cities.place import Grid
    from pinca_lib.evaluation import at_probes, compare, correlation, level, measured_cases

    cases = {case.name: case for case in measured_cases(measured)}
    rows = []
    for file in sorted(folder.glob("*.npz")):
        name, variant, angle = file.stem.rsplit("_", 2)
        domain, cell = SETTINGS[name].domain, SETTINGS[name].numerics.cell
        case = cases["AIJ A" if variant == "A" else f"AIJ C, {variant}, {float(angle):g}°"]
        heights = blocks(variant, cell, domain)
        grid = Grid(-domain[0] / 2, -domain[1] / 2, cell, heights.shape)
        case = replace(case, place=replace(case.place, grid=grid, heights=heights))
        with np.load(file) as raw:
            moments = np.moveaxis(raw["moments"], 2, 0)  # (8, half, layer, H, W)
            moments = dict(zip(MOMENTS, moments, strict=True))
            u, v, speed = (moments[name] / raw["u_tau"] for name in "uvs")
            balance = stress_balance(raw["stress_ratio"])
        speed = speed if case.scalar else np.hypot(u, v)
        tke = sum(moments[2 * name].mean(0) - moments[name].mean(0) ** 2 for name in "uvw") / 2
        halves = [at_probes(half.mean(axis=0), case) for half in speed]
        whole_run = {
            "halves_r": correlation(*halves),
            "r_first": correlation(halves[0], case.speeds),
            "r_second": correlation(halves[1], case.speeds),
            "stress_balance": balance,
        }
        weights = {"mean": (0.5, 0.5), "below": (1, 0), "above": (0, 1)}  # of the two layers
        if variant == "A":
            weights["probes"] = (0.25, 0.75)
        for layer, weight in weights.items():
            plane, energy = (np.tensordot(weight, field, 1) for field in (speed.mean(0), tke))
            about = dict(zip(ABOUT, (name, variant, angle), strict=True)) | {"layer": layer}
            scores = compare(at_probes(plane, case), case.speeds) | {"level": level(plane, case)}
            if case.tke is not None:
                scores["r_tke"] = correlation(at_probes(energy, case), case.tke)
            rows.append(about | scores | whole_run)
    return pandas.DataFrame(rows).round(3)


def approach(file: Path, measured: Path) -> pandas.DataFrame:
    """Compare the mean wind over the ground of case A with the inflow of the tunnel.

    Both are relative to that at the height of the tower. The simulated one is the mean over all
    air of a level; the tower takes less than a hundredth of it.
    """
    with np.load(file) as raw:
        simulated = raw["profile"]
    inflow = json.loads((measured / "aij_case_a.json").read_text(encoding="utf-8"))["inflow"]
    tunnel = [(CUBE * level["zOverB"], level["U"]) for level in inflow]
    cell = Numerics().cell
    levels = np.arange(0.5, len(simulated)) * cell
    top = 2 * CUBE
    heights = [z for z in levels if z <= 1.5 * top]
    return pandas.DataFrame(
        {
            "height": heights,
            "simulation": simulated[: len(heights)] / np.interp(top, levels, simulated),
            "tunnel": np.interp(heights, *zip(*tunnel, strict=True)) / dict(tunnel)[top],
        }
    ).round(3)


def main() -> None:
    """Run the command: simulate the missing cases, or score those that exist."""
    parser = argparse.ArgumentParser(description="Simulate cases C and A of the AIJ.")
    parser.add_argument("--out", type=Path, default=Path("data/work/validation"))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--angles", nargs="+", type=float, choices=ANGLES, default=list(ANGLES))
    parser.add_argument("--gpu", action="store_true", help="simulate on a CUDA GPU (needs cupy)")
    parser.add_argument(
        "--score", action="store_true", help="score the existing cases, simulate nothing"
    )
    options = parser.parse_args()
    here = Path(__file__).resolve().parent
    if options.score:
        table = score_all(options.out, here.parent / "measured")
        print(table.to_string(index=False))
        file = here / "validation.csv"
        known = pandas.read_csv(file, dtype={"angle": str}).set_index(ABOUT)
        others = known[~known.index.isin(table.set_index(ABOUT).index)].reset_index()
        table = pandas.concat([others, table]).sort_values(ABOUT, kind="stable")
        table.to_csv(file, index=False)
        if (tower := options.out / "lid_80_A_0.npz").exists():
            approach(tower, here.parent / "measured").to_csv(here / "approach.csv", index=False)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.settings:
        setting, solver = SETTINGS[name], None
        cell = setting.numerics.cell
        for variant in options.variants:
            for angle in options.angles:
                file = options.out / f"{name}_{variant}_{angle:g}.npz"
                is_measured = variant != "A" or angle == 0
                if not is_measured or file.exists() or file.with_suffix(".txt").exists():
                    continue
                heights = blocks(variant, cell, setting.domain)
                solver = solver or Solver(heights.shape[::-1], setting.numerics, options.gpu)
                try:
                    state = None if options.gpu else file.with_suffix(".state")
                    spin_up = SPIN_UP * setting.numerics.lid / 64
                    raw = solver.run(heights, -angle, 0, spin_up, setting.averaging, state)
                except FloatingPointError as error:
                    file.with_suffix(".txt").write_text(f"diverged: {error}\n")
                    continue
                keep(file, raw)
                print(f"{file.name}: {float(raw['wall_seconds']):.0f} s", flush=True)


if __name__ == "__main__":
    main()
