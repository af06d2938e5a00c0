"""A short campaign: kills, power cuts, damage and misuse, and nothing is lost or silently wrong."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from pinca_lib import PROJECT_ROOT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_short_campaign_ends_well(tmp_path):
    out = tmp_path / "table.csv"
    command = [sys.executable, "-m", "benchmarks.reliability", "--scale", "0.01", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    table = pd.read_csv(out).set_index("kind")
    bad = table[["silently wrong", "traceback", "hang", "dead"]]
    assert bad[bad.any(axis=1)].to_dict("index") == {}
    assert table["trials"].sum() >= 20
