"""Error bars: calibrated widths, the mean of several models, and their files."""

import json

import numpy as np
import pytest
from small_rules import trained, windward_rule

from benchmarks.calibrate import covered, fitted, one_width
from pinca_lib import load_ensemble, predict_wind
from pinca_lib.automaton import CA
from pinca_lib.channels import FLUX, PREDICTED, SPEED, TKE, U, V
from pinca_lib.cities.place import Grid, Place
from pinca_lib.errors import InputError, InputWarning
from pinca_lib.evaluation import ErrorBars, MeasuredCase, coverage, errors_at_probes, mean_of
from pinca_lib.physics import ALPHA
from pinca_lib.runs.ensemble import fingerprints_of, load_members
from pinca_lib.runs.tensor_files import save_tensors

TWICE_THE_SPREAD = ErrorBars((np.log(2.0), 1.0, 0.0, 0.0))


def fields_with(speeds, tke=0.25):
    """Return fields (M, 6, 1, N) of members that predict these speeds (M, N)."""
    speeds = np.asarray(speeds, float)
    fields = np.zeros((len(speeds), 6, 1, speeds.shape[1]))
    fields[:, SPEED - PREDICTED.start, 0] = speeds
    fields[:, TKE - PREDICTED.start] = tke
    return fields


def drawn_cases(random, count, cells=800, error=0.3):
    """Return cases whose errors and spreads are of one random size in each cell."""
    for _ in range(count):
        truth, size = random.uniform(2, 4, cells), error * random.uniform(0.1, 1, cells)
        members = truth + size * random.normal(size=(3, cells))
        yield fields_with(members), truth


def test_a_bar_is_the_stated_power_law_of_spread_speed_and_turbulence():
    fields = fields_with([[1.0, 2.0], [1.2, 2.0], [1.4, 2.0]], tke=0.09)
    spread = np.array([0.2, 0.0]) + 1e-3
    bars = ErrorBars((0.5, 0.7, 0.2, -0.3))
    expected = np.exp(0.5) * spread**0.7 * np.array([1.201, 2.001]) ** 0.2 * 0.301**-0.3
    np.testing.assert_allclose(bars(fields)[0], expected, rtol=1e-6)


def test_the_fit_covers_the_share_that_was_asked_for_of_other_cases():
    random = np.random.default_rng(0)
    known = list(drawn_cases(random, 20))
    bars = ErrorBars(fitted(known, random))
    rows = covered(bars, one_width(known), dict(enumerate(drawn_cases(random, 20))))
    for count in ("covered", "covered_by_constant"):
        assert np.mean([row[count] for row in rows]) == pytest.approx(0.9, abs=0.02)
    assert bars.weights[1] > 0.3  # what the members disagree on is less certain


def test_a_fit_to_larger_errors_is_wider():
    random = np.random.default_rng(0)
    small, large = (ErrorBars(fitted(drawn_cases(random, 8, error=e), random)) for e in (0.1, 0.4))
    fields, _ = next(iter(drawn_cases(random, 1, error=0.2)))
    assert large(fields).mean() > small(fields).mean()


@pytest.fixture
def place():
    heights = np.zeros((32, 32), np.float32)
    heights[12:20, 12:18] = 12
    whole = slice(0, 32), slice(0, 32)
    return Place("square", Grid(0, 0, 2.0, heights.shape), heights, heights < 0, whole)


@pytest.fixture
def members():
    return [[windward_rule(seed, alpha=ALPHA)] for seed in range(3)]


def test_the_mean_keeps_every_bound_and_scales_with_its_error(place, members):
    each = [predict_wind(member, place, [270, 30], 8) for member in members]
    maps = mean_of(each, TWICE_THE_SPREAD)
    np.testing.assert_allclose(maps.speed, np.mean([m.speed for m in each], axis=0), rtol=1e-5)
    air = np.isfinite(maps.speed)
    assert (maps.speed >= np.hypot(maps.plane(U), maps.plane(V)) - 1e-6)[air].all()
    assert (np.abs(maps.plane(FLUX)) <= ALPHA * maps.tke + 1e-6)[air].all()
    spread = np.std([m.speed for m in each], axis=0, ddof=1)
    np.testing.assert_allclose(maps.error[air], 2 * (spread[air] + 1e-3), rtol=1e-4)
    assert np.isnan(maps.error[~air]).all()
    strong = maps.scaled([2, 3])
    np.testing.assert_allclose(strong.error[1][air[1]], 3 * maps.error[1][air[1]], rtol=1e-6)


def test_errors_at_probes_are_against_measured_speeds_of_the_same_mean(place, members):
    maps = mean_of([predict_wind(member, place, [270], 8) for member in members], TWICE_THE_SPREAD)
    probes = np.array([(5.0, 5.0), (9.0, 5.0), (41.0, 11.0)])
    read = np.array([maps.speed[0, 2, 2], maps.speed[0, 2, 4], maps.speed[0, 5, 20]])
    case = MeasuredCase("tunnel", place, 270.0, probes, 0.5 * read + [0.01, 0, -0.01], 1.0)
    errors, half = errors_at_probes(maps, case)
    np.testing.assert_allclose(errors, [-0.02, 0.0, 0.02], atol=1e-5)
    np.testing.assert_allclose(half[2], maps.error[0, 5, 20], rtol=1e-5)
    found = coverage(np.array([0.1, -0.3]), np.array([0.2, 0.2]))
    assert found == pytest.approx({"covered": 0.5, "mean_half_width": 0.2, "mean_error": 0.2})


def test_one_model_alone_has_no_error_bars(place, members):
    maps = predict_wind(members[0], place, [270], 4)
    assert mean_of([maps], TWICE_THE_SPREAD) is maps
    assert maps.error is None


@pytest.fixture
def folder(tmp_path):
    for number in (2, 3):
        for name in ("init_nca", "pi_nca"):
            rule = trained(seed=number)
            save_tensors({"model_state_dict": rule.state_dict()}, tmp_path / f"{name}_{number}.pth")
    return tmp_path


def test_an_ensemble_is_loaded_with_the_bars_that_were_calibrated_for_it(folder):
    rules = [trained(seed=1), trained(seed=1)]
    members = load_members(folder, rules)
    ErrorBars((0.1, 0.2, 0.3, 0.4), fingerprints_of(members)).write(folder / "error_bars.json")
    loaded, bars = load_ensemble(folder, rules)
    assert bars.weights == (0.1, 0.2, 0.3, 0.4)
    assert [len(member) for member in loaded] == [2, 2, 2]
    assert loaded[0] == rules


def test_other_models_than_the_ensembles_get_no_bars_and_a_warning(folder):
    rules = [trained(seed=1), trained(seed=1)]
    bars = ErrorBars((0.1, 0.2, 0.3, 0.4), fingerprints_of(load_members(folder, rules)))
    bars.write(folder / "error_bars.json")
    others = [trained(seed=1), trained(seed=7)]
    with pytest.warns(InputWarning, match="belongs to other models than init_checkpoint"):
        assert load_ensemble(folder, others) == ([others], None)


def test_a_folder_without_models_and_damaged_bars_are_refused_by_name(folder, tmp_path_factory):
    rules = [trained(seed=1), trained(seed=1)]
    with pytest.raises(InputError, match=r"no further models \(pi_nca_2.pth\)"):
        load_members(tmp_path_factory.mktemp("empty"), rules)
    with pytest.raises(InputError, match=r"error_bars.json: no error bars can be read"):
        load_ensemble(folder, rules)
    for weights, line in (([1, 2], "expected four finite numbers"),
                          ([1, 2, 3, float("nan")], "expected four finite numbers"),
                          ("ab", "no error bars can be read")):  # fmt: skip
        text = json.dumps({"weights": weights, "members": []})
        (folder / "error_bars.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=line):
            load_ensemble(folder, rules)


def test_a_rule_is_known_by_its_weights(members):
    assert len(set(fingerprints_of(members))) == len(members)
    assert fingerprints_of([[CA()]]) != fingerprints_of([[trained(seed=0)]])
