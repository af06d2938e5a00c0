"""Buildings of CityJSON stand above their own ground, at their finest level of detail."""

import json
from pathlib import Path

import numpy as np
import pytest

from pinca_lib import InputError, load_city

pytest.importorskip("shapely")

WEST, SOUTH = 85_000.0, 447_000.0


class Writer:
    """Collects vertices and objects of a city."""

    def __init__(self):
        self.vertices, self.objects = [], {}

    def ring(self, *points):
        first = len(self.vertices)
        self.vertices += points
        return list(range(first, first + len(points)))

    def solid(self, west, south, east, north, low, high, lod="2.2", kind="Solid"):
        """A box as a solid, a multi-solid or bare surfaces."""
        corners = [(west, south), (east, south), (east, north), (west, north)]
        faces = [[self.ring(*((x, y, z) for x, y in corners))] for z in (low, high)]
        for (xa, ya), (xb, yb) in zip(corners, corners[1:] + corners[:1], strict=True):
            faces.append([self.ring((xa, ya, low), (xb, yb, low), (xb, yb, high), (xa, ya, high))])
        boundaries = {"Solid": [faces], "MultiSolid": [[faces]], "CompositeSolid": [[faces]]}
        return {"type": kind, "lod": lod, "boundaries": boundaries.get(kind, faces)}

    def add(self, name, *geometries, kind="Building", **more):
        self.objects[name] = {"type": kind, "geometry": list(geometries), **more}

    def city(self, version="2.0", system="https://www.opengis.net/def/crs/EPSG/0/7415"):
        scaled = np.round(np.array(self.vertices, float) / 0.001).astype(int).tolist()
        return {
            "type": "CityJSON", "version": version, "CityObjects": self.objects,
            "vertices": scaled, "metadata": {"referenceSystem": system},
            "transform": {"scale": [0.001] * 3, "translate": [WEST, SOUTH, 40.0]},
        }  # fmt: skip


def town() -> Writer:
    """A hall in the south-west; in the north-east, 20 m higher, a tower of two parts; a road."""
    made = Writer()
    made.add("hall", made.solid(0, 0, 60, 40, 0, 12, "1"), made.solid(0, 0, 60, 40, 0, 13, "2.2"),
             made.solid(0, 0, 60, 40, 0, 90, "0"))  # fmt: skip
    made.add("tower", children=["low", "high"])
    made.add("low", made.solid(160, 160, 200, 200, 20, 30), kind="BuildingPart", parents=["tower"])
    made.add("high", made.solid(180, 180, 200, 200, 30, 50, kind="MultiSurface"),
             kind="BuildingPart", parents=["tower"])  # fmt: skip
    made.add("road", made.solid(-500, 60, 500, 100, 0, 99), kind="Road")
    return made


def written(folder: Path, content, name="town.city.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_heights_are_above_the_ground_of_each_building_and_roads_are_none(tmp_path):
    place = load_city(written(tmp_path, town().city()))
    assert place.crs.to_epsg() == 28992
    counts = {height: (place.heights == height).sum() * 4 for height in (13, 10, 30)}
    assert counts == {13: 60 * 40, 10: 40 * 40 - 20 * 20, 30: 20 * 20}
    assert (place.heights > 0).sum() * 4 == 60 * 40 + 40 * 40
    rows, columns = np.nonzero(place.heights == 30)
    west = place.grid.west + columns.min() * place.grid.cell
    south = place.grid.south + rows.min() * place.grid.cell
    assert (west, south) == pytest.approx((WEST + 180, SOUTH + 180), abs=1)


@pytest.mark.parametrize("kind", ["Solid", "MultiSolid", "MultiSurface", "CompositeSurface"])
@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_all_kinds_of_geometry_are_read(tmp_path, kind, version):
    made = Writer()
    made.add("hall", made.solid(0, 0, 60, 40, 5, 17, kind=kind))
    place = load_city(written(tmp_path, made.city(version), "town.json"))
    assert (place.heights == 12).sum() * 4 == 60 * 40


def test_a_roof_with_a_courtyard_and_corners_is_cut_along_them(tmp_path):
    made = Writer()
    walls = made.solid(0, 0, 10, 10, 0, 1, kind="MultiSurface")
    outline = made.ring((0, 0, 9), (80, 0, 9), (80, 40, 9), (40, 40, 9), (40, 80, 9), (0, 80, 9))
    hole = made.ring((10, 10, 9), (10, 30, 9), (30, 30, 9), (30, 10, 9))
    walls["boundaries"].append([outline, hole])
    made.add("hall", walls)
    place = load_city(written(tmp_path, made.city()))
    assert (place.heights == 9).sum() * 4 == 80 * 80 - 40 * 40 - 20 * 20


def test_a_sloping_roof_has_its_height_at_every_cell(tmp_path):
    made = Writer()
    roof = made.ring((0, 0, 4), (40, 0, 4), (40, 40, 24), (0, 40, 24))
    floor = made.ring((0, 0, 0), (40, 0, 0), (40, 40, 0), (0, 40, 0))
    made.add("shed", {"type": "MultiSurface", "lod": "2", "boundaries": [[roof], [floor]]})
    place = load_city(written(tmp_path, made.city()))
    built = place.heights[:, (place.heights > 0).any(axis=0)]
    along = built[(built > 0).any(axis=1)].mean(axis=1)
    np.testing.assert_allclose(along, 4 + 0.5 * (np.arange(20) * 2 + 1), atol=1e-3)


def test_degrees_are_projected(tmp_path):
    made = Writer()
    made.add("hall", made.solid(0, 0, 60, 40, 0, 12))
    city = made.city(system="https://www.opengis.net/def/crs/EPSG/0/4979")
    city["transform"] = {"scale": [1e-8, 1e-8, 0.001], "translate": [16.37, 48.2, 0]}
    place = load_city(written(tmp_path, city))  # 60,000 × 1e-8 degrees: 44 m × 44 m
    assert place.crs.to_epsg() == 32633
    assert (place.heights > 0).sum() * 4 == pytest.approx(44.6 * 44.5, rel=0.1)


def test_a_text_sequence_is_read(tmp_path):
    first = town().city()
    other = Writer()
    other.add("annex", other.solid(80, 0, 100, 20, 0, 7))
    feature = {"type": "CityJSONFeature", "id": "annex", "CityObjects": other.objects,
               "vertices": other.city()["vertices"]}  # fmt: skip
    lines = f"{json.dumps(first)}\n{json.dumps(feature)}\n"
    place = load_city(written(tmp_path, lines, "town.city.jsonl"))
    assert (place.heights == 7).sum() * 4 == 20 * 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda city: city["CityObjects"].clear(), "no building"),
        (lambda city: city.pop("vertices"), "vertices|CityJSON"),
        (lambda city: city.pop("CityObjects"), "CityObjects"),
        (lambda city: city["vertices"].__delitem__(slice(4, None)), "not valid CityJSON"),
        (lambda city: city["metadata"].update(referenceSystem="EPSG:nix"), "coordinate system"),
        (lambda city: city["CityObjects"]["hall"].update(geometry=5), "not valid CityJSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, change, said):
    city = town().city()
    change(city)
    with pytest.raises(InputError, match=said) as caught:
        load_city(written(tmp_path, city))
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_said_to_be_so(tmp_path):
    text = json.dumps(town().city())
    with pytest.raises(InputError, match="truncated"):
        load_city(written(tmp_path, text[: len(text) // 2]))
