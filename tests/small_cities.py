"""Small cities that the tests write themselves, in the users' own layout."""

from pathlib import Path

import h5py
import numpy as np

from pinca_lib.channels import NAMES, WIND_FIELD

WIND_NAMES = NAMES[WIND_FIELD]


def make_base(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A few blocks of random height: (4, height, width) in float16."""
    random = np.random.default_rng(seed)
    topo = np.zeros((height, width))
    for _ in range(5):
        row, column = random.integers(0, height - 4), random.integers(0, width - 4)
        topo[row : row + 4, column : column + 4] = random.integers(4, 30)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([y, x, topo == 0, topo]).astype(np.float16)


def make_wind(base: np.ndarray, degrees: float, seed: int = 0, dwdz: bool = False) -> np.ndarray:
    """Smooth fields that obey the bounds and vanish in buildings: (7 or 8, H, W) in float16."""
    random = np.random.default_rng(seed)
    y, x, air, _ = base.astype(float)
    angle = np.deg2rad(degrees)
    u, v = (
        component * (0.5 + 0.2 * np.sin(3 * x + random.uniform(0, 6)) * np.cos(3 * y))
        for component in (np.cos(angle), np.sin(angle))
    )
    speed, tke = 1.05 * np.hypot(u, v), 0.05 + 0.02 * np.sin(4 * y)
    fields = np.stack([u, v, speed, tke, -0.3 * tke, 0.01 * x]) * air
    wind = np.ones_like(air)
    planes = np.stack([np.cos(angle) * wind, np.sin(angle) * wind, *fields])
    return planes[: 7 + dwdz].astype(np.float16)


def make_meta(height: int, width: int, degrees: float, dwdz: bool = False) -> dict:
    angle = np.deg2rad(degrees)
    return {
        "wind_dir_deg": float(degrees),
        "wind_dir_xy": (float(np.cos(angle)), float(np.sin(angle))),
        "channels": list(WIND_NAMES[: 7 + dwdz]),
        "cityHW": (2.0 * height, 2.0 * width),
    }


def write_plain_city(
    path: Path, height: int = 24, width: int = 24, degrees=(0.0,), seed: int = 0, dwdz: bool = False
) -> Path:
    """Write a city file with nothing but h5py, as users' files are made."""
    base = make_base(height, width, seed)
    with h5py.File(path, "w") as file:
        file["city_base"] = base
        for number, angle in enumerate(degrees):
            group = file.create_group(f"cases/{path.stem}_d{angle:03.0f}")
            group["wind_field"] = make_wind(base, angle, seed + number, dwdz)
            group.attrs["meta"] = str(make_meta(height, width, angle, dwdz))
    return path
