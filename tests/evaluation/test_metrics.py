"""Metrics equal their definitions, and known values in simple cases."""

import numpy as np
import pytest
import torch
from small_cities import make_base, make_wind

from pinca_lib import evaluation
from pinca_lib.channels import (
    DWDZ,
    FLUX,
    GEO_MASK,
    NAMES,
    PREDICTED,
    SPEED,
    TKE,
    WIND_X,
    WIND_Y,
    U,
    V,
)
from pinca_lib.evaluation.scaled_metrics import ScaledPhysicsMetrics

EXTENT = (48.0, 40.0)


@pytest.fixture
def target() -> torch.Tensor:
    base = make_base(24, 20)
    return torch.from_numpy(np.concatenate([base, make_wind(base, 30, dwdz=True)])).float()


def test_the_target_itself_has_perfect_metrics(target):
    found = evaluation.evaluate(target, target, EXTENT, has_dwdz=True)
    for name, value in found.items():
        if name.startswith(("relative_l2", "mae", "nmae", "direction")):
            assert value == pytest.approx(0, abs=1e-5), name
        if name.startswith(("r2", "hit_rate", "fac2", "ssim", "score", "correlation")):
            assert value == pytest.approx(1), name
        if name.startswith("broken"):
            assert value < 0.01, name


def test_errors_count_cells_in_air_only(target):
    spoiled = target.clone()
    spoiled[6:, target[GEO_MASK] == 0] = 1e6
    found = evaluation.evaluate(spoiled, target, EXTENT, has_dwdz=True)
    assert found["relative_l2_wind"] == 0
    assert found["score_ssim"] == pytest.approx(1)


def test_metrics_equal_their_definitions(target):
    prediction = target.clone()
    prediction[6:] += 0.1 * torch.randn(
        target[6:].shape, generator=torch.Generator().manual_seed(0)
    )
    found = evaluation.evaluate(prediction, target, EXTENT, has_dwdz=True)
    air = target[GEO_MASK] > 0
    p, y = (x[SPEED][air].double().numpy() for x in (prediction, target))
    assert found["r2_Uped"] == pytest.approx(1 - np.mean((p - y) ** 2) / np.var(y))
    assert found["mae_Uped"] == pytest.approx(np.mean(np.abs(p - y)))
    assert found["nmae_Uped"] == pytest.approx(np.mean(np.abs(p - y)) / np.mean(np.abs(y)))
    hits = [abs(a - b) <= 0.25 * abs(b) or abs(a - b) <= 0.05 for a, b in zip(p, y, strict=True)]
    assert found["hit_rate_Uped_w0.05"] == pytest.approx(np.mean(hits))
    wind = [x[[U, V]][:, air].double().numpy() for x in (prediction, target)]
    expected = np.sqrt(((wind[0] - wind[1]) ** 2).sum() / (wind[1] ** 2).sum())
    assert found["relative_l2_wind"] == pytest.approx(expected)
    own = [found[f"nmae_{name}"] for name in NAMES[PREDICTED]]
    assert found["nmae_all"] == pytest.approx(np.mean(own))
    assert found["broken_TKEped"] == pytest.approx(
        float((prediction[TKE][air] < -1e-6).float().mean())
    )


def test_a_case_without_dwdz_has_no_metrics_of_it(target):
    found = evaluation.evaluate(target, target, EXTENT, has_dwdz=False)
    assert not [
        name for name in found if "dwdz" in name or "continuity" in name and "score" in name
    ]


def test_factor_of_two_and_hit_rate_at_their_limits():
    y = np.array([1.0, 1.0, 1.0, 1.0, 0.01])
    p = np.array([0.5, 2.0, 2.01, -1.0, -0.01])
    assert evaluation.fac2(p, y, w=0.0) == pytest.approx(2 / 5)
    assert evaluation.fac2(p, y, w=0.02) == pytest.approx(3 / 5)
    assert evaluation.hit_rate(np.array([1.25, 0.74]), np.ones(2), w=0.0) == pytest.approx(1 / 2)


def test_a_wind_rotated_by_ninety_degrees_has_a_direction_error_of_ninety():
    y = np.array([[1.0, 0.0, 0.01], [0.0, -1.0, 0.0]])
    p = np.array([[0.0, 3.0, -1.0], [1.0, 0.0, 0.0]])  # the last cell is calm and does not count
    assert evaluation.direction_error(p, y) == pytest.approx(90)
    assert np.isnan(evaluation.direction_error(p, 0 * y))


def test_distances_to_buildings_cross_the_periodic_edges():
    air = np.ones((6, 10), bool)
    air[0, 0] = False
    distance = evaluation.distance_to_buildings(air, (12.0, 10.0))  # cells of 2 m × 1 m
    assert distance[0, 9] == 1
    assert distance[5, 0] == 2
    assert distance[3, 0] == 6
    assert np.isinf(evaluation.distance_to_buildings(np.ones((4, 4), bool), (4.0, 4.0))).all()


def test_a_shifted_rotated_or_repeated_layout_has_distance_zero():
    random = np.random.default_rng(0)
    layout = random.random((16, 16)) > 0.4
    other = random.random((16, 16)) > 0.4
    assert evaluation.layout_distance(layout, [other, np.roll(layout, (3, 5), (0, 1))]) < 1e-6
    assert evaluation.layout_distance(np.tile(layout, (2, 3)), [layout]) < 1e-6
    assert evaluation.layout_distance(layout, [other, layout[::-1].T]) < 1e-6  # training rotates it
    assert evaluation.layout_distance(layout, [other]) > 0.5
    alike = evaluation.layout_distance(np.block([layout, other]), [layout])
    assert alike == pytest.approx(evaluation.layout_distance(other, [layout]) / 2)


def test_the_mean_flow_is_along_the_wind_and_zero_in_buildings(target):
    seen = torch.zeros(12, 8, 8)
    seen[GEO_MASK] = 1
    seen[WIND_X], seen[U], seen[FLUX] = 1, 0.4, -0.02  # wind from the west
    guess = evaluation.MeanFlow([seen])(target)
    air = target[GEO_MASK] > 0
    for channel, wind, size in ((U, WIND_X, 0.4), (V, WIND_Y, 0.4), (FLUX, WIND_X, -0.02)):
        torch.testing.assert_close(guess[channel][air], size * target[wind][air])
    assert guess[6:, ~air].abs().max() == 0
    assert guess[DWDZ].abs().max() == 0


def test_the_mean_flow_has_no_flux_if_training_had_no_wind_along_x(target):
    seen = torch.zeros(12, 8, 8)
    seen[[GEO_MASK, WIND_Y, V, FLUX]] = 1
    guess = evaluation.MeanFlow([seen])(target)
    assert guess.isfinite().all()
    assert guess[FLUX].abs().max() == 0


def test_near_metrics_count_only_the_cells_near_buildings(target):
    far = evaluation.distance_to_buildings(target[GEO_MASK].numpy() > 0, EXTENT) > evaluation.NEAR
    spoiled = target.clone()
    spoiled[6:, torch.from_numpy(far)] += 1
    found = evaluation.evaluate(spoiled, target, EXTENT, has_dwdz=True)
    assert far.any()
    assert found["relative_l2_wind"] > 0
    assert found["relative_l2_wind_near"] == found["relative_l2_Uped_near"] == 0
    assert found["relative_l2_dwdz_near"] == 0 < found["relative_l2_dwdz"]


def test_the_metrics_of_a_diverged_prediction_are_nan(target):
    diverged = target.clone()
    diverged[TKE, 3, 4:] = torch.nan
    found = evaluation.evaluate(diverged, target, EXTENT, has_dwdz=True)
    assert np.isnan(list(found.values())).all()


def test_still_air_breaks_no_bound(target):
    still = target.clone()
    still[6:] = 0
    found = evaluation.evaluate(still, target, EXTENT, has_dwdz=True)
    broken = [found[f"broken_{name}"] for name in ("TKEped", "Tuwped", "Uped", "energy")]
    assert broken == [0, 0, 0, 0]
    assert found["direction_error"] == 90


def test_a_speed_above_what_the_energy_allows_is_counted(target):
    prediction = target.clone()
    u, v, _, tke, _ = prediction[U : FLUX + 1]
    prediction[SPEED] = 1.01 * torch.sqrt(u**2 + v**2 + 2 * tke)
    prediction[SPEED, :12] *= 0.98
    found = evaluation.evaluate(prediction, target, EXTENT, has_dwdz=True)
    air = target[GEO_MASK] > 0
    assert found["broken_energy"] == pytest.approx(float(air[12:].sum() / air.sum()))


def test_the_mean_of_the_similarities_of_all_fields_is_the_score(target):
    prediction = target.clone()
    prediction[TKE, :, :10] = 0
    found = evaluation.evaluate(prediction, target, EXTENT, has_dwdz=True)
    similar = {name: found[f"ssim_{name}"] for name in ("uped", "vped", "Uped", "TKEped", "Tuwped")}
    assert similar.pop("TKEped") < 0.95
    assert list(similar.values()) == pytest.approx([1] * 4)
    assert found["score_ssim"] == pytest.approx((4 + found["ssim_TKEped"]) / 5, abs=1e-5)
    assert found["score_mae"] < 1
    six = [found[f"score_{name}"] for name in ScaledPhysicsMetrics.SCORES]
    assert found["score_mean"] == pytest.approx(np.mean(six))


def test_the_last_row_of_a_table_holds_medians():
    rows = [{"case": "a", "x": 1.0}, {"case": "b", "x": 5.0, "y": 2.0}, {"case": "c", "x": 3.0}]
    table = evaluation.with_median(rows)
    assert [row["case"] for row in table] == ["a", "b", "c", "median"]
    assert table[-1] == {"case": "median", "x": 3.0, "y": 2.0}


def test_correlation_is_that_of_pearson_and_nan_for_a_constant():
    random = np.random.default_rng(0)
    p, y = random.random(50), random.random(50)
    assert evaluation.correlation(p, y) == pytest.approx(np.corrcoef(p, y)[0, 1])
    constant = np.full(50, 0.1)  # its mean is not exactly 0.1 in floating point
    assert np.isnan(evaluation.correlation(constant, y))
    assert np.isnan(evaluation.r2(y, constant))
    assert np.isnan(evaluation.median([{"x": np.nan}], "x"))
