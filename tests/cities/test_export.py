"""Files of maps: opened by the field's own readers, they lie where the buildings lie."""

from dataclasses import replace

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import xarray

from pinca_lib.cities.export import write_geotiff, write_maps, write_polygons
from pinca_lib.cities.place import Grid, Place
from pinca_lib.cities.prediction import WindMaps

CRS = pyproj.CRS(32633)


@pytest.fixture
def place():
    """A site of 100 m × 80 m with one building in its north-east corner."""
    heights = np.zeros((60, 50), np.float32)
    heights[50:55, 35:45] = 9
    assumed = np.zeros(heights.shape, bool)
    grid = Grid(600000.0, 5300000.0, 2.0, heights.shape)
    return Place("town", grid, heights, assumed, (slice(5, 55), slice(5, 45)), CRS, ("A remark.",))


@pytest.fixture
def maps(place):
    fields = np.random.default_rng(0).random((2, 6, *place.site_grid.shape)).astype(np.float32)
    fields[..., place.on_site(place.heights) > 0] = np.nan
    return WindMaps(place, (270.0, 0.0), fields, (1.0, 1.0))


def test_a_geotiff_lies_north_up_where_the_building_lies(place, maps, tmp_path):
    write_geotiff(tmp_path / "wind.tif", place, {"mean speed (m/s)": maps.speed[0]}, ["5 m/s."])
    with rasterio.open(tmp_path / "wind.tif") as file:
        assert file.crs == CRS
        assert tuple(file.bounds) == (600010, 5300010, 600090, 5300110)
        assert file.descriptions == ("mean speed (m/s)",)
        assert file.tags()["remarks"] == "5 m/s."
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        (inside,), (outside,) = file.sample([(600089, 5300109), (600011, 5300011)])
        assert np.isnan(inside)
        assert outside == maps.speed[0, 0, 0]
        np.testing.assert_array_equal(file.read(1)[::-1], maps.speed[0])


def test_a_netcdf_has_coordinates_directions_and_the_grid_mapping(maps, tmp_path):
    classes = np.ones(maps.place.site_grid.shape, np.int8)
    write_maps(tmp_path / "wind.nc", maps, {"comfort": (classes, "comfort class")})
    with xarray.open_dataset(tmp_path / "wind.nc") as found:
        assert pyproj.CRS.from_cf(found["crs"].attrs) == CRS
        assert found["wind_speed"].attrs["grid_mapping"] == "crs"
        speed = found["wind_speed"].sel(wind_from=0, x=600011, y=5300011)
        assert speed == maps.speed[1, 0, 0]
        assert np.isnan(found["wind_speed"].sel(wind_from=0, x=600089, y=5300109))
        assert found.attrs["comment"] == "A remark."
        assert found["comfort"].shape == (50, 40)


def test_error_bars_lie_beside_the_speed_in_a_netcdf(maps, tmp_path):
    error = 0.1 * maps.speed
    write_maps(tmp_path / "wind.nc", replace(maps, error=error))
    with xarray.open_dataset(tmp_path / "wind.nc") as found:
        bars = found[found["wind_speed"].attrs["ancillary_variables"]]
        np.testing.assert_array_equal(bars, error)
        assert bars.attrs["units"] == "m s-1"


def test_polygons_lie_where_their_class_is(place, tmp_path):
    classes = np.zeros(place.site_grid.shape, int)
    classes[:, 20:] = 1
    classes[place.on_site(place.heights) > 0] = -1
    unlike = np.where(classes == 1, 0, -1)
    layers = {"comfort": (classes, ["calm", "windy"]), "unlike": (unlike, ["unlike"])}
    write_polygons(tmp_path / "comfort.gpkg", place, layers, ["Half is unlike."])
    found = geopandas.read_file(tmp_path / "comfort.gpkg", layer="comfort")
    assert found.crs == CRS
    areas = found.groupby("class")["area_m2"].sum()
    assert areas.to_dict() == {"calm": 20 * 50 * 4, "windy": 20 * 50 * 4 - 10 * 5 * 4}
    west, _, east, _ = found[found["class"] == "windy"].total_bounds
    assert (west, east) == (600050, 600090)
    unlike = geopandas.read_file(tmp_path / "comfort.gpkg", layer="unlike")
    assert unlike.area.sum() == areas["windy"]
    about = pyogrio.read_info(tmp_path / "comfort.gpkg", layer="unlike")["layer_metadata"]
    assert about["DESCRIPTION"] == "Half is unlike."


def test_a_layer_without_any_polygon_is_written_as_well(place, tmp_path):
    none = np.full(place.site_grid.shape, -1)
    write_polygons(tmp_path / "empty.gpkg", place, {"unlike": (none, ["unlike"])})
    assert not len(geopandas.read_file(tmp_path / "empty.gpkg", layer="unlike"))


def test_a_place_without_a_coordinate_system_says_so(maps, tmp_path):
    place = Place("town", *[getattr(maps.place, n) for n in ("grid", "heights", "assumed", "site")])
    write_geotiff(tmp_path / "wind.tif", place, {"speed": maps.speed[0]})
    write_maps(tmp_path / "wind.nc", WindMaps(place, maps.wind_from, maps.fields, maps.scale))
    with rasterio.open(tmp_path / "wind.tif") as file:
        assert file.crs is None
    with xarray.open_dataset(tmp_path / "wind.nc") as found:
        assert "crs" not in found
        assert "local" in found.attrs["comment"]
