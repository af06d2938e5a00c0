"""Rollouts in tiles: the whole rollout's numbers, a kill that costs a tile, limits that hold."""

import dask.array
import numpy as np
import pytest
import torch
import zarr
from small_rules import bounded_rule, city_state, wide_rule, windward_rule

from pinca_lib.channels import BASE, DYNAMIC, PREDICTED, SPEED, WIND_X, WIND_Y
from pinca_lib.errors import InputError
from pinca_lib.rollouts import tiles, tiling
from pinca_lib.rollouts.dispatch import rollout
from pinca_lib.rollouts.tiles import rollout_in_tiles
from pinca_lib.rollouts.tiling import Tiling, choose_tiling, reach

RULES = {
    "like the shipped ones": [windward_rule(0, scale=4, alpha=2.25), windward_rule(1, alpha=2.25)],
    "of two coarse scales": [windward_rule(2, scale=3), windward_rule(3, scale=2, alpha=2.25)],
    "that see coordinates": [bounded_rule(4), wide_rule(5)],
}


def fresh(height, width, seed=0):
    state = city_state(1, 24, height, width, seed=seed)
    state[:, WIND_X], state[:, WIND_Y], state[:, DYNAMIC] = 0.6, -0.8, 0
    return state


def city(state):
    return dask.array.from_array(state[0, BASE].numpy(), chunks=(6, 40, 50))


def tiling_of(rules, shape, tile, steps):
    unit = int(np.lcm.reduce([rule.scale for rule in rules]))
    halo = -(-reach(rules, steps) // unit) * unit
    return Tiling(shape, tile, (tile[0] // 2, tile[1] // 2), halo, unit, steps)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize(
    ("shape", "tile", "between"),
    [((96, 72), (24, 24), 1), ((101, 57), (24, 60), 2), ((97, 131), (48, 36), 2),
     ((59, 150), (12, 24), 3), ((38, 46), (24, 24), 4)],
)  # fmt: skip
def test_tiles_give_the_whole_rollout_at_any_size(kind, shape, tile, between, tmp_path):
    rules, state = RULES[kind], fresh(*shape)
    cut = tiling_of(rules, shape, tile, between)
    found = rollout_in_tiles(rules, city(state), 7, tmp_path, cut)
    expected = rollout(rules, state, 7)[0, DYNAMIC].numpy()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_rule_sees_as_far_as_its_reach_and_no_farther():
    rules = RULES["like the shipped ones"]
    far = reach(rules, 3)
    assert far == 24
    state = fresh(128, 8)
    changed = state.clone()
    changed[:, 3, 64:] += 5  # heights; row 64 begins a block
    apart = (rollout(rules, state, 3) - rollout(rules, changed, 3))[0, DYNAMIC].abs().amax((0, 2))
    felt = torch.nonzero(apart > 0).flatten()
    south = felt[(felt < 64) & (felt > 32)].min()  # north of the edge it comes from there
    assert 64 - far <= south < 64 - far + 8


def test_a_killed_rollout_goes_on_from_its_last_tile(tmp_path, monkeypatch):
    rules, state = RULES["like the shipped ones"], fresh(96, 72)
    cut = tiling_of(rules, (96, 72), (48, 36), 2)  # 4 tiles
    steps = []

    def killed(rules, state, count):
        if len(steps) == 6:
            raise KeyboardInterrupt
        steps.append(count)
        return rollout(rules, state, count)

    with monkeypatch.context() as patch:
        patch.setattr(tiles, "rollout", killed)
        with pytest.raises(KeyboardInterrupt):
            rollout_in_tiles(rules, city(state), 6, tmp_path, cut, PREDICTED)
    assert {path.name for path in tmp_path.iterdir()} == {"after_2.zarr", "after_4.zarr"}
    monkeypatch.setattr(tiles, "rollout", lambda *given: steps.append(given[2]) or rollout(*given))
    found = rollout_in_tiles(rules, city(state), 6, tmp_path, cut, PREDICTED)
    assert steps == [2] * 12
    expected = rollout(rules, state, 6)[0, PREDICTED].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["after_6.zarr"]
    again = rollout_in_tiles(rules, city(state), 6, tmp_path, cut, PREDICTED)
    np.testing.assert_array_equal(again[SPEED - PREDICTED.start], found[SPEED - PREDICTED.start])
    assert len(steps) == 12


def test_other_tiles_go_on_from_the_last_exchange(tmp_path, monkeypatch):
    rules, state = RULES["like the shipped ones"], fresh(96, 72)
    whole = tiling_of(rules, (96, 72), (96, 72), 3)

    def stop(*_):
        raise KeyboardInterrupt

    rollout_in_tiles(rules, city(state), 3, tmp_path, whole)
    group = zarr.open_group(tmp_path / "after_3.zarr")
    group.attrs["about"] = tiles._digest(rules, city(state), DYNAMIC, 6)  # as on the way to 6
    found = rollout_in_tiles(
        rules, city(state), 6, tmp_path, tiling_of(rules, (96, 72), (24, 36), 2)
    )
    np.testing.assert_allclose(found, rollout(rules, state, 6)[0, DYNAMIC].numpy(), atol=1e-5)


def test_a_folder_of_another_rollout_is_refused_and_stays(tmp_path):
    rules, state = RULES["like the shipped ones"], fresh(96, 72)
    cut = tiling_of(rules, (96, 72), (48, 36), 2)
    found = rollout_in_tiles(rules, city(state), 2, tmp_path, cut).compute()
    others = fresh(96, 72, seed=1), fresh(96, 72)
    others[1][:, WIND_X] *= -1
    for other in others:
        with pytest.raises(InputError, match="another city, wind or rules; give another folder"):
            rollout_in_tiles(rules, city(other), 2, tmp_path, cut)
    with pytest.raises(InputError, match="another city, wind or rules"):
        rollout_in_tiles(rules[:1], city(state), 2, tmp_path, cut)
    np.testing.assert_array_equal(rollout_in_tiles(rules, city(state), 2, tmp_path, cut), found)


def test_a_store_that_was_hardly_begun_is_begun_again(tmp_path):
    rules, state = RULES["like the shipped ones"], fresh(96, 72)
    (tmp_path / "after_2.zarr").mkdir()
    cut = tiling_of(rules, (96, 72), (48, 36), 2)
    found = rollout_in_tiles(rules, city(state), 2, tmp_path, cut)
    np.testing.assert_allclose(found, rollout(rules, state, 2)[0, DYNAMIC].numpy(), atol=1e-5)


def test_less_memory_makes_smaller_tiles_and_too_little_is_said_before():
    rules = RULES["like the shipped ones"]
    base = dask.array.ones((6, 4001, 3000), dtype=np.float32, chunks=1000)
    held = tiling.psutil.Process().memory_info().rss / 1e9
    tilings = [choose_tiling(rules, base, 64, held + more) for more in (1, 2, 40)]
    sides = [max(cut.tile) for cut in tilings]
    assert sides[0] < sides[1] < sides[2]
    assert tilings[2].tile[0] >= 4001
    for cut, more in zip(tilings, (1, 2, 40), strict=True):
        assert tiling._bytes(cut, np.ones((501, 375), np.float32)) < more * 1e9
        assert cut.halo >= reach(rules, cut.steps)
        assert all(side % chunk == 0 for side, chunk in zip(cut.tile, cut.chunk, strict=True))
    with pytest.raises(
        InputError, match="too little for a grid of 3,000 × 4,001 cells .* at least"
    ):
        choose_tiling(rules, base, 64, held)


def test_open_ground_needs_smaller_tiles_than_buildings():
    rules = RULES["like the shipped ones"]
    ground = dask.array.ones((6, 4000, 4000), dtype=np.float32, chunks=1000)
    most = tiling.psutil.Process().memory_info().rss / 1e9 + 2
    open_ground, built = (choose_tiling(rules, base, 64, most) for base in (ground, 0 * ground))
    assert max(open_ground.tile) < max(built.tile)


def test_a_disk_that_is_too_small_is_said_before(tmp_path, monkeypatch):
    rules, state = RULES["like the shipped ones"], fresh(96, 72)
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(tiles.shutil, "disk_usage", lambda _: full)
    cut = tiling_of(rules, (96, 72), (48, 36), 2)
    with pytest.raises(InputError, match=r"0\.0 GB are needed .* 72 × 96 cells, 0\.0 GB are free"):
        rollout_in_tiles(rules, city(state), 2, tmp_path, cut)
    assert not list(tmp_path.iterdir())
