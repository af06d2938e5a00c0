"""The wind above the simulated cities is that of the formulas which the product scales winds by."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import TABLES
from benchmarks.above_roofs import compared, ratios


def test_a_logarithmic_wind_over_cubes_is_that_of_the_formula():
    # a quarter of the ground, 10 m high: z0 = 0.87276 m, d = 7.8316 m (tests of reference_wind)
    heights = np.zeros((20, 20))
    for row in (0, 10):
        for column in (0, 10):
            heights[row : row + 5, column : column + 5] = 10
    z = np.arange(1, 64, 2.0)
    profile = 0.21 / 0.4 * np.log(np.maximum(z - 7.8316, 1) / 0.87276)
    assert compared(profile, heights, (1.0, 0.0), 64.0)["kanda"] == pytest.approx(1, abs=1e-3)


def test_the_wind_above_the_simulated_cities_is_that_of_the_formulas():
    table = pd.DataFrame(ratios())
    pd.testing.assert_frame_equal(table, pd.read_csv(TABLES / "above_roofs.csv"))
    assert table["kanda"].mean() == pytest.approx(1, abs=0.03)
    assert np.sqrt(((table["kanda"] - 1) ** 2).mean()) < 0.15
    assert table.groupby("kind")["kanda"].mean().between(0.85, 1.2).all()
