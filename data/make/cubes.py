# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the wind above arrays of cubes with formulas that were made in wind tunnels.

Cubes of 16 m stand 16 m apart and cover a quarter of a periodic square of 128 m, in rows and
columns (``square``) or with every second row moved by half the distance (``staggered``). The wind
blows across the rows. Macdonald, Griffiths and Hall (1998), Atmospheric Environment 32:1857-1864,
give the roughness length and the displacement height of both arrays, with constants from wind
tunnels.

Usage
-----
python data/make/cubes.py [--out DIR] [--gpu]

The settings are those of the data, with 10 T of spin-up and an average over 30 T. A run that was
stopped can be continued with the same command. ``cubes.csv`` is written next to this script: the
horizontally averaged wind at some heights, in u_tau.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas
from layouts import CELL
from simulate import Numerics, Solver, keep

SIDE = 8  # of a cube and of a gap, cells
ARRAYS = {"square": (3.59, 0.55), "staggered": (4.43, 1.0)}  # A and beta of Macdonald and others
DENSITY, DRAG, KAPPA = 0.25, 1.2, 0.4
HEIGHTS = (1.25, 1.5, 2.0, 2.5, 3.0)  # of the cubes


def layout(array: str) -> np.ndarray:
    """Return building heights in cells, shape (64, 64)."""
    heights = np.zeros((8 * SIDE, 8 * SIDE), int)
    for column in range(4):
        moved = SIDE if array == "staggered" and column % 2 else 0
        for row in range(4):
            y, x = 2 * row * SIDE + moved, 2 * column * SIDE
            heights[y : y + SIDE, x : x + SIDE] = SIDE
    return heights


def formula(array: str, heights: np.ndarray) -> np.ndarray:
    """Return the wind at some heights, in cubes, by Macdonald and others, in u_tau."""
    a, beta = ARRAYS[array]
    displacement = 1 + a**-DENSITY * (DENSITY - 1)
    drag = 0.5 * beta * DRAG / KAPPA**2 * (1 - displacement) * DENSITY
    z0 = (1 - displacement) * math.exp(-(drag**-0.5))
    return np.log((heights - displacement) / z0) / KAPPA


def main() -> None:
    """Run the command: simulate what is missing, and compare."""
    parser = argparse.ArgumentParser(description="Simulate arrays of cubes.")
    parser.add_argument("--out", type=Path, default=Path("data/work/cubes"))
    parser.add_argument("--gpu", action="store_true", help="simulate on a CUDA GPU (needs cupy)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    at, rows = np.array(HEIGHTS), []
    for array in ARRAYS:
        file, heights = options.out / f"{array}.npz", layout(array)
        if not file.exists():
            solver = Solver(heights.shape[::-1], Numerics(), options.gpu)
            state = None if options.gpu else file.with_suffix(".state")
            keep(file, solver.run(heights, 0.0, 0, 10.0, 30.0, state))
        with np.load(file) as raw:
            profile = raw["profile"] / raw["u_tau"]
            share, balance = float(raw["form_drag_share"]), float(np.median(raw["stress_ratio"]))
        levels = CELL * (np.arange(len(profile)) + 0.5) / (CELL * SIDE)
        winds = zip(at, np.interp(at, levels, profile), formula(array, at), strict=True)
        rows += [
            {"array": array, "height": z, "simulation": simulated, "formula": of_formula,
             "form_drag_share": share, "stress": balance}
            for z, simulated, of_formula in winds
        ]  # fmt: skip
    table = pandas.DataFrame(rows).round(3)
    table.to_csv(Path(__file__).with_name("cubes.csv"), index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
