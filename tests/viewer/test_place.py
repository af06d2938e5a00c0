"""A place in the viewer: dropped, under a wind that people know, edited, saved where it lies."""

import json
import zipfile

import av
import geopandas
import h5py
import numpy as np
import pytest
import xarray
from pyproj import CRS
from shapely.geometry import box
from small_cities import make_base, write_plain_city
from small_rules import calm_rule

from pinca_lib.channels import GEO_MASK, SPEED, TOPO
from pinca_lib.cities import friction_velocity, load_city, predict_wind
from pinca_lib.errors import InputError
from pinca_lib.viewer import stage
from pinca_lib.viewer.panels import ASSUMED, UNLIKE, compose
from pinca_lib.viewer.widget import RolloutViewer

RULES = {"calm": [calm_rule()]}
STEPS = 4
WEST, SOUTH = 601_000.0, 5_339_000.0
HOUSES = {box(0, 0, 20, 12): 10.0, box(30, 4, 44, 40): 18.0, box(4, 30, 20, 44): 12.5}


def town(missing: bool = False) -> geopandas.GeoDataFrame:
    """Three houses in UTM, 44 m × 44 m; the height of one may be missing."""
    heights = [*HOUSES.values()]
    if missing:
        heights[2] = None
    shapes = geopandas.GeoSeries(list(HOUSES)).translate(WEST, SOUTH)
    return geopandas.GeoDataFrame({"height": heights}, geometry=shapes, crs=CRS.from_epsg(32633))


@pytest.fixture
def folder(tmp_path):
    write_plain_city(tmp_path / "village.h5", 16, 16)
    town().to_file(tmp_path / "town.geojson")
    return tmp_path


@pytest.fixture
def viewer(folder, monkeypatch):
    monkeypatch.setattr(stage, "STEPS", STEPS)  # of a complete map
    viewer = RolloutViewer(folder, RULES, output_dir=folder / "saved", wind_from="SW",
                           wind=(6.0, 10.0, "suburb"))  # fmt: skip
    yield viewer
    viewer.close()


def open_town(page, path) -> dict:
    """Drop a file, and wait until its map is complete."""
    page.drop(path, part=400)
    page.wait_for(lambda _: page.viewer.controls.scene.value == path.name, "not opened")
    return page.wait_for(lambda frame: frame["corner"] and frame["steps"] == STEPS, "no map")


def saved(folder, page, ending):
    """Return the file that was saved last, once that is said."""
    page.wait_for(lambda frame: frame["message"].startswith("saved")
                  and frame["message"].endswith(ending), "not saved")  # fmt: skip
    return max((folder / "saved").glob(f"viewer_*/*{ending}"))


def test_a_dropped_place_gets_the_map_that_predict_wind_gives(page, folder):
    place = load_city(folder / "town.geojson")
    frame = open_town(page, folder / "town.geojson")
    u = friction_velocity(6.0, 10.0, "suburb", place.heights, 2.0, 225.0)
    expected = predict_wind(RULES["calm"], place, [225.0], STEPS).scaled(u.scale)
    scene, view = page.viewer.live.scene, page.viewer.stage.view
    maps = scene.maps(page.viewer.live.state, view.wind)
    np.testing.assert_allclose(maps.fields, expected.fields, rtol=1e-4, atol=1e-6)
    assert frame["degrees"] == 225
    assert (frame["shape"], frame["extent"]) == ([42, 42], [84.0, 84.0])
    assert frame["corner"] == [WEST - 20, SOUTH - 20]
    assert f"{u.value:.2f} m/s" in frame["remarks"][0]
    assert any("EPSG:32633" in remark for remark in frame["remarks"])


def test_nothing_pretends_that_a_place_was_simulated(page, folder):
    frame = open_town(page, folder / "town.geojson")
    assert page.viewer.controls.reference.options == ("fresh rollout", "nothing")
    assert len(frame["panels"]) == 1
    assert frame["curves"] == []
    page.viewer.controls.reference.value = "fresh rollout"
    page.wait_for(lambda frame: len(frame["panels"]) == 3, "no fresh rollout")
    page.viewer.controls.scene.value = "village/village_d000"
    page.wait_for(lambda frame: frame["corner"] is None, "the case does not come back")
    assert page.viewer.controls.reference.value == "simulation"


def test_a_city_file_without_fields_has_no_simulation_either(folder, page):
    with h5py.File(folder / "plain.h5", "w") as file:
        file["city_base"] = make_base(24, 24)
    viewer = RolloutViewer(folder, RULES, "plain/wind_from_000")
    content, _ = compose(viewer.live, viewer.stage.view)
    assert len(content["panels"]) == 1
    assert viewer.controls.reference.options == ("fresh rollout", "nothing")
    viewer.close()


def test_the_pointer_reads_coordinates_and_speeds_of_the_place(page, folder):
    open_town(page, folder / "town.geojson")
    page.tell(kind="hover", cell=[20, 28])  # 1 m more: the centre of the cell
    frame = page.wait_for(lambda frame: frame["readout"][-1][0] == "building", "no building")
    east, north, building = frame["readout"]
    assert east == ["east", f"{WEST + 37:,.0f}", "m"]
    assert north == ["north", f"{SOUTH + 21:,.0f}", "m"]
    assert building == ["building", "18", "m"]
    page.tell(kind="hover", cell=[20, 18])
    frame = page.wait_for(lambda frame: len(frame["readout"]) > 3, "no values")
    speeds = {line[0]: float(line[1]) for line in frame["readout"][2:]}
    page.viewer.controls.wind_speed.value = 12.0
    frame = page.wait_for(lambda frame: "12 m/s" in frame["remarks"][0], "the wind is no other")
    doubled = {line[0]: float(line[1]) for line in frame["readout"][2:]}
    assert doubled["mean speed"] == pytest.approx(2 * speeds["mean speed"], abs=0.02)
    assert doubled["turbulence, TKE"] == pytest.approx(4 * speeds["turbulence, TKE"], abs=1e-3)


def test_a_wind_too_near_to_rough_ground_is_refused_and_the_last_one_stays(page, folder):
    open_town(page, folder / "town.geojson")
    page.viewer.controls.wind_height.value = 1.0
    frame = page.wait_for(lambda frame: "wind_height=1" in frame["message"], "not refused")
    assert "at 10 m over suburb" in frame["remarks"][0]


def test_an_edit_is_saved_as_buildings_that_open_again(page, folder):
    open_town(page, folder / "town.geojson")
    page.viewer.controls.height.value = 25.0
    page.tell(kind="brush", tool="build", points=[[20, 20]], stroke="1")
    page.tell(kind="brush", tool="clear", points=[[12, 12]], stroke="2")
    page.settle()
    page.viewer.controls.buildings.click()
    before = load_city(folder / "town.geojson")
    after = load_city(saved(folder, page, ".geojson"), like=before)
    np.testing.assert_array_equal(after.heights, page.viewer.live.state[TOPO].numpy())
    rows, columns = before.site
    assert after.heights[rows.start + 20, columns.start + 20] == 25
    assert after.heights[rows.start + 12, columns.start + 12] == 0
    assert before.heights[rows.start + 12, columns.start + 12] == 10


def test_an_edited_place_is_saved_before_it_is_left(page, folder):
    open_town(page, folder / "town.geojson")
    page.tell(kind="brush", tool="build", points=[[20, 20]], stroke="1")
    page.settle()
    heights = page.viewer.live.state[TOPO].numpy()
    page.viewer.controls.scene.value = "village/village_d000"
    kept = load_city(saved(folder, page, ".geojson"), like=load_city(folder / "town.geojson"))
    np.testing.assert_array_equal(kept.heights, heights)
    page.viewer.controls.scene.value = "town.geojson"
    page.wait_for(lambda frame: frame["corner"], "the place cannot be opened again")


def test_where_the_buildings_are_saved_stays_on_the_page_when_another_scene_is_shown(page, folder):
    open_town(page, folder / "town.geojson")
    page.settle()
    page.viewer.loop.tell("saved the buildings")
    page.viewer.loop.ask(lambda: page.viewer.stage.open("village/village_d000"))
    page.wait_for(lambda frame: frame["corner"] is None, "not opened")
    assert page.settle()["message"] == "saved the buildings"


def test_a_brush_at_the_edge_does_not_reach_the_margin_that_is_not_shown(page, folder):
    open_town(page, folder / "town.geojson")
    live = page.viewer.live
    page.viewer.controls.radius.value = 20.0
    page.settle()
    page.tell(kind="brush", tool="build", points=[[0, 0], [41, 41]], stroke="1")
    page.settle()
    built = (live.state[TOPO] != live.scene.start[TOPO]).numpy()
    assert built.any()
    built[live.scene.site] = False
    assert not built.any()


def test_faults_of_a_file_are_one_line_and_what_was_shown_stays(page, folder):
    open_town(page, folder / "town.geojson")
    (folder / "empty.geojson").write_bytes(b"")
    (folder / "letter.geojson").write_text("Dear all,\n", encoding="utf-8")
    for name, fault in (("empty", "the file is empty"), ("letter", "not a readable file")):
        page.drop(folder / f"{name}.geojson")
        frame = page.wait_for(lambda frame, f=fault: f in frame["message"], "no fault")
        assert frame["message"].startswith(f"{name}.geojson: ")
        assert "\n" not in frame["message"]
        assert page.viewer.controls.scene.value == "town.geojson"
    assert page.viewer.controls.reading.box.selected_index == 0  # what may help is unfolded


def test_what_a_file_leaves_open_can_be_said_and_is_forgotten_with_the_next_file(page, folder):
    town(missing=True).to_file(folder / "open.geojson")
    page.drop(folder / "open.geojson")
    page.wait_for(lambda frame: "default_height=" in frame["message"], "not refused")
    page.viewer.controls.reading.fields["default_height"].value = 7.0
    frame = page.wait_for(lambda frame: frame["corner"], "not read anew")
    assert frame["message"] == ""
    page.wait_for(lambda frame: frame["steps"] == STEPS, "no map")
    _, (city, *_) = page.frames[-1]
    assert (city[25:30, 14:18] == ASSUMED).all()  # cells of the third house
    assert (city == UNLIKE).any()  # around it
    open_town(page, folder / "town.geojson")
    assert page.viewer.controls.reading.fields["default_height"].value == 0


def test_a_shapefile_opens_zipped_or_by_its_parts(page, folder):
    town().to_file(folder / "shapes.shp")
    parts = sorted(folder.glob("shapes.*"))
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        for part in parts:
            archive.write(part, part.name)
    page.drop(folder / "zipped.zip")
    page.wait_for(lambda frame: frame["corner"], "not opened")
    page.drop(*parts)
    page.wait_for(lambda _: page.viewer.controls.scene.value == "shapes.shp", "not opened")
    page.drop(folder / "town.geojson", folder / "village.h5")
    page.wait_for(lambda frame: "one file of buildings" in frame["message"], "no refusal")
    assert page.refused[-1]


def test_the_names_of_files_lead_nowhere_else_and_large_ones_are_refused(page, folder):
    about = {"kind": "file", "upload": "1", "start": 0, "last": True}
    page.tell(b"x", name="../../away.geojson", size=1, **about)
    page.wait_for(lambda frame: "away.geojson" in frame["message"], "no fault")
    assert not list(folder.parent.rglob("away.geojson"))
    page.tell(b"x", name="much.gpkg", size=2**40, **about)
    page.wait_for(lambda frame: "1024.0 GB; at most 1 GB" in frame["message"], "no refusal")
    assert page.refused == [False, True]


def test_what_is_saved_of_a_place_lies_where_it_lies(page, folder):
    open_town(page, folder / "town.geojson")
    controls = page.viewer.controls
    controls.fields.click()
    with xarray.open_dataset(saved(folder, page, ".nc")) as fields:
        assert "m/s at 10 m over" in fields.attrs["comment"]
        assert (fields.x[0], fields.y[0]) == (WEST - 19, SOUTH - 19)
        assert fields.wind_from == [225]
        assert "EPSG" in fields.crs.crs_wkt
        known = page.viewer.live.scene.shown(page.viewer.live.state, page.viewer.stage.view.wind)
        air = known[GEO_MASK].numpy() > 0
        (speed,) = fields.filter_by_attrs(standard_name="wind_speed").values()
        np.testing.assert_allclose(speed[0].values[air], known[SPEED].numpy()[air])
    controls.picture.click()
    assert saved(folder, page, ".png").read_bytes().startswith(b"\x89PNG")
    controls.film.click()
    with av.open(str(saved(folder, page, ".mp4"))) as film:
        assert film.streams.video[0].height > 100


def test_a_place_may_be_a_parameter_and_several_winds_are_refused(folder):
    about = {"buildings": folder / "town.geojson", "reading": {"height_field": "height"}}
    viewer = RolloutViewer(folder, RULES, wind_from="90", **about)
    content, _ = compose(viewer.live, viewer.stage.view)
    assert content["degrees"] == 90
    assert viewer.controls.scene.value == "town.geojson"
    viewer.close()
    with pytest.raises(InputError, match="one direction"):
        RolloutViewer(folder, RULES, wind_from="0, 90", **about)
    with pytest.raises(InputError, match="roughness"):
        RolloutViewer(folder, RULES, wind=(5.0, 10.0, "moon"), **about)


def test_a_place_that_is_too_large_to_play_is_refused_with_what_to_do(page, folder):
    shape = box(WEST, SOUTH, WEST + 2900, SOUTH + 2900)
    town().to_file(folder / "town.geojson")
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    feature = {"type": "Feature", "properties": {"height": 9},
               "geometry": shape.__geo_interface__}  # fmt: skip
    collection = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (folder / "land.geojson").write_text(json.dumps(collection))
    page.drop(folder / "land.geojson")
    frame = page.wait_for(lambda frame: "too many" in frame["message"], "not refused")
    assert "site=" in frame["message"]
