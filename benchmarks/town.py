"""How long the wind over a town takes in tiles, beside a rollout in memory, and in how much memory.

    python -m benchmarks.town [--side 10000] [--memory 6] [--folder /var/tmp/town]

The town is Vienna's Karlsplatz, side by side, as a GeoTIFF of heights; the result is a GeoTIFF of
mean speed and of what is unlike the training. Each task runs in a process of its own. Time counts
from after the imports, and the time of all cores as well, which other programs on the machine
change less; memory is the peak of the whole process. The table goes to
``benchmarks/tables/town.csv``. If it is stopped, the same command goes on where it was, and the
table counts the last try alone.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import gettempdir

import numpy as np

from benchmarks import TABLES
from benchmarks.place import peak_memory
from benchmarks.speed import write_csv

IN_MEMORY = 2000  # cells a side of the rollout that it is compared with
STEPS = 64
WIND_FROM = 240.0


def write_town(path: Path, side: int) -> None:
    """Write a raster of heights, of whole copies of a quarter as far as they go."""
    import rasterio
    from rasterio.transform import from_origin

    quarter = _quarter().heights[::-1]
    about = {
        "driver": "GTiff", "count": 1, "dtype": "float32", "height": side, "width": side,
        "crs": "EPSG:32633", "transform": from_origin(6e5, 5.34e6 + 2 * side, 2, 2), "tiled": True,
        "compress": "deflate",
    }  # fmt: skip
    columns = np.arange(side) % quarter.shape[1]
    with rasterio.open(path, "w", **about) as file:
        for first in range(0, side, 256):
            rows = np.arange(first, min(first + 256, side))
            part = quarter[np.ix_(rows % quarter.shape[0], columns)]
            file.write(part, 1, window=((rows[0], rows[-1] + 1), (0, side)))


def in_memory(folder: Path, memory: float) -> dict:
    """Roll out in memory over a part of the town."""
    from pinca_lib import load_city, predict_wind

    place = load_city(folder / "town.tif", site=(6e5, 5.34e6, *_corner(IN_MEMORY)), margin=0)
    predict_wind(_rules(), place, [WIND_FROM], STEPS)
    return _row("rollout in memory", place.grid.shape)


def in_tiles(folder: Path, memory: float) -> dict:
    """Roll out in tiles over the whole town."""
    from pinca_lib import load_city, predict_wind

    place = load_city(folder / "town.tif", margin=0)
    predict_wind(_rules(), place, [WIND_FROM], STEPS, folder / "states", memory)
    return _row("rollout in tiles", place.grid.shape)


def map_of_town(folder: Path, memory: float) -> dict:
    """Go on from the rollout, which is done, to the GeoTIFF."""
    from pinca_lib import cities, load_city, predict_wind, unlike_training
    from pinca_lib.evaluation import doubtful

    place = load_city(folder / "town.tif", margin=0)
    maps = predict_wind(_rules(), place, [WIND_FROM], STEPS, folder / "states", memory)
    friction = cities.friction_velocity(5, 10, 0.03, maps.place.heights, 2.0, WIND_FROM)
    doubts = doubtful(unlike_training(maps.place, _rules(), folder / "states"))
    layers = {"mean speed (m/s)": maps.scaled(friction.scale).speed[0], "unlike": doubts}
    cities.write_geotiff(folder / "wind.tif", maps.place, layers)
    return _row("the map after the rollout", place.grid.shape)


def _row(task: str, shape: tuple[int, int]) -> dict:
    return {"task": task, "rows": shape[0], "columns": shape[1], "peak_gb": peak_memory()}


def _quarter():
    from pinca_lib import load_city
    from pinca_lib.runs import PROJECT_ROOT

    path = PROJECT_ROOT / "data" / "places" / "vienna_karlsplatz.geojson"
    return load_city(path, margin=0)


def _corner(side: int) -> tuple[float, float]:
    return 6e5 + 2 * side, 5.34e6 + 2 * side


def _rules() -> list:
    from pinca_lib import load_rules

    return load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")


def measured(task, folder: Path, memory: float) -> dict:
    """Run a task and return its row."""
    import pinca_lib.cities.prediction  # noqa: F401  imports are not timed

    began, used = time.perf_counter(), time.process_time()
    row = task(folder, memory)
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    return row | {name: round(value, 1) for name, value in times.items()}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=10_000, help="cells a side of the town")
    parser.add_argument("--memory", type=float, default=6.0, help="GB")
    parser.add_argument("--folder", type=Path, default=Path(gettempdir()) / "town")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write_town(given.folder / "town.tif", given.side)
    rows = []
    for task in (in_memory, in_tiles, map_of_town):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows.append(pool.submit(measured, task, given.folder, given.memory).result())
        print(rows[-1], flush=True)
    write_csv(TABLES / "town.csv", rows)


if __name__ == "__main__":
    main()
