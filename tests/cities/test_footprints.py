"""Footprints lie where they lay, as high as they were, and what they lack is said."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pinca_lib import InputError, load_city
from pinca_lib.cities.heights import parse_height

geopandas = pytest.importorskip("geopandas")
import shapely  # noqa: E402

UTM = "EPSG:32633"
WEST, SOUTH = 601_000.0, 5_339_000.0
PLACES = Path(__file__).parents[2] / "data" / "places"


def box(west, south, east, north, at=(WEST, SOUTH)):
    return shapely.box(at[0] + west, at[1] + south, at[0] + east, at[1] + north)


def town(heights=(12, 30), name="height", **more):
    """A hall in the south-west and a tower in the north-east, 200 m apart."""
    shapes = [box(0, 0, 60, 40), box(180, 160, 200, 200)][: len(heights)]
    return geopandas.GeoDataFrame({name: list(heights), **more}, geometry=shapes, crs=UTM)


def written(folder: Path, table=None, file="town.gpkg", **options) -> Path:
    path = folder / file
    (town() if table is None else table).to_file(path, **options)
    return path


def area(place) -> float:
    return float((place.heights > 0).sum()) * place.grid.cell**2


@pytest.mark.parametrize("file", ["town.geojson", "town.gpkg", "town.shp", "town.fgb"])
def test_every_format_gives_the_same_city_in_its_place(tmp_path, file):
    place = load_city(written(tmp_path, file=file))
    assert place.crs.to_epsg() == 32633
    assert area(place) == pytest.approx(60 * 40 + 20 * 40)
    assert set(np.unique(place.heights)) == {0, 12, 30}
    rows, columns = np.nonzero(place.heights == 30)  # in the north-east: last rows and columns
    west = place.grid.west + columns.min() * place.grid.cell
    south = place.grid.south + rows.min() * place.grid.cell
    assert (west, south) == pytest.approx((WEST + 180, SOUTH + 160), abs=1)
    low_rows, low_columns = np.nonzero(place.heights == 12)
    assert rows.min() > low_rows.max()
    assert columns.min() > low_columns.max()


def test_a_zipped_shapefile_in_a_folder_is_read(tmp_path):
    written(tmp_path, file="town.shp")
    with zipfile.ZipFile(tmp_path / "town.zip", "w") as archive:
        for part in sorted(tmp_path.glob("town.*")):
            if part.suffix != ".zip":
                archive.write(part, f"inner folder/{part.name}")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.move(tmp_path / "town.zip", alone / "town.zip")
    assert load_city(alone / "town.zip").heights.max() == 30


def test_a_damaged_zip_is_refused_in_one_line(tmp_path):
    path = tmp_path / "town.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("town.geojson", "{}")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))  # the list of what it holds
    with pytest.raises(InputError, match="town.zip: not a readable file of footprints"):
        load_city(path)


def test_there_are_150_m_of_open_ground_around_the_site(tmp_path):
    place = load_city(written(tmp_path))
    rows, columns = np.nonzero(place.heights)
    height, width = place.grid.shape
    margin = min(rows.min(), columns.min(), height - 1 - rows.max(), width - 1 - columns.max())
    assert margin * place.grid.cell >= 150


def test_degrees_become_metres_in_the_local_zone(tmp_path):
    metric = load_city(written(tmp_path))
    degrees = load_city(written(tmp_path, town().to_crs(4326), "degrees.geojson"))
    assert degrees.crs.to_epsg() == 32633
    assert area(degrees) == pytest.approx(area(metric), rel=0.02)
    assert any("Grid north" in remark for remark in degrees.remarks)


def test_grid_north_is_told_from_true_north_on_the_right_side(tmp_path):
    from pyproj import Transformer

    to_grid = Transformer.from_crs(4326, 32633, always_xy=True).transform
    (x0, y0), (x1, y1) = to_grid(16.4, 48.2), to_grid(16.4, 48.201)
    of_true_north = np.degrees(np.arctan2(x1 - x0, y1 - y0))  # on the grid, clockwise
    (remark,) = [r for r in load_city(written(tmp_path)).remarks if "Grid north" in r]
    assert of_true_north < -0.5  # true north is west of grid north
    assert f"{-of_true_north:.1f} degrees east of true north" in remark


def test_web_mercator_which_stretches_lengths_is_projected_anew(tmp_path):
    place = load_city(written(tmp_path, town().to_crs(3857)))
    assert place.crs.to_epsg() == 32633
    assert area(place) == pytest.approx(60 * 40 + 20 * 40, rel=0.02)
    assert any("stretches" in remark for remark in place.remarks)


def test_coordinates_in_feet_become_metres(tmp_path):
    at = (985_000, 200_000)  # New York, US survey feet
    shapes = [box(0, 0, 300, 300, at), box(500, 500, 600, 600, at)]
    table = geopandas.GeoDataFrame({"height_ft": [40, 100]}, geometry=shapes, crs=2263)
    place = load_city(written(tmp_path, table))
    assert area(place) == pytest.approx((300**2 + 100**2) * 0.3048**2, rel=0.03)
    assert place.heights.max() == pytest.approx(30.48)
    assert any("foot" in remark for remark in place.remarks)


@pytest.mark.parametrize(
    "name", ["height_m", "HEIGHT", "building:height", "measuredHeight", "bldg_h", "Hauteur",
             "Gebäudehöhe", "Höjd", "wysokość", "Altura_m", "heightAboveGround"],
)  # fmt: skip
def test_usual_names_of_heights_are_found(tmp_path, name):
    table = town((7, 9), name, about=["a", "b"])
    assert load_city(written(tmp_path, table)).heights.max() == 9


@pytest.mark.parametrize(
    ("name", "values", "metres"),
    [("HEIGHT_ROOF", (100, 200), 60.96), ("HEIGHT_ROO", (100, 200), 60.96),
     ("height_ft", (100, 200), 60.96),
     ("hgt_medianCM", (500, 2000), 20)],
)  # fmt: skip
def test_the_unit_that_a_name_means_is_taken_and_said(tmp_path, name, values, metres):
    place = load_city(written(tmp_path, town(values, name)))
    assert place.heights.max() == pytest.approx(metres)
    assert any(f"come from '{name}', read in" in remark for remark in place.remarks)


def test_the_elevation_of_a_roof_counts_above_that_of_the_ground(tmp_path):
    table = town((112.0, 130.0), "b3_h_dak_70p", b3_h_maaiveld=[100.0, 101.0])
    place = load_city(written(tmp_path, table))
    assert set(np.unique(place.heights)) == {0, 12, 29}
    assert any("less 'b3_h_maaiveld'" in remark for remark in place.remarks)


def test_storeys_count_3_m_each_where_no_height_is_given(tmp_path):
    table = town((np.nan, 30.0), **{"building:levels": ["4", "5"]})
    place = load_city(written(tmp_path, table))
    assert set(np.unique(place.heights)) == {0, 12, 30}
    assert not place.assumed.any()
    assert any("3 m a storey" in remark for remark in place.remarks)


@pytest.mark.parametrize(
    ("text", "metres"),
    [("12 m", 12), ("12,5", 12.5), ("12.5m", 12.5), ("40 ft", 12.192), ("40'", 12.192),
     ("40' 6\"", 12.3444), (" ~9 metres", 9), (7, 7), (np.float32(7), 7), ("1200 cm", 12)],
)  # fmt: skip
def test_heights_are_understood_as_people_write_them(text, metres):
    assert parse_height(text) == pytest.approx(metres)


@pytest.mark.parametrize("text", [None, "", "n/a", np.nan, "unknown"])
def test_a_height_that_is_not_given_is_missing(text):
    assert np.isnan(parse_height(text))


@pytest.mark.parametrize("text", ["high", "12;15", "3 storeys", [1]])
def test_a_height_that_is_none_is_not_a_number(text):
    assert parse_height(text) == np.inf


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (-3, "negative"),
        (np.nan, "missing"),
        (0, "1 zero"),
        (4000, "above 1000 m. Correct them, state their unit"),
        ("tall", "tall"),
    ],
)
def test_a_useless_height_is_refused_and_counted_or_filled_and_marked(tmp_path, bad, kind):
    values = [str(bad), "30"] if isinstance(bad, str) else [bad, 30.0]
    path = written(tmp_path, town(values))
    with pytest.raises(InputError, match=r"1 of 2 buildings \(50%\).*default_height=") as caught:
        load_city(path)
    assert kind in str(caught.value)
    place = load_city(path, default_height=9)
    assert set(np.unique(place.heights)) == {0, 9, 30}
    assert (place.assumed == (place.heights == 9)).all()
    assert any("1 of 2" in remark for remark in place.remarks)


def test_without_any_field_of_heights_the_fields_are_listed(tmp_path):
    path = written(tmp_path, town(("a", "b"), "owner"))
    with pytest.raises(InputError, match="'owner'.*height_field="):
        load_city(path)
    assert load_city(path, default_height=10).assumed.any()


def test_a_named_field_is_taken_and_a_wrong_name_lists_the_fields(tmp_path):
    path = written(tmp_path, town(top=[20.0, 21.0]))
    assert load_city(path, height_field="TOP").heights.max() == 21
    with pytest.raises(InputError, match="no field 'tip'.*'top'"):
        load_city(path, height_field="tip")


def test_a_courtyard_stays_open_and_a_multipolygon_whole(tmp_path):
    ring = box(0, 0, 60, 60).difference(box(20, 20, 40, 40))
    pair = shapely.MultiPolygon([box(100, 0, 120, 20), box(160, 0, 180, 20)])
    table = geopandas.GeoDataFrame({"height": [10, 20]}, geometry=[ring, pair], crs=UTM)
    place = load_city(written(tmp_path, table))
    assert area(place) == pytest.approx(60**2 - 20**2 + 2 * 20**2)
    west, south, cell = place.grid.west, place.grid.south, place.grid.cell
    assert place.heights[int((SOUTH + 30 - south) / cell), int((WEST + 30 - west) / cell)] == 0


def test_the_tallest_of_two_that_overlap_wins(tmp_path):
    shapes = [box(0, 0, 60, 60), box(20, 20, 40, 40)]
    for heights in ((10, 25), (25, 10)):
        table = geopandas.GeoDataFrame({"height": heights}, geometry=shapes, crs=UTM)
        place = load_city(written(tmp_path, table, f"{heights[0]}.gpkg"))
        assert (place.heights == 25).sum() == (100 if heights[1] == 25 else 900)


def test_a_polygon_that_crosses_itself_is_repaired_and_said(tmp_path):
    bow = shapely.Polygon([(WEST, SOUTH), (WEST + 40, SOUTH + 40), (WEST + 40, SOUTH),
                           (WEST, SOUTH + 40)])  # fmt: skip
    table = geopandas.GeoDataFrame({"height": [10]}, geometry=[bow], crs=UTM)
    place = load_city(written(tmp_path, table))
    assert area(place) == pytest.approx(40 * 40 / 2, rel=0.1)
    assert any("cross themselves" in remark for remark in place.remarks)


def test_what_is_no_polygon_or_no_building_is_left_out_and_counted(tmp_path):
    shapes = [box(0, 0, 60, 40), shapely.Point(WEST, SOUTH), box(100, 0, 200, 100)]
    table = geopandas.GeoDataFrame(
        {"height": ["10", "10", None], "building": ["yes", "yes", None]}, geometry=shapes, crs=UTM
    )
    place = load_city(written(tmp_path, table, "mixed.geojson"))
    assert area(place) == pytest.approx(60 * 40)
    assert any("1 of 2 features are no polygons" in remark for remark in place.remarks)
    assert any("1 of 3 features are not tagged" in remark for remark in place.remarks)


def test_a_building_below_2_m_is_left_out_and_said(tmp_path):
    place = load_city(written(tmp_path, town((1.5, 30.0))))
    assert area(place) == pytest.approx(20 * 40)
    assert any("1 of 2 buildings are lower than 2 m" in remark for remark in place.remarks)
    with pytest.raises(InputError, match="all 2 buildings are lower"):
        load_city(written(tmp_path, town((1.5, 1.0)), "low.gpkg"))


def test_heights_that_are_probably_feet_are_noticed_and_can_be_stated(tmp_path):
    path = written(tmp_path, town((80, 120)))
    assert any("unit='ft'" in remark for remark in load_city(path).remarks)
    assert load_city(path, unit="ft").heights.max() == pytest.approx(120 * 0.3048)
    with pytest.raises(InputError, match="300 m.*unit="):
        load_city(written(tmp_path, town((500, 620)), "high.gpkg"))


def test_a_site_cuts_buildings_and_keeps_its_surroundings(tmp_path):
    place = load_city(written(tmp_path), site=(WEST + 30, SOUTH - 40, WEST + 90, SOUTH + 60))
    rows, columns = place.site
    assert (rows.stop - rows.start, columns.stop - columns.start) == (50, 30)
    assert (place.on_site(place.heights) > 0).sum() * 4 == 30 * 40
    assert area(place) > 30 * 40  # the rest of the hall and the tower stand in the margin


def test_a_centre_and_radius_as_text_in_degrees_is_a_square_in_metres(tmp_path):
    place = load_city(PLACES / "vienna_karlsplatz.geojson", site="16.371,48.199,100")
    assert place.site_grid.shape in ((100, 100), (101, 101), (100, 101), (101, 100))
    box_of_degrees = load_city(PLACES / "vienna_karlsplatz.geojson",
                               site="16.370,48.198,16.372,48.200")  # fmt: skip
    height, width = box_of_degrees.site_grid.shape
    assert height * 2 == pytest.approx(0.002 * 111_200, abs=12)
    assert width * 2 == pytest.approx(0.002 * 111_200 * np.cos(np.radians(48.2)), abs=12)


def test_of_an_openstreetmap_file_the_buildings_count(tmp_path):
    corners = [(0, 0), (1, 0), (1, 1), (0, 1), (3, 0), (4, 0), (4, 1), (3, 1)]
    nodes = [f'<node id="{k}" lat="{48.2 + y / 1e3}" lon="{16.37 + x / 1e3}"/>'
             for k, (x, y) in enumerate(corners, 1)]  # fmt: skip
    tags = [{"building": "yes", "building:levels": "5"}, {"landuse": "grass"}]
    ways = []
    for way, (first, own) in enumerate(zip((1, 5), tags, strict=True), 1):
        inside = "".join(f'<nd ref="{first + k}"/>' for k in (0, 1, 2, 3, 0))
        inside += "".join(f'<tag k="{key}" v="{value}"/>' for key, value in own.items())
        ways.append(f'<way id="{way}">{inside}</way>')
    content = f'<?xml version="1.0"?><osm version="0.6">{"".join(nodes + ways)}</osm>'
    (tmp_path / "town.osm").write_text(content)
    place = load_city(tmp_path / "town.osm")
    assert area(place) == pytest.approx(111.2 * 74.3, rel=0.03)
    assert place.heights.max() == 15


def test_a_proposal_is_drawn_on_the_grid_of_what_stands():
    before = load_city(PLACES / "vienna_karlsplatz.geojson", site="16.371,48.199,150")
    after = load_city(PLACES / "vienna_karlsplatz_towers.geojson", like=before)
    assert after.grid == before.grid
    assert after.site == before.site
    assert ((after.heights > 0) == (before.heights > 0)).mean() > 0.999
    assert after.heights.max() == 66 > before.heights.max()


def test_a_proposal_that_holds_new_buildings_only_is_noticed(tmp_path):
    today = load_city(written(tmp_path, town()))
    new = geopandas.GeoDataFrame({"height": [30]}, geometry=[box(70, 10, 80, 20)], crs=UTM)
    planned = load_city(written(tmp_path, new, "new.geojson"), like=today)
    assert "A proposal holds all buildings" in planned.remarks[-1]


def test_of_several_layers_one_is_named(tmp_path):
    path = written(tmp_path, layer="west")
    town((5, 6)).to_file(path, layer="east")
    with pytest.raises(InputError, match=r"west, east.*\|layername=west"):
        load_city(path)
    assert load_city(f"{path}|layername=east").heights.max() == 6
    with pytest.raises(InputError, match="no layer 'north'"):
        load_city(f"{path}|layername=north")


def test_degrees_without_a_system_are_asked_for(tmp_path):
    path = written(tmp_path, town().to_crs(4326), "town.shp")
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match="crs='EPSG:4326'"):
        load_city(path)
    assert load_city(path, crs="EPSG:4326").crs.to_epsg() == 32633


def test_local_metres_without_a_system_stay_local(tmp_path):
    shapes = [box(0, 0, 60, 40, (0, 0)), box(80, 10, 100, 30, (0, 0))]
    table = geopandas.GeoDataFrame({"height": [8, 9]}, geometry=shapes)
    place = load_city(written(tmp_path, table, "local.shp"))
    assert place.crs is None
    assert area(place) == pytest.approx(60 * 40 + 20 * 20)
    assert any("names no coordinate system" in remark for remark in place.remarks)


def test_metres_in_geojson_which_means_degrees_are_asked_for(tmp_path):
    path = written(tmp_path, file="town.geojson")
    content = json.loads(path.read_text())
    del content["crs"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is taken as degrees.*crs="):
        load_city(path)
    assert load_city(path, crs=UTM).crs.to_epsg() == 32633


def test_a_wrong_system_is_said(tmp_path):
    with pytest.raises(InputError, match="no coordinate system that pyproj knows"):
        load_city(written(tmp_path), crs="EPSG:1")
