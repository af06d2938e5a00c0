"""The numbers that people feel: the viewer plays without a browser, trainings run. No times."""

import pytest

from benchmarks import felt


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(felt, "FRAMES", 2)
    monkeypatch.setattr(felt, "ITERATIONS", 1)
    monkeypatch.setattr(felt, "WARM_UP", 0)


def test_the_viewer_plays_without_a_browser():
    assert felt.frames(16, steps=1) > 0


@pytest.mark.parametrize("trains_pi_nca", [False, True])
def test_trainings_run(trains_pi_nca):
    assert felt.iterations(trains_pi_nca) > 0
