"""Scores equal their definitions, are 1 for the target itself and 0 for the worst cases."""

import numpy as np
import pytest
import torch
from reference import continuity
from small_cities import make_base, make_wind

from pinca_lib.evaluation.scaled_metrics import ScaledPhysicsMetrics, piq, structural_similarity

EXTENTS = torch.tensor([[48.0, 40.0], [60.0, 64.0]])


@pytest.fixture
def target() -> torch.Tensor:
    cases = []
    for seed in range(2):
        base = make_base(24, 20, seed)
        cases.append(np.concatenate([base, make_wind(base, 30.0, seed, dwdz=True)]))
    return torch.from_numpy(np.stack(cases).astype(np.float32))


@pytest.fixture
def prediction(target) -> torch.Tensor:
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return target + 0.01 * noise


def test_the_target_scores_one_everywhere(target):
    scores = ScaledPhysicsMetrics(target, EXTENTS)(target, target, EXTENTS)
    assert set(scores) == {*ScaledPhysicsMetrics.SCORES, "mean"}
    for name, value in scores.items():
        assert value.item() == pytest.approx(1.0, abs=1e-5), name


def test_scores_equal_their_definitions(target, prediction):
    scores = ScaledPhysicsMetrics(target, EXTENTS)(prediction, target, EXTENTS)
    x, y = prediction.double().numpy(), target.double().numpy()

    def outside(state):
        return (np.abs(state[:, 10]) > 2.25 * np.maximum(state[:, 9], 0)).mean()

    def missing(state, speed):
        return np.maximum(np.sqrt(state[:, 6] ** 2 + state[:, 7] ** 2 + 1e-8) - speed, 0).mean()

    def scaled(value, best, worst):
        return np.clip((worst - value) / (worst - best), 0, 1)

    own, ours = (np.abs(continuity(s, EXTENTS.tolist())).mean() for s in (y, x))
    no_dwdz, no_v = y.copy(), y.copy()
    no_dwdz[:, [7, 11]], no_v[:, [6, 11]] = 0, 0
    parts = [np.abs(continuity(s, EXTENTS.tolist())) for s in (no_dwdz, no_v)]
    worst = (parts[0] + parts[1] + np.abs(y[:, 11])).mean()
    expected = {
        "mae": scaled(np.abs(x - y)[:, 6:11].mean(), 0, np.abs(y[:, 6:11]).mean()),
        "tke": (x[:, 9] >= 0).mean(),
        "flux": scaled(outside(x), outside(y), 1),
        "speed": scaled(missing(x, x[:, 8]), missing(y, y[:, 8]), missing(y, 0)),
        "continuity": scaled(ours, own, worst),
    }
    for name, value in expected.items():
        assert scores[name].item() == pytest.approx(value, abs=1e-5), name
    six = [scores[name].item() for name in ScaledPhysicsMetrics.SCORES]
    assert scores["mean"].item() == pytest.approx(np.mean(six), abs=1e-6)
    assert all(0 < value < 1 for value in six)


def test_ssim_equals_that_of_piq_for_fields_scaled_by_their_target(target, prediction):
    expected = []
    for x, y in zip(prediction[:, 6:11].flatten(0, 1), target[:, 6:11].flatten(0, 1), strict=True):
        low, high = y.min(), y.max()
        x, y = (((p - low) / (high - low)).clamp(0, 1)[None, None] for p in (x, y))
        expected.append(piq.ssim(x, y, data_range=1.0).item())
    ours = structural_similarity(prediction[:, 6:11], target[:, 6:11]).item()
    assert ours == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_zero_field_scores_low_on_errors_but_breaks_no_law(target):
    state = target.clone()
    state[:, 6:] = 0
    scores = ScaledPhysicsMetrics(target, EXTENTS)(state, target, EXTENTS)
    assert scores["mae"] == 0
    assert scores["ssim"] < 0.8
    assert scores["tke"] == scores["continuity"] == 1


def test_a_field_that_breaks_every_law_scores_zero(target):
    state = target.clone()
    state[:, 9], state[:, 10], state[:, 8] = -1.0, 1.0, -9.0
    state[:, 11] = 1e3
    scores = ScaledPhysicsMetrics(target, EXTENTS)(state, target, EXTENTS)
    assert scores["tke"] == scores["flux"] == scores["speed"] == scores["continuity"] == 0


def test_a_diverged_field_scores_nan(target):
    state = target.clone()
    state[0, 6, 3, 3] = torch.nan
    scores = ScaledPhysicsMetrics(target, EXTENTS)(state, target, EXTENTS)
    assert all(score.isnan() for score in scores.values())


def test_grids_smaller_than_the_window_of_ssim_are_scored(target):
    small = target[..., :5, :8]
    scores = ScaledPhysicsMetrics(small, EXTENTS)(small, small, EXTENTS)
    assert scores["ssim"].item() == pytest.approx(1.0, abs=1e-5)
