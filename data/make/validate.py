# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate blocks that were measured in a wind tunnel, changing one thing of the solver at a time.

The data teach the automaton what the solver says; this script finds out what the solver is worth.
It simulates case C of the Architectural Institute of Japan: 3 × 3 cubes of 20 m, 20 m apart, whose
middle one is absent (0H), as high (1H) or twice as high (2H), under three wind directions, in the
middle of a periodic square.

Usage
-----
python data/make/validate.py [--out DIR] [--settings NAME ...] [--variants 0H 1H 2H] [--gpu]

Each case becomes ``<setting>_<variant>_<angle>.npz``, what `simulate.Solver.run` returns. A run
that was stopped goes on with the case that it was at; a case that diverged is written as ``.txt``.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from simulate import Numerics, Solver

CUBE = 20.0  # side of a cube, and width of a street, m
ANGLES = (0.0, 22.5, 45.0)  # of the wind in the tunnel, towards -y from +x, degrees
VARIANTS = {"0H": 0.0, "1H": CUBE, "2H": 2 * CUBE}  # height of the middle block, m
SPIN_UP = 10.0  # T


@dataclass(frozen=True)
class Setting:
    """A way of simulating: the numerics, the domain's length and width in m, and the average."""

    numerics: Numerics = field(default_factory=Numerics)
    domain: tuple[float, float] = (256.0, 256.0)
    averaging: float = 25.0  # T


SETTINGS = {
    "data": Setting(),
    "reynolds_2000": Setting(Numerics(reynolds=2000.0)),
    "lid_128": Setting(Numerics(lid=128.0)),
    "smagorinsky": Setting(Numerics(smagorinsky=0.1)),
    "domain_512": Setting(domain=(512.0, 512.0)),
    "cell_1": Setting(Numerics(cell=1.0)),
}


def blocks(height: float, cell: float, domain: tuple[float, float]) -> np.ndarray:
    """Return the heights of the nine blocks in cells, shape (H, W), in the middle of the domain.

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


def main() -> None:
    """Simulate the cases that are still missing."""
    parser = argparse.ArgumentParser(description="Simulate case C of the AIJ.")
    parser.add_argument("--out", type=Path, default=Path("data/work/validation"))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--angles", nargs="+", type=float, choices=ANGLES, default=list(ANGLES))
    parser.add_argument("--gpu", action="store_true", help="step on a CUDA GPU (needs cupy)")
    options = parser.parse_args()
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
                    raw = solver.run(heights, -angle, 0, SPIN_UP, setting.averaging)
                except FloatingPointError as error:
                    file.with_suffix(".txt").write_text(f"diverged: {error}\n")
                    continue
                partial = file.with_suffix(".part.npz")
                np.savez_compressed(partial, **raw)
                os.replace(partial, file)
                print(f"{file.name}: {float(raw['wall_seconds']):.0f} s", flush=True)


if __name__ == "__main__":
    main()
