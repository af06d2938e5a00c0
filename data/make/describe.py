# SPDX-License-Identifier: MIT
"""Draw ``data/cases.png`` and write ``data/cases.csv`` from the city files.

The table has a row for each case, with the figures of its checks.

Usage
-----
python data/make/describe.py

It needs only numpy, h5py and matplotlib.
"""

from __future__ import annotations

import argparse
import ast
import csv
from pathlib import Path

import h5py
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

CELL = 2.0  # side of a cell, m
SPLITS = ("train", "train_256m", "validation", "test", "fresh")
CHECKS = {  # column of the table: (key of meta, decimals)
    "form_drag": ("form_drag_share", 2),
    "halves": ("half_correlation", 3),
    "stress": ("stress_balance", 3),
    "dwdz": ("dwdz_divergence_correlation", 3),
    "two_delta": ("two_delta_mode", 3),
    "averaged_T": ("averaging_time", 0),
}
# Channel of wind_field, title, unit, whether it is signed
PLANES = (
    (2, r"$\langle u \rangle$", "m/s", True),
    (3, r"$\langle v \rangle$", "m/s", True),
    (4, "mean speed", "m/s", False),
    (5, "TKE", "m²/s²", False),
    (6, r"$\langle u'w' \rangle$", "m²/s²", True),
    (7, r"$\partial \langle w \rangle / \partial z$", "1/s", True),
)


def read_cases(folder: Path) -> list[dict]:
    """Read the ``meta`` of every case below ``folder``.

    Returns
    -------
    list of dict
        The ``meta`` of each case, with ``path``, ``split``, ``city``, ``case``, ``built`` (share
        of cells in buildings) and ``size`` (rows, columns) added.
    """
    cases = []
    for split in SPLITS:
        for path in sorted((folder / split).glob("*.h5")):
            with h5py.File(path, "r") as file:
                base = file["city_base"][:]
                for name, group in file["cases"].items():
                    meta = ast.literal_eval(group.attrs["meta"])
                    found = {
                        "path": path,
                        "split": split,
                        "city": path.stem,
                        "case": name,
                        "built": float((base[2] == 0).mean()),
                        "size": base.shape[1:],
                    }
                    cases.append(meta | found)
    return cases


def picture(cases: list[dict], path: Path) -> None:
    """Draw building heights and fields of one case of each kind, with one row for each case."""
    wanted = [("paris", "train"), ("munich", "train"), ("florence", "train")]
    wanted += [("uniform", "train"), ("varied", "train")]
    wanted += [(kind, "train") for kind in ("suburb", "towers", "mixed", "courtyards", "lanes")]
    wanted += [("san_francisco_c", "test"), ("san_francisco_l", "test")]
    chosen = []
    for stem, split in wanted:
        matches = [c for c in cases if c["city"].startswith(stem) and c["split"] == split]
        chosen += matches[:1]
    if not chosen:
        return
    figure, axes = plt.subplots(
        len(chosen), 7, figsize=(21, 2.75 * len(chosen)), squeeze=False, layout="constrained"
    )
    for row, case in zip(axes, chosen, strict=True):
        with h5py.File(case["path"], "r") as file:
            base = file["city_base"][:].astype(float)
            field = file[f"cases/{case['case']}/wind_field"][:].astype(float)
        air = base[2] > 0
        rows, columns = air.shape
        extent = (0, columns * CELL, 0, rows * CELL)
        panels = [(np.where(air, np.nan, base[3]), "building height", "m", False, "cividis")]
        for channel, title, unit, signed in PLANES:
            plane = np.where(air, field[channel], np.nan)
            panels.append((plane, title, unit, signed, "RdBu_r" if signed else "viridis"))
        for axis, (plane, title, unit, signed, colours) in zip(row, panels, strict=True):
            top = np.nanpercentile(np.abs(plane), 99.5)
            image = axis.imshow(
                plane,
                origin="lower",
                extent=extent,
                cmap=colours,
                vmin=-top if signed else 0,
                vmax=top,
                interpolation="nearest",
            )
            axis.set_facecolor("white" if title == "building height" else "0.55")
            axis.set_title(title)
            axis.set_xticks([0, columns * CELL])
            axis.set_yticks([0, rows * CELL])
            figure.colorbar(image, ax=axis, label=unit)
        row[0].set_ylabel(f"{case['case']}\ny (m)")
        x, y = case["wind_dir_xy"]
        size = rows * CELL
        row[0].annotate(
            "",
            xy=(size * (0.5 + 0.3 * x), size * (0.5 + 0.3 * y)),
            xytext=(size * (0.5 - 0.3 * x), size * (0.5 - 0.3 * y)),
            arrowprops={"arrowstyle": "->", "color": "crimson", "lw": 2},
        )
    for axis in axes[-1]:
        axis.set_xlabel("x (m)")
    figure.savefig(path, dpi=70, metadata={"Software": None})
    plt.close(figure)


def table(cases: list[dict]) -> list[dict]:
    """Return a row for each case: split, kind, cells, built fraction, wind, checks, minutes."""
    rows = []
    for case in cases:
        row = {key: case[key] for key in ("case", "split", "kind")}
        row["cells"] = "x".join(map(str, case["size"]))
        row |= {"built": f"{case['built']:.2f}", "wind_degrees": case["wind_dir_deg"]}
        row |= {name: f"{case[key]:.{digits}f}" for name, (key, digits) in CHECKS.items()}
        rows.append(row | {"minutes": f"{case['wall_seconds'] / 60:.1f}"})
    return rows


def write_table(rows: list[dict], path: Path) -> None:
    """Write the rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Draw the figure and write the table."""
    parser = argparse.ArgumentParser(description="Draw and list the cases of the data set.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1])
    folder = parser.parse_args().folder
    cases = read_cases(folder)
    picture(cases, folder / "cases.png")
    write_table(table(cases), folder / "cases.csv")


if __name__ == "__main__":
    main()
