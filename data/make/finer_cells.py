# SPDX-License-Identifier: GPL-3.0-or-later
"""What finer cells change in narrow lanes: a dense crop on cells of 1 m, beside cells of 2 m.

Usage
-----
python data/make/finer_cells.py [--case NAME] [--out DIR] [--gpu]

A training case of the families (`families.py`) is simulated with the data's settings, with four
times the Reynolds number, and on cells of 1 m, and the results are compared. A run that was stopped
can be continued with the same command. ``cells.csv`` is written next to this script.
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import replace
from pathlib import Path

import families
import numpy as np
import pandas
from layouts import CELL, Case
from scipy import ndimage
from simulate import Numerics, Solver, fetch_wheel, keep

SETTINGS = {
    "cell_1": Numerics(cell=1.0),
    "data": Numerics(),
    "reynolds_2000": Numerics(reynolds=2000.0),
}


def simulate(case: Case, numerics: Numerics, file: Path, gpu: bool) -> None:
    """Simulate a case with some numerics, and write the result of `simulate.Solver.run`."""
    times = round(CELL / numerics.cell)
    heights = np.kron(case.layout.heights * times, np.ones((times, times), int))
    solver = Solver(heights.shape[::-1], replace(numerics, lid=case.lid), gpu)
    seed, state = zlib.crc32(case.name.encode()), None if gpu else file.with_suffix(".state")
    raw = solver.run(heights, case.degrees, seed, case.spin_up, case.averaging, state)
    keep(file, raw)


def flow_of(file: Path, heights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return u, v, mean speed and TKE on cells of 2 m in air, (4, A), and the form drag's share.

    Speeds are in u_tau, and heights in cells, (H, W).
    """
    with np.load(file) as raw:
        moments, u_tau = raw["moments"].mean(axis=(0, 1)), float(raw["u_tau"])
        share = float(raw["form_drag_share"])
    u, v, w, speed, uu, vv, ww, _ = moments
    tke = (uu - u * u + vv - v * v + ww - w * w) / 2
    planes = np.stack([u / u_tau, v / u_tau, speed / u_tau, tke / u_tau**2])
    times = planes.shape[-1] // heights.shape[-1]
    cells = planes.reshape(4, heights.shape[0], times, heights.shape[1], times).mean(axis=(2, 4))
    return cells[:, heights == 0], share


def compared(files: dict[str, Path], heights: np.ndarray) -> pandas.DataFrame:
    """Compare the simulations of a layout with that on the finest cells."""
    air = heights == 0
    tiled = ndimage.distance_transform_edt(np.tile(air, (3, 3)))
    middle = tuple(slice(n, 2 * n) for n in air.shape)
    at_wall = (tiled[middle] == 1)[air]
    best, _ = flow_of(files["cell_1"], heights)
    rows = []
    for setting, file in files.items():
        flow, share = flow_of(file, heights)
        rows.append(
            {
                "setting": setting,
                "speed": flow[2].mean(),
                "speed_at_walls": flow[2][at_wall].mean(),
                "tke": flow[3].mean(),
                "form_drag_share": share,
                "r_speed": np.corrcoef(flow[2], best[2])[0, 1],
                "relative_l2_wind": np.linalg.norm((flow - best)[:2]) / np.linalg.norm(best[:2]),
            }
        )
    return pandas.DataFrame(rows).round(3)


def main() -> None:
    """Run the command: simulate what is missing, and compare."""
    parser = argparse.ArgumentParser(description="Simulate a dense crop on finer cells.")
    parser.add_argument("--case", default="florence_h01_d330", help="a case of the families")
    parser.add_argument("--out", type=Path, default=Path("data/work/finer_cells"))
    parser.add_argument("--gpu", action="store_true", help="simulate on a CUDA GPU (needs cupy)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    work = options.out.parent
    cases = families.cases(fetch_wheel(work), work)
    case = next(case for case in cases if case.name == options.case)
    files = {name: options.out / f"{name}_{case.name}.npz" for name in SETTINGS}
    for name, file in files.items():
        if not file.exists():
            simulate(case, SETTINGS[name], file, options.gpu)
    table = compared(files, case.layout.heights)
    table.to_csv(Path(__file__).with_name("cells.csv"), index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
