# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the solver with a wind tunnel, also with one setting of the solver changed at a time.

The automaton learns from the solver, so it cannot be better than the solver. This script simulates
case C of the Architectural Institute of Japan: 3 × 3 cubes of 20 m, 20 m apart. The middle cube is
absent (0H), as high as the others (1H) or twice as high (2H). There are three wind directions. The
blocks stand in the middle of a periodic square.

Usage
-----
python data/make/validate.py [--out DIR] [--settings NAME ...] [--variants 0H 1H 2H] [--gpu]

The result of `simulate.Solver.run` for each case is written to ``<setting>_<variant>_<angle>.npz``;
for a case that diverged, a ``.txt`` is written instead. A run that was stopped can be continued
with the same command: existing cases are skipped, and the state of an unfinished one is stored
every ten minutes. With ``--score`` nothing is simulated. The existing cases are compared with the
measurements, and ``validation.csv`` is written next to this script.

Scores. The simulated speed at a probe is that of the cell in which the probe lies. The tunnel's
speeds are relative to the inflow at the height of the probes. A periodic domain has no inflow, so
the simulated speeds of a case are scaled to the mean of the measured speeds. The scores therefore
describe only the pattern of speeds: Pearson's correlation r, the hit rate (within 25 %,
VDI 3783-9), the share within a factor of two, and the slope of simulated over measured speed.
``factor`` is the scaling factor for simulated speeds in units of u_tau.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas
from fields import MOMENTS
from simulate import Numerics, Solver

CUBE = 20.0  # side of a cube, and width of a street, m
ANGLES = (0.0, 22.5, 45.0)  # wind directions of the tunnel, degrees from +x towards -y
VARIANTS = {"0H": 0.0, "1H": CUBE, "2H": 2 * CUBE}  # height of the middle block, m
SPIN_UP = 10.0  # T


@dataclass(frozen=True)
class Setting:
    """A variant of the simulation: numerics, length and width of the domain, averaging time."""

    numerics: Numerics = field(default_factory=Numerics)
    domain: tuple[float, float] = (256.0, 256.0)  # m
    averaging: float = 25.0  # T


SETTINGS = {
    "data": Setting(),
    "reynolds_2000": Setting(Numerics(reynolds=2000.0)),
    "lid_128": Setting(Numerics(lid=128.0)),
    "smagorinsky": Setting(Numerics(smagorinsky=0.1)),
    "long": Setting(averaging=100.0),
    "rough_ground": Setting(Numerics(roughness=0.03)),  # z0 that fits the tunnel's inflow
    "domain_512": Setting(domain=(512.0, 512.0)),
    "domain_160": Setting(domain=(160.0, 160.0)),
    "cell_1": Setting(Numerics(cell=1.0), domain=(160.0, 160.0)),
}


def blocks(height: float, cell: float, domain: tuple[float, float]) -> np.ndarray:
    """Return building heights in cells, shape (H, W), with nine blocks in the middle.

    Parameters
    ----------
    height : float
        Height of the middle block, m.
    cell : float
        Side of a cell, m.
    domain : (float, float)
        Length along x and width along y, m.
    """
    nx, ny = (round(side / cell) for side in domain)
    heights = np.zeros((ny, nx), int)
    side = round(CUBE / cell)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            y = ny // 2 + 2 * row * side - side // 2
            x = nx // 2 + 2 * column * side - side // 2
            is_middle = row == column == 0
            heights[y : y + side, x : x + side] = round((height if is_middle else CUBE) / cell)
    return heights


def probes(measured: Path, angle: float, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions (x, y) of the probes of a case, (N, 2) in m, and their speeds, (N,)."""
    directions = json.loads(measured.read_text(encoding="utf-8"))["directions"]
    found = next(d for d in directions if d["sourceAngleDegrees"] == angle)["probes"]
    places = 100 * np.array([(probe["x"], probe["y"]) for probe in found])  # the model is 1:100
    return places, np.array([probe["speedByVariant"][variant] for probe in found])


def score(simulated: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Return the scores of a case from simulated and measured speeds at its probes, (N,) each."""
    factor = measured.mean() / simulated.mean()
    ratio = factor * simulated / measured
    return {
        "r": np.corrcoef(simulated, measured)[0, 1],
        "hit_rate": np.mean(np.abs(ratio - 1) <= 0.25),
        "within_factor_2": np.mean((ratio >= 0.5) & (ratio <= 2)),
        "slope": np.polyfit(measured, factor * simulated, 1)[0],
        "factor": factor,
    }


def score_all(folder: Path, measured: Path) -> pandas.DataFrame:
    """Score all simulated cases, for the layers below and above the plane and for their mean.

    ``halves_r`` is the correlation between the two halves of the averaging time at the probes.
    """
    rows = []
    for file in sorted(folder.glob("*.npz")):
        name, variant, angle = file.stem.rsplit("_", 2)
        setting = SETTINGS[name]
        places, speeds = probes(measured, float(angle), variant)
        with np.load(file) as raw:
            halves = raw["moments"][:, :, MOMENTS.index("s")] / raw["u_tau"]  # (2, 2, H, W)
        sides = np.array(setting.domain)[:, None] / 2
        x, y = ((places.T + sides) // setting.numerics.cell).astype(int)  # cells of the probes
        halves = halves[:, :, y, x]  # (half, layer, probe)
        below, above = halves.mean(axis=0)
        agreement = np.corrcoef(halves.mean(axis=1))[0, 1]
        for layer, read in (("mean", (below + above) / 2), ("below", below), ("above", above)):
            case = {"setting": name, "variant": variant, "angle": angle, "layer": layer}
            rows.append(case | score(read, speeds) | {"halves_r": agreement})
    return pandas.DataFrame(rows).round(3)


def main() -> None:
    """Run the command: simulate the missing cases, or score those that exist."""
    parser = argparse.ArgumentParser(description="Simulate case C of the AIJ.")
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
        table = score_all(options.out, here.parent / "measured" / "aij_case_c.json")
        table.to_csv(here / "validation.csv", index=False)
        print(table.to_string(index=False))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.settings:
        setting, solver = SETTINGS[name], None
        cell = setting.numerics.cell
        for variant in options.variants:
            for angle in options.angles:
                file = options.out / f"{name}_{variant}_{angle:g}.npz"
                if file.exists() or file.with_suffix(".txt").exists():
                    continue
                heights = blocks(VARIANTS[variant], cell, setting.domain)
                solver = solver or Solver(heights.shape[::-1], setting.numerics, options.gpu)
                try:
                    state = file.with_suffix(".state")
                    raw = solver.run(heights, -angle, 0, SPIN_UP, setting.averaging, state)
                except FloatingPointError as error:
                    file.with_suffix(".txt").write_text(f"diverged: {error}\n")
                    continue
                partial = file.with_suffix(".part.npz")
                np.savez_compressed(partial, **raw)
                os.replace(partial, file)
                print(f"{file.name}: {float(raw['wall_seconds']):.0f} s", flush=True)


if __name__ == "__main__":
    main()
