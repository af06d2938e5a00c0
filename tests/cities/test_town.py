"""A town: the maps, the doubts and the friction of the same place in memory, from a raster."""

import dask.array
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from small_rules import windward_rule

from pinca_lib.cities import place as places
from pinca_lib.cities.export import write_geotiff
from pinca_lib.cities.loading import load_city
from pinca_lib.cities.prediction import predict_wind
from pinca_lib.cities.reference_wind import friction_velocity
from pinca_lib.errors import InputError
from pinca_lib.evaluation import doubt_table, doubtful, unlike_training, unlikeness
from pinca_lib.plotting import plot_directions, plot_place, plot_wind

RULES = [windward_rule(0, scale=4, alpha=2.25), windward_rule(1, alpha=2.25)]


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    """A town of 401 m × 337 m with a tower and a courtyard."""
    random = np.random.default_rng(0)
    heights = np.kron(random.random((14, 12)) < 0.3, np.ones((15, 15))) * 12.0
    heights = heights[:200, :168].astype(np.float32)
    heights[150:158, 100:108] = 80
    heights[60:80, 60:80], heights[66:72, 66:72] = 15, 0
    path = tmp_path_factory.mktemp("raster") / "town.tif"
    about = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 200, "width": 168,
             "crs": "EPSG:32633", "transform": from_origin(6e5, 5.34e6 + 400, 2, 2)}  # fmt: skip
    with rasterio.open(path, "w", **about) as file:
        file.write(heights, 1)
    return path


@pytest.fixture
def town(raster, monkeypatch):
    """The raster as a town, drawn and looked at in small parts."""
    monkeypatch.setattr(places, "MOST_CELLS", 100)
    monkeypatch.setattr(places, "PART", 70)
    monkeypatch.setattr(unlikeness, "PART", 150)
    return load_city(raster, margin=20)


@pytest.fixture(scope="module")
def place(raster):
    return load_city(raster, margin=20)


def test_a_town_is_drawn_part_by_part_as_a_place_is(town, place):
    assert town.is_town
    assert not place.is_town
    assert town.heights.numblocks == (4, 3)
    np.testing.assert_array_equal(town.heights, place.heights)
    assert (town.grid, town.site) == (place.grid, place.site)


def test_the_wind_over_a_town_is_that_over_the_place(town, place, tmp_path, monkeypatch):
    monkeypatch.setattr("pinca_lib.rollouts.tiling.CHUNK", 32)  # tiles of some chunks at this size
    monkeypatch.setattr("pinca_lib.rollouts.tiling.BYTES_A_CELL", 60_000)
    whole = predict_wind(RULES, place, [240, 90], 4)
    held = places_memory()
    maps = predict_wind(RULES, town, [240, 90], 4, tmp_path, held + 0.9)
    assert isinstance(maps.fields, dask.array.Array)
    np.testing.assert_allclose(maps.fields, whole.fields, atol=1e-5)
    factors = [
        friction_velocity(5, 10, 0.03, maps.place.heights, 2.0, direction).scale
        for direction in maps.wind_from
    ]
    expected = [
        friction_velocity(5, 10, 0.03, place.heights, 2.0, direction).scale
        for direction in maps.wind_from
    ]
    np.testing.assert_allclose(factors, expected, rtol=1e-9)
    strong = maps.scaled(factors)
    np.testing.assert_allclose(strong.speed, whole.scaled(expected).speed, atol=1e-4)
    write_geotiff(tmp_path / "wind.tif", maps.place, {"speed (m/s)": strong.speed[1]})
    with rasterio.open(tmp_path / "wind.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(file.read(1)[::-1], strong.speed[1])


def places_memory():
    import psutil

    return psutil.Process().memory_info().rss / 1e9


def test_what_is_unlike_the_training_is_the_same_in_a_town(town, place, tmp_path):
    expected, found = unlike_training(place, RULES), unlike_training(town, RULES, tmp_path)
    for name, cells in expected.items():
        np.testing.assert_array_equal(found[name], cells, err_msg=name)
    assert expected["near tall buildings"].any()
    assert doubt_table(town, found).equals(doubt_table(place, expected))
    np.testing.assert_array_equal(doubtful(found), doubtful(expected))


def test_pictures_show_a_town_thinned(town, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "GLANCE", 60)
    maps = predict_wind(RULES, town, [240], 1, tmp_path, 100)
    doubts = doubtful(unlike_training(town, RULES))
    small = maps.overview()
    assert small.fields.shape == (1, 6, 50, 42)
    assert small.place.site_grid.cell == 8
    np.testing.assert_array_equal(small.speed, maps.speed.compute()[:, ::4, ::4])
    for figure in (plot_place(town), plot_wind(maps, 0, doubts), plot_directions(maps, doubts)):
        figure.savefig(tmp_path / "figure.png")


def test_a_town_needs_a_raster_a_folder_and_no_proposal(town, raster, monkeypatch):
    with pytest.raises(InputError, match=r"town.tif: a town of .* give a folder for its states"):
        predict_wind(RULES, town, [240])
    with pytest.raises(InputError, match="too large to compare with a proposal"):
        load_city(raster, like=town)
    with pytest.raises(InputError, match="or bring a raster of heights"):
        load_city(np.kron([[0, 9], [9, 0]], np.ones((200, 200))), cell=2.0)
