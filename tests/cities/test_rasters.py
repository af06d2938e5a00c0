"""Rasters of heights, surfaces over terrain, arrays and city files become places as they lie."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from small_cities import make_base, write_plain_city

from pinca_lib import InputError, load_city

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import Affine, from_origin  # noqa: E402

WEST, NORTH = 601_000.0, 5_339_400.0


def town(rows=100, columns=120) -> np.ndarray:
    """Heights on cells of 2 m, north up: a hall in the south-west, a tower in the north-east."""
    heights = np.zeros((rows, columns), np.float32)
    heights[-20:, :30] = 12
    heights[:10, -15:] = 30
    return heights


def written(folder: Path, heights, name="town.tif", transform=None, **more) -> Path:
    about = {"driver": "GTiff", "count": 1, "dtype": heights.dtype, "height": heights.shape[0],
             "width": heights.shape[1], "crs": "EPSG:32633",
             "transform": transform or from_origin(WEST, NORTH, 2, 2)} | more  # fmt: skip
    with rasterio.open(folder / name, "w", **about) as file:
        file.write(heights, 1)
    return folder / name


def test_north_of_a_raster_is_in_the_last_rows(tmp_path):
    place = load_city(written(tmp_path, town()))
    assert place.site_grid.shape == (100, 120)
    np.testing.assert_array_equal(place.on_site(place.heights), town()[::-1])
    assert place.site_grid.bounds == (WEST, NORTH - 200, WEST + 240, NORTH)
    assert place.crs.to_epsg() == 32633


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float64"])
def test_types_of_numbers_and_nodata_are_understood(tmp_path, kind):
    heights = town().astype(kind)
    heights[0, 0] = 99
    place = load_city(written(tmp_path, heights, nodata=99))
    assert place.heights.max() == 30
    assert any("hold no data" in remark for remark in place.remarks)


def test_a_scale_factor_is_applied(tmp_path):
    path = written(tmp_path, (town() * 10).astype(np.int16))
    with rasterio.open(path, "r+") as file:
        file.scales = (0.1,)
    assert load_city(path).heights.max() == pytest.approx(30)


def test_cells_that_are_not_square_keep_the_areas(tmp_path):
    fine = np.repeat(np.repeat(town(), 4, axis=0), 2, axis=1)  # cells of 1 m × 0.5 m
    path = written(tmp_path, fine, transform=from_origin(WEST, NORTH, 1, 0.5))
    np.testing.assert_array_equal(load_city(path).on_site(load_city(path).heights), town()[::-1])


def test_a_raster_with_south_up_lies_the_same(tmp_path):
    upside = Affine(2, 0, WEST, 0, 2, NORTH - 200)
    place = load_city(written(tmp_path, town()[::-1].copy(), transform=upside))
    np.testing.assert_array_equal(place.on_site(place.heights), town()[::-1])


def test_a_turned_raster_lies_turned_and_what_it_leaves_open_is_said(tmp_path):
    turned = Affine.translation(WEST, NORTH) @ Affine.rotation(30) @ Affine.scale(2, -2)
    place = load_city(written(tmp_path, town(), transform=turned))
    rows, columns = np.nonzero(place.heights == 30)
    middle = turned @ (120 - 7.5, 5)  # of the tower
    assert place.grid.west + (columns.mean() + 0.5) * 2 == pytest.approx(middle[0], abs=1)
    assert place.grid.south + (rows.mean() + 0.5) * 2 == pytest.approx(middle[1], abs=1)
    assert any("turned" in remark for remark in place.remarks)


def test_degrees_are_warped_to_the_local_zone(tmp_path):
    step = 2 / 111_200
    about = {"transform": from_origin(16.37, 48.2, step / np.cos(np.radians(48.2)), step),
             "crs": "EPSG:4326"}  # fmt: skip
    place = load_city(written(tmp_path, town(), **about))
    assert place.crs.to_epsg() == 32633
    assert (place.heights == 12).sum() == pytest.approx(20 * 30, rel=0.03)
    rows, columns = np.nonzero(place.heights == 30)
    low_rows, low_columns = np.nonzero(place.heights == 12)
    assert rows.min() > low_rows.max()
    assert columns.min() > low_columns.max()


def test_what_is_lower_than_2_m_is_open_ground(tmp_path):
    heights = town()
    heights[50, 50], heights[51, 51] = 1.9, -0.5
    assert set(np.unique(load_city(written(tmp_path, heights)).heights)) == {0, 12, 30}


def hill(shape) -> np.ndarray:
    return (150 + 0.1 * np.arange(shape[1])[None] + np.zeros(shape)).astype(np.float32)


def test_a_surface_without_terrain_is_refused_with_the_share_and_the_remedy(tmp_path):
    surface = town() + hill(town().shape)
    with pytest.raises(InputError, match="100% of its ground is above 2 m.*terrain='dem.tif'"):
        load_city(written(tmp_path, surface))


def test_a_surface_over_its_terrain_gives_heights(tmp_path):
    surface = written(tmp_path, town() + hill(town().shape), "surface.tif")
    coarse = hill((42, 50))  # cells of 5 m, which reach further
    coarse[:] = 150 + 0.05 * (np.arange(50) * 5 + 2.5 - 1)
    ground = written(tmp_path, coarse, "ground.tif", from_origin(WEST, NORTH, 5, 5))
    place = load_city(surface, terrain=ground)
    np.testing.assert_allclose(place.on_site(place.heights), town()[::-1], atol=0.3)
    assert any("ground.tif" in remark for remark in place.remarks)
    with pytest.raises(InputError, match="does not lie on ground.tif, but about 40.. m above"):
        load_city(written(tmp_path, town() + hill(town().shape) + 40, "off.tif"), terrain=ground)


@pytest.mark.parametrize(
    ("heights", "more", "said"),
    [
        (np.full((9, 9), -9999, np.float32), {"nodata": -9999}, "no cell holds data"),
        (np.zeros((9, 9), np.float32), {}, "no cell is as high as 2 m"),
        (np.where(town() == 0, 32767, town()), {}, "fill value"),
        (town(), {"transform": Affine.identity()}, "size of its cells"),
        (town(), {"crs": None, "transform": from_origin(16, 48, 1e-5, 1e-5)}, "crs='EPSG:4326'"),
    ],
)
def test_what_is_wrong_with_a_raster_is_said(tmp_path, heights, more, said):
    if said == "fill value":
        heights[:50] = 0
    with pytest.raises(InputError, match=said):
        load_city(written(tmp_path, heights.astype(np.float32), **more))


def test_an_image_and_a_damaged_file_are_refused(tmp_path):
    with rasterio.open(tmp_path / "photo.tif", "w", driver="GTiff", count=3, dtype="uint8",
                       height=9, width=9, transform=from_origin(0, 0, 1, 1)) as file:  # fmt: skip
        file.write(np.ones((3, 9, 9), np.uint8))
    with pytest.raises(InputError, match="an image"):
        load_city(tmp_path / "photo.tif")
    path = written(tmp_path, town())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="town.tif: not a readable raster"):
        load_city(path)


def test_an_array_has_its_south_in_row_0(tmp_path):
    heights = town()[::-1].copy()
    place = load_city(heights, cell=4.0)
    np.testing.assert_array_equal(place.on_site(place.heights), heights)
    assert place.site_grid.bounds == (0, 0, 480, 400)
    np.save(tmp_path / "town.npy", heights)
    np.testing.assert_array_equal(load_city(tmp_path / "town.npy", cell=4.0).heights, place.heights)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 9, 9)), "shape"),
        (np.ones((9, 9), bool), "type bool"),
        (np.full((9, 9), np.nan), "81 cells are NaN"),
        (np.full((9, 9), -1.0), "81 cells are negative"),
        (np.zeros((9, 9)), "no cell is as high"),
        (np.full((9, 9), 10.0), "above 2 m"),
        (np.where(np.eye(90) > 0, 800.0, 0), "300 m.*unit="),
    ],
)
def test_what_is_wrong_with_an_array_is_said(array, said):
    with pytest.raises(InputError, match=said):
        load_city(array)


def test_a_city_file_is_a_place_with_or_without_wind(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", 40, 48)
    base = make_base(40, 48).astype(float)
    place = load_city(path)
    np.testing.assert_array_equal(place.on_site(place.heights), base[3])
    with h5py.File(path, "r+") as file:
        del file["cases"]
    bare = load_city(path)
    np.testing.assert_array_equal(bare.heights, place.heights)
    assert any("cells are taken as 2 m" in remark for remark in bare.remarks)


def test_a_mask_that_contradicts_heights_is_noticed(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", 40, 48)
    with h5py.File(path, "r+") as file:
        base = file["city_base"][:]
        row, column = np.argwhere(base[2] == 0)[0]
        base[3, row, column] = 0
        file["city_base"][:] = base
    with pytest.raises(InputError, match="1 of .* cells of buildings .* height 0.*default_height"):
        load_city(path)
    place = load_city(path, default_height=8.5)
    assert place.assumed.sum() == (place.heights == 8.5).sum() >= 1
    with h5py.File(path, "r+") as file:
        base[2] = 1 - base[2]
        file["city_base"][:] = base
    with pytest.raises(InputError, match="inverted"):
        load_city(path)
