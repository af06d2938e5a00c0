"""Compare the wind above the simulated cities with that of formulas for a city's roughness.

    python -m benchmarks.above_roofs

A reference wind becomes the friction velocity over a city by its roughness length and displacement
height (``pinca_lib.cities.reference_wind``). The families' simulations keep the horizontally
averaged wind of each level. ``tables/above_roofs.csv`` has, case by case, that wind at 0.6 of the
lid over the one that the formulas give for the simulation's friction velocity. Isolated buildings
and single towers are no city and left out.
"""

import math
from ast import literal_eval
from collections.abc import Iterator

import h5py
import numpy as np

from benchmarks import TABLES
from benchmarks.speed import write_csv
from pinca_lib.channels import TOPO
from pinca_lib.cities.reference_wind import (
    FIELD_FRICTION_VELOCITY,
    KAPPA,
    kanda,
    macdonald,
    morphology,
)
from pinca_lib.runs import PROJECT_ROOT

SPLITS = ("train", "train_256m", "validation", "test")
LEVEL = 0.6  # of the lid
CELL = 2.0  # m
FORMULAS = {"kanda": kanda, "macdonald": macdonald}


def ratios() -> Iterator[dict]:
    """Yield name and kind of each case with profiles, and simulated over predicted wind."""
    for split in SPLITS:
        for path in sorted((PROJECT_ROOT / "data" / split).glob("*.h5")):
            with h5py.File(path) as file:
                heights = file["city_base"][TOPO].astype(float)
                for name, case in file["cases"].items():
                    meta = literal_eval(case.attrs["meta"])
                    if "profiles" in case and meta["kind"] not in ("isolated", "towers"):
                        speed, _ = case["profiles"]
                        found = compared(speed, heights, meta["wind_dir_xy"], meta["lid"])
                        yield {"case": name, "kind": meta["kind"]} | found


def compared(
    profile: np.ndarray, heights: np.ndarray, wind: tuple[float, float], lid: float
) -> dict[str, float]:
    """Return simulated over predicted wind at ``LEVEL``, by the names of ``FORMULAS``.

    ``profile`` (K,) is the averaged wind, m/s, ``heights`` (H, W) those of the buildings, m,
    ``wind`` the unit vector along which it blows. All ground of the periodic city counts.
    """
    wind_from = (270 - math.degrees(math.atan2(wind[1], wind[0]))) % 360
    city = morphology(heights, CELL, wind_from)
    city = city._replace(plan=np.mean(heights > 0), frontal=city.exposed)
    z = LEVEL * lid
    simulated = np.interp(z, CELL * (np.arange(len(profile)) + 0.5), profile)
    found = {}
    for name, formula in FORMULAS.items():
        z0, displacement = formula(city)
        predicted = FIELD_FRICTION_VELOCITY / KAPPA * math.log((z - displacement) / z0)
        found[name] = round(float(simulated / predicted), 4)
    return found


if __name__ == "__main__":
    write_csv(TABLES / "above_roofs.csv", list(ratios()))
