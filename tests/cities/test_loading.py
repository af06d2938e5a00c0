"""Whatever people bring, they get a place or one line that says what is wrong and what to do."""

import importlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pinca_lib import InputError, load_city

pytest.importorskip("geopandas")
rasterio = pytest.importorskip("rasterio")
KARLSPLATZ = Path(__file__).parents[2] / "data" / "places" / "vienna_karlsplatz.geojson"


def features(*geometries, **properties) -> str:
    return json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"height": 9} | properties, "geometry": geometry}
        for geometry in geometries]})  # fmt: skip


def square(west, south, side):
    corners = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    return {"type": "Polygon", "coordinates": [[[west + x, south + y] for x, y in corners]]}


def refused(buildings, match: str, **more) -> str:
    """Return the message of the refusal, which is one line that names the file."""
    with pytest.raises(InputError, match=match) as caught:
        load_city(buildings, **more)
    message = str(caught.value)
    assert "\n" not in message
    if isinstance(buildings, Path):
        assert buildings.name in message
    return message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("town.geojson", "", "the file is empty"),
        ("town.geojson", "{", "not a readable file of footprints"),
        ("town.geojson", features(), "holds no feature"),
        ("town.geojson", features(None, None), "no geometry"),
        ("town.geojson", features({"type": "Point", "coordinates": [16, 48]}), "but Point"),
        ("town.csv", "height,owner\n3,a\n", "no layer of polygons|no geometry|without geometry"),
        ("town.shp", "nonsense", "not a readable file of footprints"),
        ("town.gpkg", "nonsense", "not a readable file of footprints"),
        ("town.zip", "nonsense", "not a readable file of footprints"),
        ("town.tif", "nonsense", "not a readable raster"),
        ("town.npy", "\x93NUMPY nonsense", "not a readable file|not a readable .npy"),
        ("town.npy", "\x93NUMPY\x01\x00\x10\x00{'descr': ((((((\n", "not a readable .npy file"),
        ("town.h5", "nonsense", "not a readable file"),
        ("town.city.json", '{"type": "Cit', "not readable JSON"),
        ("town.gml", '<?xml version="1.0"?><core:CityModel/>', "CityGML.*citygml-tools"),
        ("town.ifc", "ISO-10303-21;", "export it"),
        ("town.skp", "SketchUp", "export it"),
        ("town.json", '{"a": 1}', "not a readable file of footprints"),
        ("town.txt", "here be buildings", "not a readable file of footprints"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content, encoding="latin-1")
    refused(tmp_path / name, said)


def test_a_missing_file_lists_what_lies_beside_it(tmp_path):
    (tmp_path / "village.geojson").touch()
    refused(tmp_path / "town.geojson", "no such file; the folder holds village.geojson")
    refused(tmp_path / "nowhere" / "town.geojson", "no such file")


def test_a_folder_and_an_address_are_refused(tmp_path):
    refused(tmp_path, "is a folder")
    refused("https://example.org/town.geojson", "download")
    refused("", "expected a file of buildings")
    refused(None, "expected a file of buildings")


def test_a_file_without_permission_is_said_to_be_so(tmp_path, monkeypatch):
    path = tmp_path / "town.geojson"
    path.write_text(features(square(16, 48, 0.001)))

    def denied(self, *arguments, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused(path, "permission denied; give yourself the right")


def test_a_compression_that_is_not_installed_is_named_as_the_cause(tmp_path):
    said = "compressed by a filter that is not installed"
    with zipfile.ZipFile(tmp_path / "town.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("town.geojson", features(square(16, 48, 0.001)))
    refused(tmp_path / "town.zip", said)
    path = tmp_path / "town.tif"
    about = {"height": 64, "width": 64, "count": 1, "dtype": "float32", "crs": "EPSG:32633",
             "transform": rasterio.transform.from_origin(600000, 5300000, 2, 2)}  # fmt: skip
    with rasterio.open(path, "w", "GTiff", compress="deflate", **about) as file:
        file.write(np.ones((64, 64), np.float32), 1)
    compression = struct.pack("<HHI", 259, 3, 1)  # the tag, its type and count; then its value
    content = path.read_bytes()
    place = content.index(compression) + len(compression)
    path.write_bytes(content[:place] + struct.pack("<H", 65001) + content[place + 2 :])
    refused(path, said)
    text = json.dumps({"asset": {"version": "2.0"}, "extensionsUsed": ["EXT_meshopt_compression"]})
    (tmp_path / "town.gltf").write_text(text)
    refused(tmp_path / "town.gltf", f"{said}.*EXT_meshopt.*without compression")


def test_archives_without_or_with_several_files_say_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "town.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    refused(tmp_path / "town.zip", "holds no file of footprints.*readme.txt")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.geojson", features(square(16, 48, 0.001)))
        archive.writestr("b.geojson", features(square(16, 48, 0.001)))
    refused(tmp_path / "two.zip", "2 files of footprints")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"site": (16.371, 48.199, 0.5)}, "1 m × 1 m; expected at least 20 m"),
        ({"site": (16.371, 48.199, 16.37101, 48.19901)}, "expected at least 20 m"),
        ({"site": (48.199, 16.371, 200)}, r"x \(longitude\) before y \(latitude\)"),
        ({"site": (16.371, 174.7, 200)}, "site: 16.371, 174.7 is no longitude and latitude"),
        ({"site": (16.371, 40.0, 200)}, "no building lies in"),
        ({"site": (16.371, 48.199, 10_000)}, "20,00. m × 20,00. m.* GB .*site="),
        ({"site": "16.37,48.2"}, "expected a box"),
        ({"site": "a,b,c"}, "expected a box"),
        ({"site": (16.4, 48.2, 16.3, 48.3)}, "west must be less than east"),
        ({"site": (16.4, 48.2, -100)}, "radius"),
        ({"cell": 0}, "cell=0: expected metres"),
        ({"margin": -1}, "margin=-1: expected metres"),
        ({"default_height": 0.5}, "default_height=0.5: expected metres"),
        ({"default_height": "high"}, "default_height=high"),
        ({"terrain": KARLSPLATZ}, "terrain= goes with rasters"),
        ({"unit": "furlong"}, "unit='furlong': expected one of"),
    ],
)
def test_a_wrong_parameter_names_itself_and_its_range(more, said):
    refused(str(KARLSPLATZ), said, **more)


def test_a_file_of_a_whole_region_is_refused_with_the_memory_and_the_way_to_a_part(tmp_path):
    path = tmp_path / "region.geojson"
    path.write_text(features(square(16.3, 48.1, 0.001), square(16.6, 48.3, 0.001)))
    refused(path, "takes about .* GB .* Choose a part with site=.*from west 16.*, south 48.*")


def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch):
    def missing(name, *arguments):
        if name.split(".")[0] == "geopandas":
            raise ImportError(name)
        return real(name, *arguments)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", missing)
    refused(KARLSPLATZ, r"needs geopandas: pip install 'pinca\[places\]'")


def test_the_package_itself_imports_no_geometry_library():
    code = "import sys; from pinca_lib import load_city; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"geopandas", "pyogrio", "rasterio", "trimesh", "pyproj", "shapely"}
    assert not heavy & set(done.stdout.split())


def test_the_shipped_place_is_as_described():
    place = load_city(KARLSPLATZ)
    rows, columns = place.site_grid.shape
    assert (columns * 2, rows * 2) == pytest.approx((560, 590), abs=30)
    assert place.heights[place.heights > 0].min() >= 3
    assert place.heights.max() == 28.5
    assert not place.assumed.any()
