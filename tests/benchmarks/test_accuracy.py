"""The table of accuracy: what it says of a case today is what is committed."""

import csv

import pytest

from benchmarks import TABLES
from benchmarks.accuracy import FIGURES, score_cases, score_measured


def test_the_first_case_of_each_split_scores_as_the_table_says():
    with (TABLES / "accuracy_cases.csv").open(newline="", encoding="utf-8") as file:
        committed = {(row["case"], row["model"]): row for row in csv.DictReader(file)}
    rows = [row for row in score_cases(limit=1) if row["model"] != "mean flow"]
    assert [row["split"] for row in rows] == [
        *("train", "train_256m"),
        *(split for split in ("validation", "test", "fresh") for _ in range(4)),
    ]
    for row in rows:
        expected = committed[row["case"], row["model"]]
        for key in FIGURES:
            assert row[key] == pytest.approx(float(expected[key]), abs=1e-3)


def test_the_first_measured_case_scores_as_the_table_says():
    with (TABLES / "measured.csv").open(newline="", encoding="utf-8") as file:
        committed = {(r["case"], r["model"], r["within_m"]): r for r in csv.DictReader(file)}
    for row in score_measured(limit=1):
        expected = committed[row["case"], row["model"], str(row["within_m"])]
        for key in ("r", "hit_rate", "fac2", "slope", "factor", "level"):
            assert row[key] == pytest.approx(float(expected[key]), abs=1e-2)
