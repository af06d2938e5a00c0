"""Damaged files of buildings and of climates, in the formats that people have."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import geopandas
import numpy as np
import rasterio
import trimesh
from shapely.geometry import box

from benchmarks.reliability.damage import damage
from benchmarks.reliability.trials import Ending, Process
from pinca_lib import PROJECT_ROOT

LIMIT = 60.0  # s
CRS = "EPSG:32633"
BOXES = [(0, 0, 30, 20, 12.0), (60, 10, 90, 50, 21.0), (20, 70, 50, 95, 9.0)]  # m


def damaged_file(
    random: Random, folder: Path, whole: list[Path], load: Callable[[Path], Any]
) -> Ending:
    """Load a damaged copy of one of some files: no hang, no crash, no traceback."""
    folder.mkdir(parents=True)
    path = Path(shutil.copy(random.choice(whole), folder))
    for _ in range(random.choice((1, 1, 5, 30))):
        damage(random, path)
    return Process(lambda: load(path), folder).ending(lambda _: True, LIMIT)


def write_places(folder: Path) -> list[Path]:
    """Write three houses in every format to a new folder."""
    folder.mkdir()
    outlines = [box(*(5e5 + np.array(sides[:4]))) for sides in BOXES]
    table = geopandas.GeoDataFrame({"height": [b[4] for b in BOXES]}, geometry=outlines, crs=CRS)
    for ending in ("gpkg", "fgb", "shp.zip", "geojson"):
        table.to_crs(4326).to_file(folder / f"houses.{ending}")
    heights = np.zeros((50, 50), np.float32)
    for west, south, east, north, height in BOXES:
        heights[south // 2 : north // 2, west // 2 : east // 2] = height
    for driver, ending, options in (
        ("GTiff", "tif", {"compress": "deflate"}), ("GTiff", "plain.tif", {}),
        ("GTiff", "lzw.tif", {"compress": "lzw", "tiled": True, "blockxsize": 16,
                              "blockysize": 16}),
        ("AAIGrid", "asc", {}), ("HFA", "img", {}),
    ):  # fmt: skip
        where = rasterio.transform.from_origin(5e5, 5e6, 2, 2)
        with rasterio.open(
            folder / f"houses.{ending}", "w", driver, 50, 50, 1, CRS, where, "float32", **options
        ) as file:
            file.write(heights, 1)
    np.save(folder / "houses.npy", heights)
    solids = [
        trimesh.creation.box(bounds=[(west, south, 0), (east, north, height)])
        for west, south, east, north, height in BOXES
    ]
    houses = trimesh.util.concatenate(solids)
    for ending in ("obj", "ply", "stl"):
        houses.export(folder / f"houses.{ending}")
    y_is_up = trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0))
    houses.copy().apply_transform(y_is_up).export(folder / "houses.glb")
    (folder / "houses.city.json").write_text(json.dumps(_cityjson(solids)))
    return sorted(path for path in folder.iterdir() if path.suffix not in (".prj", ".xml"))


def _cityjson(solids: list) -> dict:
    """Return houses as CityJSON, in a grid of millimetres."""
    corners, objects = [], {}
    for number, solid in enumerate(solids):
        faces = [[[int(n) + len(corners) for n in face]] for face in solid.faces]
        corners += (1000 * solid.vertices).astype(int).tolist()
        shell = {"type": "Solid", "lod": "1", "boundaries": [faces]}
        objects[f"house_{number}"] = {"type": "Building", "geometry": [shell]}
    reference = "https://www.opengis.net/def/crs/EPSG/0/7415"
    grid = {"scale": [0.001] * 3, "translate": [8e4, 4.4e5, 0.0]}
    return {
        "type": "CityJSON", "version": "2.0", "transform": grid, "vertices": corners,
        "metadata": {"referenceSystem": reference}, "CityObjects": objects,
    }  # fmt: skip


def write_climates(folder: Path) -> list[Path]:
    """Return a climate of sectors, and write two of hours to a new folder."""
    folder.mkdir()
    hours = [f"2023-01-{1 + hour // 24:02}T{hour % 24:02}:00,{hour * 37 % 360},{hour % 9}"
             for hour in range(720)]  # fmt: skip
    (folder / "hours.csv").write_text("\n".join(["time,wind_direction,wind_speed", *hours]) + "\n")
    place = "LOCATION,Town,-,AUT,Made up,110350,48.2,16.4,1.0,198.0"
    header = [place, *["COMMENTS 1,made up"] * 6, "DATA PERIODS,1,1,Data,Sunday, 1/ 1,12/31"]
    fields = [["9"] * 35 for _ in range(8760)]
    for hour, row in enumerate(fields):
        row[:5] = "2023", str(1 + hour // 730), str(1 + hour // 24 % 28), str(1 + hour % 24), "0"
        row[20:22] = str(hour * 37 % 360), str(hour % 9)
    lines = header + [",".join(row) for row in fields]
    (folder / "year.epw").write_text("\n".join(lines) + "\n")
    return [PROJECT_ROOT / "data" / "climates" / "chicago.csv", *sorted(folder.iterdir())]
