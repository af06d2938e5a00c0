"""Write the tables of the documentation from the files that hold their numbers.

    python docs/tables.py           rewrite what stands between the markers
    python docs/tables.py --check   change nothing; fail if a page is out of date

A page marks the place of a table with ``<!-- table: name -->`` and ``<!-- end -->``. The functions
below make the tables, each named after its function: most read a CSV file in
``benchmarks/tables/``, those on the embedded data read the city files.
"""

import argparse
import re
import runpy
import sys
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/*.md", "data/README.md", "data/*/README.md")
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

ERRORS = {
    "mean_relative_l2_wind": "(u, v)",
    "mean_relative_l2_Uped": "mean speed",
    "mean_relative_l2_TKEped": "TKE",
    "correlation_dwdz": "r of ∂w/∂z",
}
MEDIANS = {
    "relative_l2_wind": "(u, v)",
    "relative_l2_Uped": "mean speed",
    "relative_l2_TKEped": "TKE",
    "relative_l2_Tuwped": "⟨u′w′⟩",
    "correlation_dwdz": "r of ∂w/∂z",
}
GROUPS = {
    "train": "training",
    "validation": "validation",
    "first": "first test",
    "families": "families' test",
    "fresh": "fresh",
}


@cache
def read(path: str) -> pd.DataFrame:
    """Return a CSV file below ``benchmarks/tables``, or at a path from the project's root."""
    file = ROOT / path if "/" in path else ROOT / "benchmarks" / "tables" / f"{path}.csv"
    return pd.read_csv(file)


def markdown(rows: list[dict]) -> str:
    """Return rows as a Markdown table, with the keys of the first row as titles."""
    cells = [[unbroken(str(cell)) for cell in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def unbroken(cell: str) -> str:
    """Return a cell that begins with a number with spaces at which no line breaks."""
    return (
        cell.replace(" ", "\N{NO-BREAK SPACE}")
        if re.match(r"[−\d]\S* [^a-z]|\d+ m$", cell)
        else cell
    )


def number(value: float, digits: int = 2) -> str:
    """Return a number with so many decimals, halves rounded up; a dash if it is missing."""
    if pd.isna(value):
        return "–"
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return str(rounded).replace("-", "−")


def times(value: float) -> str:
    """Return a ratio: one decimal below 10, none above."""
    return number(value, 1 if value < 9.95 else 0)


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{number(100 * share, digits)} %"


# --- docs/accuracy.md -----------------------------------------------------------------------------


def medians() -> list[dict]:
    """Medians over the cases, of the shipped weights and what stands beside them."""
    figures = {
        "relative_l2_wind": "(u, v)",
        "relative_l2_Uped": "mean speed",
        "relative_l2_TKEped": "TKE",
        "r2_Uped": "R² of mean speed",
        "correlation_dwdz": "r of ∂w/∂z",
        "broken_energy": "cells beyond a fourth bound",
    }
    table = scored_cases()
    found = table.groupby(["model", "group"])[list(figures)].median()
    models = ["PI-NCA", "mean of three", "Init-NCA alone", "mean flow", "half averages"]
    groups = "first", "families", "fresh"
    return [
        {"medians": title}
        | {
            model: " / ".join(number(found.loc[(model, g), key]) for g in groups)
            for model in models
        }
        for key, title in figures.items()
    ]


def kinds() -> list[dict]:
    """Means of the PI-NCA and of the three models over cases of one kind and size."""
    table = scored_cases()
    table = table[table["split"].isin(["test", "fresh"])]
    order = table["kind"].map(list(LAYOUTS).index)
    rows = []
    for (_, _, cells), group in table.groupby([table["split"] == "fresh", order, "cells"]):
        own, mean = (group[group["model"] == model] for model in ("PI-NCA", "mean of three"))
        both = {MEDIANS[key]: f"{number(own[key].mean())} / {number(mean[key].mean())}"
                for key in list(MEDIANS)[:3]}  # fmt: skip
        rows.append(
            {
                "split": own["split"].iloc[0],
                "kind": LAYOUTS[own["kind"].iloc[0]],
                "side": f"{2 * cells**0.5:.0f} m",
                "cases": len(own),
                "built": percent(own["built"].median()),
                "rms wind (m/s)": number(own["wind_rms"].median()),
            }
            | both
            | {"MAE of speed (m/s)": number(mean["mae_Uped"].mean(), 3),
               "r of ∂w/∂z": number(mean["correlation_dwdz"].mean())}
        )  # fmt: skip
    return rows


def coverage() -> list[dict]:
    """Share of cells, or of probes, whose error is within its bar."""
    table = with_kinds(read("coverage"))
    tunnel = table["case"].str.rpartition(",")[0].where(lambda name: name != "", table["case"])
    table["kind"] = table["kind"].map(LAYOUTS).fillna(tunnel)
    order = {s: n for n, s in enumerate(("validation", "test", "fresh", "measured"))}
    rows = []
    for (split, kind), group in sorted(
        table.groupby(["split", "kind"]), key=lambda g: order[g[0][0]]
    ):
        rows.append(
            {"split": split, "kind": kind, "cases": len(group)}
            | {"covered": percent(group["covered"].mean()),
               "by one width": percent(group["covered_by_constant"].mean()),
               "mean bar (m/s)": number(group["mean_half_width"].mean(), 3),
               "mean error (m/s)": number(group["mean_error"].mean(), 3)}
        )  # fmt: skip
    return rows


def sizes() -> list[dict]:
    """How much larger the median error is on cities of 256 m."""
    rows = []
    for groups in (("first", "fresh"), ("first",), ("fresh",)):
        table = pi_nca_cases(*groups)
        keys = list(MEDIANS)[:3]
        small, large = (group[keys].median() for _, group in table.groupby("cells"))
        counts = table.groupby("cells").size()
        rows.append(
            {
                "cases": " and ".join(GROUPS[g] for g in groups),
                "of 128 m": counts.iloc[0],
                "of 256 m": counts.iloc[1],
            }
            | {MEDIANS[key]: percent(large[key] / small[key] - 1) for key in keys}
        )
    return rows


def healing() -> list[dict]:
    """How far a field is off after an edit."""
    rows = []
    for group in ("first", "families", "fresh"):
        table = pi_nca_cases(group)
        for steps in (64, 128):
            error = table[f"healing_{steps}"]
            rows.append(
                {
                    "cases": GROUPS[group],
                    "steps after the edit": steps,
                    "median": percent(error.median(), 1),
                    "largest": percent(error.max(), 1),
                    "within 5 %": f"{(error <= 0.05).sum()} of {len(error)}",
                }
            )
    return rows


def with_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of cases, named ``city/case``, with the kinds of their layouts."""
    kinds = read("data/cases.csv").set_index("case")["kind"]
    return table.assign(kind=table["case"].str.rpartition("/")[2].map(kinds))


def scored_cases() -> pd.DataFrame:
    """Return all rows of all models, with their kind and group.

    A group is a split; of the test split the first layouts and the families are groups of their
    own.
    """
    return with_groups(with_kinds(read("accuracy_cases")))


def with_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with kinds with a column more: the group of each case."""
    is_first = table["kind"].isin(["real", "regular", "irregular"])
    test = is_first.map({True: "first", False: "families"})
    return table.assign(group=table["split"].where(table["split"] != "test", test))


def pi_nca_cases(*groups: str) -> pd.DataFrame:
    """Return the rows of the PI-NCA over cases of these groups."""
    table = scored_cases()
    return table[(table["model"] == "PI-NCA") & table["group"].isin(groups)]


def rivals_short() -> list[dict]:
    """Networks beside the automaton after trainings of about equal length, test cases."""
    return compared(read("rivals"), "test")


def rivals_long() -> list[dict]:
    """The same after longer trainings of the networks."""
    return compared(read("longer"), "test")


def rivals_fresh() -> list[dict]:
    """The same, on the fresh cases."""
    return compared(read("longer"), "fresh")


def compared(table: pd.DataFrame, split: str) -> list[dict]:
    """Return each model's means over its seeds."""
    rows = []
    for model, group in table[table["held_out"] == split].groupby("model"):
        rows.append(
            {
                "model": model.replace("over 8 moves", "mean of eight"),
                "seeds": len(group),
                "parameters": f"{group['parameters'].iloc[0]:,}",
                "iterations": group["iterations"].iloc[0],
                "training (min)": f"{group['training_s'].mean() / 60:.0f}",
                "a case (ms)": f"{1e3 * group['case_s'].mean():.0f}",
            }
            | {title: number(group[key].mean()) for key, title in ERRORS.items()}
        )
    order = ["PI-NCA", "U-Net", "FNO", "FNO, Tucker"]
    return sorted(rows, key=lambda row: order.index(row["model"].removesuffix(", mean of eight")))


def rivals_families() -> list[dict]:
    """The same after trainings on the data with the families: means over two groups of cases."""
    table = with_groups(with_kinds(read("families_cases").assign(split="test")))
    table = table[table["cells"] == table["cells"].min()]
    about = read("families").set_index("model")
    rows = []
    for model, own in table.groupby("model", sort=False):
        row = {"model": model.replace("over 8 moves", "mean of eight"),
               "parameters": f"{about.loc[model, 'parameters']:,}"}  # fmt: skip
        for key, title in list(MEDIANS.items())[:3]:
            means = own.groupby("group")[key].mean()[["first", "families"]]
            row[f"{title}: first / families"] = " / ".join(map(number, means))
        rows.append(row)
    return rows


def rivals_apart() -> list[dict]:
    """Networks beside the automaton on equal blocks, and on cities of 256 m."""
    table, per_case = read("longer"), read("longer_cases")
    blocks = per_case[per_case["case"].str.startswith("uniform")]
    rows = []
    for shown in compared(table, "test"):
        name = shown["model"].replace("mean of eight", "over 8 moves")
        own = blocks[blocks["model"] == name]["relative_l2_wind"]
        row = {"model": shown["model"], "equal blocks": number(own.mean())}
        for split in ("test", "fresh"):
            group = table[(table["model"] == name) & (table["held_out"] == split)]
            large = [group[f"{key}_large"].mean() for key in list(MEDIANS)[:3]]
            row[f"256 m, {split}: (u, v) / speed / TKE"] = " / ".join(map(number, large))
        rows.append(row)
    return rows


def lead() -> list[dict]:
    """By how much the PI-NCA's error is below that of the best network, field by field."""
    rows = []
    for name, split, training in (
        ("rivals", "test", "short"),
        ("longer", "test", "long"),
        ("longer", "fresh", "long"),
    ):
        table = read(name)
        means = table[table["held_out"] == split].groupby("model")[list(ERRORS)].mean()
        own, others = means.loc["PI-NCA"], means.drop("PI-NCA")
        is_mean = others.index.str.contains("over 8 moves")
        for what, group in (("one prediction", others[~is_mean]), ("eight", others[is_mean])):
            rows.append(
                {"training": training, "cases": split, "best network, from": what}
                | {
                    ERRORS[key]: percent(1 - own[key] / group[key].min())
                    for key in list(ERRORS)[:3]
                }
            )
    return rows


def ablation() -> list[dict]:
    """What each part of the automaton brings."""
    labels = {
        "the experiment, but for the rule's own filters in place of VGG16": "the experiment, with "
        "the rule's own filters in place of VGG16",
        "the experiment, but for a pixel loss of the Init-NCA": "the experiment, with a pixel loss "
        "for the Init-NCA",
        "ours, of 96 hidden units": "ours, 96 hidden units in both rules",
        "without following the wind": "… without the wind frame",
        "without wider cells of the Init-NCA": "… without coarse cells",
        "gradient of the last step alone": "… with the gradient of the last step alone",
        "without natural units": "… without natural units",
        "without the relative loss": "… without the relative loss",
        "without bounds": "… without bounds",
        "without swaps": "… without swaps",
        "192 hidden units of the Init-NCA": "ours, 192 hidden units in the Init-NCA",
        "192 hidden units and rate 4e-3 of the Init-NCA": "… and a learning rate of 4·10⁻³ for the "
        "Init-NCA",
    }
    means = read("ablation").groupby("model")
    return [
        {"trained as": label, "seeds": len(means.get_group(model))}
        | {t: number(means.get_group(model)[key].mean()) for key, t in ERRORS.items()}
        | {"healing": number(means.get_group(model)["healing"].mean(), 3)}
        for model, label in labels.items()
    ]


def learning_rate() -> list[dict]:
    """The faster rate of the Init-NCA, on two cities that were held out."""
    labels = {"as it ships": "2·10⁻³ (shipped)", "rate 4e-3 of the Init-NCA": "4·10⁻³"}
    table = read("defaults")
    return [
        {"held out": row["held_out"].title(), "cases": row["cases"], "learning rate": labels[model]}
        | {title: number(row[key]) for key, title in ERRORS.items()}
        for city in ("florence", "munich")
        for model in labels
        for _, row in table[(table["model"] == model) & (table["held_out"] == city)].iterrows()
    ]


# --- docs/speed.md --------------------------------------------------------------------------------


def speed(name: str, what: str, column: str, of: str = "ours") -> dict[tuple, float]:
    """Return a column of one contender, by batch, size and built share."""
    table = read(name)
    rows = table[(table["what"] == what) & (table["contender"] == of)]
    return rows.set_index(["batch", "size", "built"])[column].to_dict()


def rollouts() -> list[dict]:
    """Rollouts of the experiment's rule, as ratios."""
    ours = speed("speed", "rollout", "ms_per_step")
    rivals = {
        "rule as written": "rule as written",
        "the same, buffers kept": "as written, buffers kept",
        "CAX": "CAX, tuned",
    }
    others = {title: speed("speed", "rollout", "ms_per_step", of) for title, of in rivals.items()}
    share = speed("speed", "rollout", "ceiling_share")
    rows = []
    for batch, size, _ in sorted(key for key in ours if not key[2]):
        both = (batch, size, 0.0), (batch, size, 0.3)
        rows.append(
            {"grid": f"{batch}×{size}²"}
            | {
                t: " / ".join(times(other[k] / ours[k]) for k in both)
                for t, other in others.items()
            }
            | {
                "share of a matrix product (%)": " / ".join(f"{100 * share[k]:.0f}" for k in both),
                "ns a cell": f"{1e6 * ours[both[0]] / (batch * size**2):.0f}",
            }
        )
    return rows


def shipped_rollouts() -> list[dict]:
    """Rollouts of the shipped rules."""
    return [
        {
            "grid": f"{batch}×{size}²",
            "ours": times(ratio),
            "plain PyTorch": times(
                speed("speed", "both rules", "times_as_fast", "ours, plain PyTorch")[
                    batch, size, built
                ]
            ),
        }
        for (batch, size, built), ratio in speed("speed", "both rules", "times_as_fast").items()
    ]


def gradients() -> list[dict]:
    """An iteration's rollout of 16 steps and its gradient."""
    whats = {
        "Init-NCA": "the experiment's Init-NCA, all 16 steps",
        "PI-NCA": "the experiment's PI-NCA, the last step",
        "Init-NCA as it ships": "the shipped Init-NCA, all 16 steps",
        "PI-NCA as it ships": "the shipped PI-NCA, all 16 steps",
    }
    rows = []
    for what, label in whats.items():
        ratios = speed("speed", f"gradient, {what}", "times_as_fast")
        memory = {
            of: speed("speed", f"memory, {what}", "states", of)[6, 64, 0.0]
            for of in ("ours", "rule as written")
        }
        rows.append(
            {
                "gradient of": label,
                "6×64²": times(ratios[6, 64, 0.3]),
                "6×128²": times(ratios[6, 128, 0.3]),
                "memory, ours": times(memory["ours"]),
                "memory, as written": times(memory["rule as written"]),
            }
        )
    return rows


def engine() -> list[dict]:
    """What could take the place of the loops, or of a part of them: median and quartiles."""
    contenders = {
        "work stealing": "work stealing",
        "pool of threads": "a pool of threads",
        "pool of threads, no vectors": "the same without vectors",
        "prange, workqueue": "`prange`, Numba's own threads",
        "prange, OpenMP": "`prange`, OpenMP",
        "plain PyTorch": "plain PyTorch",
        "plain PyTorch, torch.compile": "plain PyTorch, `torch.compile`",
        "plain PyTorch, halves": "plain PyTorch, halves",
    }
    cases = [("shipped", "rollout", 1, 64), ("shipped", "rollout", 6, 64),
             ("shipped", "rollout", 6, 128), ("shipped", "rollout", 1, 256),
             ("shipped", "rollout", 6, 512), ("shipped", "gradient", 6, 64),
             ("experiment", "rollout", 6, 64), ("experiment", "gradient", 6, 64)]  # fmt: skip
    found = read("engine").set_index(["contender", "rules", "what", "batch", "size"])
    keys = ["times_as_long", "lower_quartile", "upper_quartile"]
    rows = []
    for contender, label in contenders.items():
        row = {"times as long": label}
        for case in cases:
            title = "{}, {}, {}×{}²".format(*case)
            row[title] = "–"
            if (contender, *case) in found.index:
                values = map(number, found.loc[(contender, *case), keys])
                row[title] = "{} ({} to {})".format(*values)
        rows.append(row)
    return rows


def iterations() -> list[dict]:
    """Whole iterations of the experiment's trainings."""
    table = read("costs").query("contender == 'ours' and what.str.startswith('iteration')")
    ratios = table.set_index(["what", "size"])["times_as_fast"]
    return [
        {"training": rule, "6×64²": times(ratios[f"iteration, {rule}", 64])}
        | {"6×128²": times(ratios[f"iteration, {rule}", 128])}
        for rule in ("Init-NCA", "PI-NCA")
    ]


def memory() -> list[dict]:
    """Peak memory of rollouts, in sizes of the state."""
    contenders = {
        "ours": "ours",
        "plain PyTorch": "ours, plain PyTorch",
        "rule as written": "rule as written",
        "CAX": "CAX, tuned",
    }
    rows = []
    for what, label in (("rollout", "the experiment's rule"), ("both rules", "the shipped rules")):
        for key in ((6, 128, 0.0), (1, 256, 0.0)):
            found = {
                title: times(speed("speed", f"memory, {what}", "states", of).get(key, float("nan")))
                for title, of in contenders.items()
            }
            rows.append({"rollout of": label, "grid": f"{key[0]}×{key[1]}²"} | found)
    return rows


def reading() -> list[dict]:
    """How long 538 city files take to read."""
    table = read("costs").query("what == 'reading'")
    return [
        {
            "cells of a file": f"{row['size']}×{row['size']}",
            "538 cases (s)": f"{row['s_for_urbantales']:.0f}",
            "peak memory (GB)": number(row["gigabytes"], 1),
        }
        for _, row in table.iterrows()
    ]


def place() -> list[dict]:
    """How long people wait for the wind over a place of 1 km²."""
    return [
        {
            "task": row["task"],
            "cells": row["place"],
            "time (s)": f"{row['seconds']:.0f}",
            "peak memory (GB)": number(row["peak_gb"], 1),
        }
        for _, row in read("place").iterrows()
    ]


def felt() -> list[dict]:
    """The first picture, the viewer and the trainings, as people feel them."""
    compiling = {"empty": ", while the loops are compiled", "filled": ""}
    return [
        {
            "task": row["task"] + compiling[row["cache"]],
            "time or pace": f"{number(row['value'], 1)} {row['unit']}",
            "peak memory (GB)": number(row["peak_gb"], 1),
        }
        for _, row in read("felt").iterrows()
    ]


def sweep() -> list[dict]:
    """Trainings on a Dask cluster beside a plain loop."""
    table = read("sweep").set_index("what")
    plain = table.loc["plain loop"]
    return [
        {
            "tasks by": {"Dask": "a Dask cluster of two workers", "plain loop": "two processes"}[
                of
            ],
            "tasks": f"{row['tasks']:.0f}",
            "time (s)": f"{row['seconds']:.0f}",
            "beside the plain loop": f"{row['seconds'] / plain['seconds']:.2f}",
            "of it in tasks (%)": f"{100 * row['busy']:.0f}",
        }
        for of, row in table.loc[["Dask", "plain loop"]].iterrows()
    ]


def starts() -> list[dict]:
    """How long a training waits for a large data set."""
    return [
        {
            "grid": f"{row['cells']}×{row['cells']}",
            "data (GB)": number(row["data_gb"], 1),
            "start": row["start"],
            "read after (s)": f"{row['read_s']:.0f}",
            "ready after (s)": f"{row['ready_s']:.0f}",
            "memory (GB)": number(row["peak_gb"], 1),
        }
        for _, row in read("starts").iterrows()
    ]


def town() -> list[dict]:
    """A rollout in tiles beside one in memory."""
    table = read("town")
    took = 1e6 * table["seconds"] / (table["rows"] * table["columns"])
    return [
        {
            "task": row["task"],
            "cells": f"{row['rows']:,} × {row['columns']:,}",
            "time (s)": f"{row['seconds']:.0f}",
            "µs a cell": number(took[n], 1),
            "beside the first": number(took[n] / took[0], 2),
            "peak memory (GB)": number(row["peak_gb"], 1),
        }
        for n, row in table.iterrows()
    ]


def scale() -> list[dict]:
    """What large grids take: measured times of a cell, multiplied."""
    tiles = read("town").set_index("task").loc["rollout in tiles"]
    on_core = tiles["cpu_seconds"] / (tiles["rows"] * tiles["columns"])
    on_gpu = read("speed_gpu").set_index(["what", "batch", "size"]).loc["both rules", 6, 128]
    on_gpu = 64 * on_gpu["ms_per_step"] / 1000 / (6 * 128**2)
    rows = []
    for what, cells, winds in (
        ("a town of 20 km × 20 km", 1e8, 1),
        ("a town of 20 km × 20 km", 1e8, 16),
        ("a country of 40,000 km²", 1e10, 1),
        ("a country of 40,000 km²", 1e10, 16),
    ):
        hours = cells * winds * on_core / 3600
        rows.append(
            {
                "what": what,
                "cells": f"{cells:,.0f}",
                "winds": winds,
                "core hours": f"{hours:,.1f}" if hours < 10 else f"{hours:,.0f}",
                "64 cores": duration(hours / 64),
                "one H200": duration(cells * winds * on_gpu / 3600),
                "results (GB)": f"{24e-9 * cells * winds:,.0f}",
            }
        )
    return rows


def duration(hours: float) -> str:
    """Return a time in a unit that makes it readable."""
    for unit, length in (("days", 24), ("h", 1), ("min", 1 / 60)):
        if hours >= 2 * length:
            return f"{hours / length:.0f} {unit}"
    return f"{3600 * hours:.0f} s"


def gpu() -> list[dict]:
    """An H200 beside the rule as written on it."""
    names = {
        "rollout": "rollout, the experiment's rule",
        "both rules": "rollout, the shipped rules",
    }
    rows = []
    for _, row in read("speed_gpu").iterrows():
        least, most = row["times_as_fast_least"], row["times_as_fast_most"]
        ratio = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        rows.append(
            {
                "what": names.get(row["what"], row["what"]),
                "grid": f"{row['batch']}×{row['size']}²",
                "times as fast": ratio,
                "ms a step": "–" if pd.isna(row["ms_per_step"]) else f"{row['ms_per_step']:g}",
            }
        )
    return rows


# --- docs/simulation.md ---------------------------------------------------------------------------


def measured() -> list[dict]:
    """The shipped weights, their baselines and the simulation beside a wind tunnel."""
    table = read("measured").query("within_m == 0").set_index(["case", "model"])
    tunnel = read("data/make/validation.csv").query("layer == 'mean'")
    simulated = {
        "AIJ A" if row.variant == "A" else f"AIJ C, {row.variant}, {row.angle:g}°": row
        for row in tunnel.query("setting == 'data' or variant == 'A'").itertuples()
    }
    columns = {"PI-NCA": "PI-NCA", "mean of three": "mean of three",
               "Init-NCA alone": "Init-NCA", "openness": "openness"}  # fmt: skip
    rows = []
    for case in table.index.unique("case"):
        own = {name: table.loc[case, model] for model, name in columns.items()}
        own["simulation"] = simulated.get(case)
        rows.append({"r / hit rate / slope": case} | {
            name: "–" if row is None else " / ".join(map(number, (row.r, row.hit_rate, row.slope)))
            for name, row in own.items()
        })  # fmt: skip
    return rows


def wind_tunnel() -> list[dict]:
    """The solver beside wind-tunnel measurements, 2 m above the ground and at the probes."""
    table = read("data/make/validation.csv").query("layer in ('mean', 'probes')")
    rows = []
    for is_variant in (False, True):
        for _, row in table[table["setting"].isin(("data", "lid_80")) != is_variant].iterrows():
            halves = (row["r_first"], row["r_second"])
            is_known = row["layer"] == "mean" and pd.notna(halves[0])
            rows.append(
                tunnel_row(row)
                | {
                    "r of the halves": " / ".join(map(number, halves)) if is_known else "–",
                    "stress": number(row["stress_balance"]),
                }
            )
    return rows


def tunnel_row(row: pd.Series) -> dict:
    """Return a row of ``validation.csv`` in words."""
    settings = {
        "data": "as the data",
        "reynolds_2000": "four times the Reynolds number",
        "lid_80": "as the data (lid at 80 m)",
        "smagorinsky": "Smagorinsky model, constant 0.1",
        "long": "averaged for 100 T in place of 25 T",
        "rough_ground": "ground of roughness 0.03 m, by a wall function",
        "domain_512": "domain of 512 m along the wind",
        "domain_160": "domain of 160 m in place of 256 m",
        "cell_1": "domain of 160 m, cells of 1 m",
    }
    heights = {"mean": "2 m", "probes": "2.5 m"}
    setting = settings[row["setting"]]
    if row["setting"] == "data" and row["variant"] == "2H":
        setting = "lid at 64 m; the data's would be at 80 m"
    return {
        "setting": setting,
        "case": "A" if row["variant"] == "A" else f"{row['variant']}, {row['angle']:g}°",
        "height": heights[row["layer"]],
        "r": number(row["r"]),
        "hit rate": number(row["hit_rate"]),
        "FAC2": number(row["fac2"]),
        "slope": number(row["slope"]),
        "level": number(row["level"]),
    }


def approach() -> list[dict]:
    """The wind over the ground of case A beside the tunnel's inflow."""
    table = read("data/make/approach.csv")
    chosen = table[table["height"].isin((1, 3, 5, 11, 21, 31, 41, 59))].set_index("height")
    return [
        {"wind relative to that at 40 m": name}
        | {f"{height:g} m": number(value) for height, value in chosen[name].items()}
        for name in ("tunnel", "simulation")
    ]


def above_roofs() -> list[dict]:
    """The wind above the simulated cities over that of formulas, kind by kind."""
    table = read("above_roofs")
    names = {"kanda": "Kanda et al. (2013)", "macdonald": "Macdonald et al. (1998)"}
    order = table["kind"].map(list(LAYOUTS).index)
    kinds = [(LAYOUTS[group["kind"].iloc[0]], group) for _, group in table.groupby(order)]
    return [
        {"kind": name, "cases": len(group)}
        | {title: number(group[key].mean()) for key, title in names.items()}
        for name, group in [*kinds, ("all", table)]
    ]


def cubes() -> list[dict]:
    """The wind above arrays of cubes beside published formulas."""
    table = read("data/make/cubes.csv").set_index(["array", "height"])
    return [
        {"height, in cubes": number(height)}
        | {
            f"{array}: {what}": number(table.loc[(array, height), what], 1)
            for array in ("staggered", "square")
            for what in ("simulation", "formula")
        }
        for height in table.index.unique("height")
    ]


# --- data/README.md, data/pretrained/README.md ----------------------------------------------------


def cells() -> list[dict]:
    """A dense crop on finer cells."""
    labels = {
        "cell_1": "cells of 1 m",
        "data": "cells of 2 m, as the data",
        "reynolds_2000": "cells of 2 m, four times the Reynolds number",
    }
    return [
        {
            "setting": labels[row["setting"]],
            "mean speed / u_τ": number(row["speed"]),
            "in cells at walls": number(row["speed_at_walls"]),
            "TKE / u_τ²": number(row["tke"]),
            "pressure's share of the drag": percent(row["form_drag_share"]),
            "r of speed": number(row["r_speed"]),
            "difference in (u, v)": number(row["relative_l2_wind"]),
        }
        for _, row in read("data/make/cells.csv").iterrows()
    ]


@cache
def city_files() -> list[dict]:
    """Return the ``meta`` of every embedded case."""
    return runpy.run_path(str(ROOT / "data" / "make" / "describe.py"))["read_cases"](ROOT / "data")


LAYOUTS = {  # by the kinds of ``data/make``
    "real": "crops of cities",
    "regular": "equal blocks",
    "irregular": "random rectangles",
    "dense": "dense crops of cities",
    "suburb": "low houses",
    "towers": "towers on open ground",
    "mixed": "towers among low houses",
    "uptown": "towers among blocks",
    "courtyards": "courtyards",
    "lanes": "narrow lanes",
    "edge": "quarters with an edge",
    "ward": "quarters with towers and an edge",
    "isolated": "isolated buildings",
}


def cases() -> list[dict]:
    """How many cases there are of each kind in each split, and the time that they took."""
    table = pd.DataFrame(city_files())
    splits = table["split"].unique()
    kinds = [(name, table[table["kind"] == kind]) for kind, name in LAYOUTS.items()]
    return [
        {"kind": name}
        | {split: (of_kind["split"] == split).sum() or "" for split in splits}
        | {
            "geometries": of_kind["city"].nunique(),
            "core hours": number(of_kind["wall_seconds"].sum() / 3600, 1),
        }
        for name, of_kind in [*kinds, ("all", table)]
    ]


def scores() -> list[dict]:
    """Medians of the shipped weights over each group of cases."""
    return [
        {"median over": f"{len(pi_nca_cases(group))} {name} cases"}
        | {title: number(pi_nca_cases(group)[key].median()) for key, title in MEDIANS.items()}
        for group, name in GROUPS.items()
    ]


# --- docs/reliability.md --------------------------------------------------------------------------


def reliability() -> list[dict]:
    """How the trials of each kind ended."""
    return read("reliability").to_dict("records")


TABLES = {
    table.__name__.replace("_", "-"): table
    for table in (
        medians, kinds, coverage, sizes, healing, rivals_short, rivals_long, rivals_fresh,
        rivals_families, rivals_apart, lead, ablation, learning_rate, rollouts,
        shipped_rollouts, gradients, engine, iterations, memory,
        reading, place, felt, town, scale, sweep, starts, gpu, measured, wind_tunnel,
        approach, above_roofs, cells, cubes, cases, scores, reliability,
    )
}  # fmt: skip


def filled(text: str) -> str:
    """Return a page with its tables made anew."""
    return MARKED.sub(lambda m: m[1] + "\n" + markdown(TABLES[m[2]]()) + "\n" + m[3], text)


def main() -> int:
    """Rewrite or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if a page is out of date")
    parser.add_argument("pages", nargs="*", type=Path, help="all of the project by default")
    given = parser.parse_args()
    pages = given.pages or [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    stale = []
    for path in pages:
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            stale.append(path)
            if not given.check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        print("out of date:" if given.check else "written:", path.resolve().relative_to(ROOT)
              if path.resolve().is_relative_to(ROOT) else path)  # fmt: skip
    if given.check and stale:
        print("run: python docs/tables.py")
    return int(given.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
