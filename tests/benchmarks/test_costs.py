"""The measurement of trainings: both loops train alike, made-up cities can be read. No times."""

import math
import warnings

import numpy as np
import pytest

from benchmarks import costs
from benchmarks.contenders import OURS, REFERENCE


@pytest.mark.parametrize("what", ["Init-NCA", "PI-NCA"])
def test_the_loop_as_written_and_ours_take_the_same_way(what, monkeypatch):
    monkeypatch.setattr(costs, "STEPS", 8)
    monkeypatch.setattr(costs, "POOL", 8)
    monkeypatch.setattr(costs, "RATE", 1e-3)  # large enough that steps matter
    losses = {name: [] for name in (REFERENCE, OURS)}
    for name, found in losses.items():
        iterate = costs.loop(name, what, 16)
        found += [iterate() for _ in range(6)]
    assert np.ptp(losses[OURS]) > 1e-2 * losses[OURS][0]
    np.testing.assert_allclose(losses[OURS], losses[REFERENCE], rtol=1e-4)


def test_a_made_up_city_is_sound(tmp_path):
    costs.make_city(tmp_path / "city.h5", 48, np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seconds, gigabytes = costs.read(str(tmp_path))
    assert seconds > 0
    assert gigabytes > 0 or math.isnan(gigabytes)
