"""Edited buildings open again on the same cells, whatever the coordinates of their place."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pyproj import CRS

from pinca_lib.cities.building_files import write_buildings
from pinca_lib.cities.loading import load_city
from pinca_lib.cities.place import Grid, Place

LAMBERT = CRS.from_proj4("+proj=tmerc +lat_0=48 +lon_0=16 +ellps=GRS80 +units=m")  # without a code


def town(crs=None) -> Place:
    heights = np.zeros((300, 280), np.float32)
    heights[100:120, 90:130] = 14.2
    heights[105:110, 95:105] = 0  # a courtyard
    heights[120:128, 130:140] = 30  # touches the other in a corner
    assumed = heights == 30
    site = slice(76, 200), slice(76, 190)
    return Place("town", Grid(84652.0, 447284.0, 2.0, heights.shape), heights, assumed, site, crs)


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(28992), LAMBERT], ids=["local", "RD", "WKT"])
def test_edited_buildings_open_again_on_the_same_cells_with_their_heights(tmp_path, crs):
    before = town(crs)
    heights = before.heights.copy()
    heights[150:160, 150:170] = 9.5
    heights[100:104, 90:130] = 0
    edited = replace(before, heights=heights)
    write_buildings(tmp_path / "edited.geojson", edited, before)
    opened = load_city(tmp_path / "edited.geojson", like=before)
    np.testing.assert_array_equal(opened.heights, heights)
    alone = load_city(tmp_path / "edited.geojson")
    assert (alone.crs is None) if crs is None else alone.crs.equals(crs)
    assert built(alone) == built(edited)


def built(place) -> dict[tuple[float, float], float]:
    """Return the height of every cell that is built on, by its south-west corner."""
    south, west = place.grid.south, place.grid.west
    return {(west + 2 * column, south + 2 * row): float(place.heights[row, column])
            for row, column in np.argwhere(place.heights > 0)}  # fmt: skip


def test_what_was_built_and_what_was_assumed_can_be_told_from_what_stood(tmp_path):
    before = town()
    heights = before.heights.copy()
    heights[150:160, 150:170] = 9.5
    write_buildings(tmp_path / "edited.geojson", replace(before, heights=heights), before)
    features = json.loads((tmp_path / "edited.geojson").read_text())["features"]
    found = {each["properties"]["height"]: each["properties"] for each in features}
    assert found == {
        9.5: {"height": 9.5, "built_here": True, "height_assumed": False},
        14.2: {"height": 14.2, "built_here": False, "height_assumed": False},
        30.0: {"height": 30.0, "built_here": False, "height_assumed": True},
    }
