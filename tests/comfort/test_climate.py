"""Exceedance follows its closed form, and counting hours is counting hours."""

import math

import numpy as np
import pytest

from pinca_lib.comfort.climate import Climate, Weibull, count_hours
from pinca_lib.errors import InputError

SECTORS = np.arange(8) * 45.0


def weibull_climate(generator: np.random.Generator, calm: float = 0.1) -> Climate:
    frequency = generator.dirichlet(np.ones(8)) * (1 - calm)
    weibull = Weibull(generator.uniform(2, 8, 8), generator.uniform(1.5, 3, 8))
    return Climate("made up", SECTORS, frequency, calm, weibull=weibull)


def hourly_climate(directions, speeds, sectors=8) -> Climate:
    centres, frequency, calm, hours = count_hours(np.array(directions), np.array(speeds), sectors)
    return Climate("made up", centres, frequency, calm, hours=hours)


def some_hours(generator, count=4000):
    directions = generator.uniform(0, 360, count)
    return directions, generator.weibull(2, count) * (4 + np.cos(np.radians(directions)))


def test_exceedance_is_the_sum_that_is_worked_out_by_hand():
    # two of eight sectors have wind: 0.6 exp(-(5 / (0.5 x 5))^2) + 0.4 exp(-(5 / (1.0 x 5))^2)
    # = 0.6 exp(-4) + 0.4 exp(-1) = 0.010989 + 0.147152 = 0.158141
    frequency = np.array([0.6, 0, 0, 0, 0.4, 0, 0, 0])
    climate = Climate("two winds", SECTORS, frequency, 0.0,
                      weibull=Weibull(np.full(8, 5.0), np.full(8, 2.0)))  # fmt: skip
    ratios = np.ones((8, 1, 1))
    ratios[0] = 0.5
    assert climate.exceedance(ratios, [5])[0, 0, 0] == pytest.approx(0.158141, abs=1e-6)


def test_exceedance_is_its_closed_form_everywhere(generator):
    climate = weibull_climate(generator)
    ratios, limits = generator.uniform(0, 1.5, (8, 5, 7)), [1.0, 5.0, 15.0]
    A, k = (p[:, None, None] for p in climate.weibull)
    share = climate.frequency[:, None, None]
    right = [(share * np.exp(-((limit / (ratios * A)) ** k))).sum(0) for limit in limits]
    np.testing.assert_allclose(climate.exceedance(ratios, limits), right, rtol=1e-5)


def test_hours_are_counted(generator):
    directions, speeds = some_hours(generator)
    climate = hourly_climate(directions, speeds)
    ratios = generator.uniform(0.2, 1.5, (8, 2, 3))
    sector = np.round(directions / 45).astype(int) % 8
    for limit in (2.0, 5.0):
        local = ratios[sector] * speeds[:, None, None]
        right = (local > limit).mean(0)
        np.testing.assert_allclose(climate.exceedance(ratios, [limit])[0], right, atol=1e-6)


def test_a_speed_on_the_threshold_does_not_exceed_it():
    climate = hourly_climate([3.0] * 4, [4.0, 5.0, 5.0, 6.0])
    assert climate.exceedance(np.ones((8, 1, 1)), [5])[0, 0, 0] == 0.25


def test_calm_hours_exceed_nothing():
    climate = hourly_climate([0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 9.0, 9.0])
    assert climate.calm == 0.5
    assert climate.exceedance(np.ones((8, 1, 1)), [0.001])[0, 0, 0] == 0.5


@pytest.mark.parametrize("kind", ["weibull", "hours"])
def test_the_order_of_the_sectors_does_not_matter(generator, kind):
    climate = (weibull_climate(generator) if kind == "weibull"
               else hourly_climate(*some_hours(generator)))  # fmt: skip
    ratios, order = generator.uniform(0, 1.5, (8, 4, 4)), generator.permutation(8)
    turned = Climate(
        "turned", climate.sectors[order], climate.frequency[order], climate.calm,
        weibull=climate.weibull and Weibull(*(p[order] for p in climate.weibull)),
        hours=climate.hours and tuple(climate.hours[k] for k in order),
    )  # fmt: skip
    np.testing.assert_allclose(
        turned.exceedance(ratios[order], [3, 6]), climate.exceedance(ratios, [3, 6]), rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["weibull", "hours"])
def test_twice_the_ratio_is_half_the_threshold(generator, kind):
    climate = (weibull_climate(generator) if kind == "weibull"
               else hourly_climate(*some_hours(generator)))  # fmt: skip
    ratios = generator.uniform(0, 1.5, (8, 4, 4))
    np.testing.assert_allclose(
        climate.exceedance(2 * ratios, [6]), climate.exceedance(ratios, [3]), rtol=1e-5
    )


def test_exceedance_falls_with_the_threshold_and_stays_below_the_share_of_wind(generator):
    climate = weibull_climate(generator, calm=0.25)
    found = climate.exceedance(generator.uniform(0, 3, (8, 6, 6)), [0.01, 1, 2, 4, 8, 16])
    assert (np.diff(found, axis=0) <= 0).all()
    assert found.max() <= 0.75 + 1e-6


def test_buildings_stay_out_and_still_air_exceeds_nothing(generator):
    ratios = generator.uniform(0.5, 1, (8, 2, 2))
    ratios[3, 0, 0], ratios[:, 1, 1] = np.nan, 0
    for climate in (weibull_climate(generator), hourly_climate(*some_hours(generator))):
        found = climate.exceedance(ratios, [1, 2])
        assert np.isnan(found[:, 0, 0]).all()
        assert (found[:, 1, 1] == 0).all()
        assert np.isfinite(found).sum() == 6


def test_many_cells_are_the_same_as_a_few(generator, monkeypatch):
    climate, ratios = weibull_climate(generator), generator.uniform(0, 1.5, (8, 9, 11))
    whole = climate.exceedance(ratios, [3, 6])
    monkeypatch.setattr("pinca_lib.comfort.climate.CELLS_AT_ONCE", 7)
    np.testing.assert_array_equal(climate.exceedance(ratios, [3, 6]), whole)


def test_tens_of_degrees_are_spread_so_that_a_round_wind_has_a_round_rose():
    directions = np.repeat(np.arange(10, 361, 10.0), 10)
    climate = hourly_climate(directions, np.full(360, 4.0), sectors=16)
    np.testing.assert_allclose(climate.frequency, 1 / 16)
    assert climate.frequency.sum() + climate.calm == pytest.approx(1)


def test_a_fitted_climate_gives_back_the_parameters_that_the_hours_came_from(generator):
    directions = generator.uniform(0, 360, 200_000)
    climate = hourly_climate(directions, 5 * generator.weibull(1.8, len(directions)))
    fitted = climate.fitted()
    np.testing.assert_allclose(fitted.weibull.scale, 5, rtol=0.02)
    np.testing.assert_allclose(fitted.weibull.shape, 1.8, rtol=0.03)
    assert fitted.mean_speed == pytest.approx(climate.mean_speed, rel=0.01)


@pytest.mark.parametrize("speeds", [[5.0] * 4, [5.0], [1.0, 9.0], [0.0, 0.0, 3.0]])
def test_a_few_hours_can_be_fitted(speeds):
    fitted = hourly_climate([1.0] * len(speeds), speeds).fitted()
    assert np.isfinite(fitted.weibull.scale).all()
    assert (fitted.weibull.shape >= 0.5).all()
    assert fitted.frequency[1:].sum() == 0


def test_the_mean_speed_of_a_weibull_climate_is_known():
    # k = 2: mean = A sqrt(pi) / 2
    climate = Climate("even", SECTORS, np.full(8, 0.1), 0.2,
                      weibull=Weibull(np.full(8, 6.0), np.full(8, 2.0)))  # fmt: skip
    assert climate.mean_speed == pytest.approx(0.8 * 6 * math.sqrt(math.pi) / 2)


@pytest.mark.parametrize("ratios", [np.ones((7, 2, 2)), np.ones((8, 2)), np.ones(8)])
def test_ratios_that_do_not_fit_the_sectors_are_refused(generator, ratios):
    with pytest.raises(InputError, match="8 sectors"):
        weibull_climate(generator).exceedance(ratios, [5])


@pytest.mark.parametrize("thresholds", [[0], [-1, 5], [math.nan], 5])
def test_a_threshold_is_above_zero(generator, thresholds):
    with pytest.raises(InputError, match="thresholds"):
        weibull_climate(generator).exceedance(np.ones((8, 1, 1)), thresholds)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(5)
