# SPDX-License-Identifier: MIT
"""Rewrite the tables of ``data/README.md`` and draw ``data/cases.png`` from the city files.

Usage
-----
python data/make/describe.py

It needs numpy, h5py and matplotlib only.
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

CELL = 2.0  # m
SPLITS = ("train", "test", "fresh")
# Channel of wind_field, title, unit, signed
PLANES = (
    (2, r"$\langle u \rangle$", "m/s", True),
    (3, r"$\langle v \rangle$", "m/s", True),
    (4, r"$\langle U \rangle$", "m/s", False),
    (5, "TKE", "m²/s²", False),
    (6, r"$\langle u'w' \rangle$", "m²/s²", True),
    (7, r"$\partial \langle w \rangle / \partial z$", "1/s", True),
)


def read_cases(folder: Path) -> list[dict]:
    """Read the ``meta`` of every case below ``folder``.

    Returns
    -------
    list of dict
        The ``meta`` of each case with ``path``, ``split``, ``city``, ``case``, ``built`` (built
        fraction) and ``size`` (rows, columns) added.
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


def table(header: list[str], rows: list[list]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def summary(cases: list[dict]) -> str:
    """Return the table of how many cases there are of each kind, and the time they took."""
    rows = []
    for split in SPLITS:
        for kind in ("real", "regular", "irregular"):
            some = [c for c in cases if (c["split"], c["kind"]) == (split, kind)]
            if not some:
                continue
            hours = sum(c["wall_seconds"] for c in some) / 3600
            files = len({c["city"] for c in some})
            rows.append([split, kind, files, len(some), f"{hours:.1f}"])
    hours = sum(c["wall_seconds"] for c in cases) / 3600
    rows.append(["all", "all", len({c["city"] for c in cases}), len(cases), f"{hours:.1f}"])
    return table(["split", "kind", "geometries", "cases", "core hours"], rows)


def quality(cases: list[dict]) -> str:
    """Return the table of the quality figures, a line a case."""
    header = ["case", "split", "grid", "built", "wind (°)", "form drag", "halves", "stress"]
    header += ["dw/dz", "2Δ", "averaged (T)", "minutes"]
    rows = [
        [
            c["case"],
            c["split"],
            "×".join(str(n) for n in c["size"]),
            f"{c['built']:.2f}",
            c["wind_dir_deg"],
            f"{c['form_drag_share']:.2f}",
            f"{c['half_correlation']:.3f}",
            f"{c['stress_balance']:.3f}",
            f"{c['dwdz_divergence_correlation']:.3f}",
            f"{c['two_delta_mode']:.3f}",
            f"{c['averaging_time']:.0f}",
            f"{c['wall_seconds'] / 60:.1f}",
        ]
        for c in cases
    ]
    return table(header, rows)


def rejected(folder: Path) -> str:
    """Return the table of the rejected cases."""
    path = folder / "rejected.csv"
    if not path.exists():
        return "None so far."
    header = ["case", "split", "reason", "form drag", "halves", "stress", "dw/dz", "2Δ"]
    keys = ("form_drag_share", "half_correlation", "stress_balance")
    keys += ("dwdz_divergence_correlation", "two_delta_mode")
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            figures = ast.literal_eval(line["figures"])
            values = [f"{figures[key]:.3f}" if key in figures else "–" for key in keys]
            rows.append([line["case"], line["split"], line["reason"], *values])
    return table(header, rows) if rows else "None so far."


def picture(cases: list[dict], path: Path) -> None:
    """Draw the height map and the target planes of one case of each kind."""
    wanted = [("paris", "train"), ("munich", "train"), ("florence", "train")]
    wanted += [("uniform", "train"), ("varied", "train")]
    wanted += [("san_francisco_c", "test"), ("san_francisco_l", "test")]
    chosen = []
    for stem, split in wanted:
        some = [c for c in cases if c["city"].startswith(stem) and c["split"] == split]
        chosen += some[:1]
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
        panels = [(np.where(air, np.nan, base[3]), "height", "m", False, "cividis")]
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
            axis.set_facecolor("white" if title == "height" else "0.55")
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


def main() -> None:
    """Rewrite the marked parts of the README and the picture."""
    parser = argparse.ArgumentParser(description="Describe the data set from its files.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1])
    folder = parser.parse_args().folder
    cases = read_cases(folder)
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8")
    parts = {"summary": summary(cases), "quality": quality(cases), "rejected": rejected(folder)}
    for name, part in parts.items():
        start, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, rest = text.split(start)
        tail = rest.split(end)[1]
        text = f"{head}{start}\n{part}\n{end}{tail}"
    readme.write_text(text, encoding="utf-8")
    picture(cases, folder / "cases.png")


if __name__ == "__main__":
    main()
