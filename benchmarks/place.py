"""How long people wait for the wind over a place, and how much memory it takes.

    python -m benchmarks.place

The place is 1 km²: Vienna's Karlsplatz, 2 × 2 times, from a GeoPackage of footprints, on cells of
2 m. Each task runs in a process of its own. Time counts from after the imports; memory is the peak
of the whole process. The table goes to ``benchmarks/tables/place.csv``.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks import TABLES
from benchmarks.speed import write_csv

SIDE = 1000.0  # m
TILE = 600.0  # m, distance between two copies of the buildings
FRAMES = 300  # of the film


def write_place(path: Path) -> None:
    """Write the footprints of four Karlsplätze side by side."""
    import geopandas
    import pandas

    from pinca_lib.runs import PROJECT_ROOT

    one = geopandas.read_file(PROJECT_ROOT / "data" / "places" / "vienna_karlsplatz.geojson")
    one = one.to_crs(one.estimate_utm_crs())
    copies = []
    for x in (0, TILE):
        for y in (0, TILE):
            copies.append(one.set_geometry(one.geometry.translate(x, y)))
    pandas.concat(copies).to_file(path, driver="GPKG")


def comfort_map(path: Path, winds: int) -> str:
    """Go from footprints to a comfort map under so many winds; return what was done."""
    from pinca_lib import classify, load_climate, load_rules, predict_wind
    from pinca_lib.cities import friction_velocity

    place = square_kilometre(path)
    rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
    climate = load_climate("data/climates/chicago.csv")
    maps = predict_wind(rules, place, list(climate.sectors)[:winds])
    if winds == len(climate.sectors):
        factors = [
            friction_velocity(1.0, 10.0, 0.03, place.heights, place.grid.cell, direction).scale
            for direction in maps.wind_from
        ]
        classify(climate, maps.scaled(factors).speed, "NEN 8100")
    return shape_of(place)


def error_bars(path: Path, _: int) -> str:
    """Go from footprints to the mean of three models with error bars; return what was done."""
    from pinca_lib import load_ensemble, load_rules, predict_wind
    from pinca_lib.evaluation import mean_of

    place = square_kilometre(path)
    rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
    members, bars = load_ensemble("data/pretrained/ensemble", rules)
    mean_of([predict_wind(member, place, [270.0]) for member in members], bars)
    return shape_of(place)


def square_kilometre(path: Path):
    """Return the place of 1 km²."""
    import pyogrio

    from pinca_lib import load_city

    west, south, *_ = pyogrio.read_info(path)["total_bounds"]
    return load_city(path, site=(west, south, west + SIDE, south + SIDE))


def shape_of(place) -> str:
    """Return the cells of a place in words."""
    (rows, columns), (all_rows, all_columns) = place.site_grid.shape, place.grid.shape
    return f"{rows} × {columns} cells, {all_rows} × {all_columns} with the margin"


def film(path: Path, _: int) -> str:
    """Roll out and draw a film of 500 × 500 cells."""
    import pyogrio

    from pinca_lib import draw_film, load_city, load_rules, plotting, rollout_frames, write_film
    from pinca_lib.channels import SPEED

    west, south, *_ = pyogrio.read_info(path)["total_bounds"]
    place = load_city(path, site=(west + 300, south + 300, west + 940, south + 940), margin=180)
    rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
    planes = []
    for steps, state in rollout_frames(rules, place.states([270.0]), FRAMES):
        planes.append((steps, plotting.air_plane(state, SPEED)))
    write_film(path.with_suffix(".mp4"), draw_film(planes, None, place.extent))
    return f"{place.grid.shape[0]} × {place.grid.shape[1]} cells, {steps} steps"


TASKS: dict[str, tuple[Callable, int]] = {
    "wind from one direction": (comfort_map, 1),
    "the same by three models, with error bars": (error_bars, 0),
    "16 directions to a map of NEN 8100": (comfort_map, 16),
    f"film of {FRAMES} frames": (film, 0),
}


def measured(task: str, path: Path) -> dict:
    """Run a task and return its row."""
    import pinca_lib.plotting.figures
    import pinca_lib.rollouts.dispatch  # noqa: F401  imports are not timed

    make, argument = TASKS[task]
    began = time.perf_counter()
    about = make(path, argument)
    seconds = time.perf_counter() - began
    return {"task": task, "place": about, "seconds": round(seconds, 1), "peak_gb": peak_memory()}


def peak_memory() -> float:
    """Return the largest memory of this process so far, GB; NaN on Windows."""
    if os.name == "nt":
        return float("nan")
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2)


def main() -> None:
    """Write the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "place.gpkg"
        write_place(path)
        for task in TASKS:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                rows.append(pool.submit(measured, task, path).result())
            print(rows[-1])
    write_csv(TABLES / "place.csv", rows)


if __name__ == "__main__":
    main()
