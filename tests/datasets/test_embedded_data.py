"""The embedded data: valid, consistent, split by geometry, and as documented."""

import csv
import runpy
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest

from pinca_lib.channels import NAMES, WIND_FIELD
from pinca_lib.datasets.city_files import read_city
from pinca_lib.runs.parameters import PROJECT_ROOT

DATA = PROJECT_ROOT / "data"
SPLITS = ("train", "train_256m", "validation", "test", "fresh")
CITIES = [path for split in SPLITS for path in sorted(DATA.glob(f"{split}/*.h5"))]
FORM_DRAG = {"suburb": 0.3, "isolated": 0.3}  # smallest share; 0.55 of other kinds
CELL = 2.0  # m


def cases(path: Path):
    """Yield name, state (12, H, W), meta and half averages of the cases in a city file.

    The half averages have shape (2, 6, H, W), and are None in the training splits.
    """
    with h5py.File(path) as file:
        for case in read_city(path):
            halves = file.get(f"cases/{case.name}/half_averages")
            assert (halves is None) == path.parent.name.startswith("train")
            halves = None if halves is None else halves[:].astype(float)
            yield case.name, case.state.astype(float), case.meta, halves


def inside(air: np.ndarray) -> np.ndarray:
    """Return the air cells whose four neighbours are air, (H, W)."""
    neighbours = [np.roll(air, shift, axis) for axis in (0, 1) for shift in (1, -1)]
    return np.logical_and.reduce([air, *neighbours])


def central(field: np.ndarray, axis: int) -> np.ndarray:
    """Return the periodic central difference along an axis, per metre."""
    return (np.roll(field, -1, axis) - np.roll(field, 1, axis)) / (2 * CELL)


@pytest.mark.parametrize("path", CITIES, ids=lambda path: path.stem)
def test_an_embedded_city_is_valid_and_keeps_every_bound(path):
    for name, state, meta, _ in cases(path):
        assert meta["channels"] == list(NAMES[WIND_FIELD]), name
        assert meta["row_order"] == "south_first"
        assert meta["cityHW"] == tuple(CELL * side for side in state.shape[1:])
        u, v, speed, energy, flux = state[6:11]
        assert (energy >= 0).all()
        assert (np.abs(flux) <= 2.25 * energy).all()
        assert (speed >= np.hypot(u, v)).all()
        air = state[2] == 1
        assert not state[6:, ~air].any()
        assert ((state[3] == 0) == air).all()
        angle = np.deg2rad(meta["wind_dir_deg"])
        np.testing.assert_allclose(state[4:6, 0, 0], [np.cos(angle), np.sin(angle)], atol=1e-3)


@pytest.mark.parametrize("path", CITIES, ids=lambda path: path.stem)
def test_the_quality_figures_can_be_recomputed_and_are_within_the_limits(path):
    for name, state, meta, halves in cases(path):
        air = state[2] == 1
        if halves is not None:
            first, second = (half[:2][:, air] for half in halves)
            first, second = (x - x.mean(1, keepdims=True) for x in (first, second))
            agreement = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
            assert meta["half_correlation"] == pytest.approx(agreement, abs=2e-3), name
        divergence = central(state[6], 1) + central(state[7], 0)
        where = inside(air)
        continuity = np.corrcoef(state[11][where], -divergence[where])[0, 1]
        assert meta["dwdz_divergence_correlation"] == pytest.approx(continuity, abs=2e-3), name
        assert continuity >= 0.85
        assert meta["form_drag_share"] >= FORM_DRAG.get(meta["kind"], 0.55)
        noise = 1.0 if meta["kind"] == "regular" else max(50 / meta["averaging_time"], 1)
        assert 1 - meta["half_correlation"] <= 1.01 * noise * 0.07  # the time is rounded
        if "stress_gap" in meta:
            assert meta["stress_gap"] <= 0.15
        else:
            assert abs(meta["stress_balance"] - 1) <= 1.01 * noise**0.5 * 0.1


def test_no_geometry_is_in_two_splits():
    def masks(split: str) -> dict[bytes, str]:
        """Return the file of each geometry, keyed by spectra that do not depend on shifts."""
        found = {}
        for path in DATA.glob(f"{split}/*.h5"):
            with h5py.File(path) as file:
                heights = file["city_base"][3]
            for turned in (np.rot90(h, k) for h in (heights, heights.T) for k in range(4)):
                spectrum = np.abs(np.fft.fft2(turned.astype(float))).round(3)
                found[spectrum.tobytes()] = path.name
        return found

    found = {split: masks(split) for split in SPLITS}
    assert all(found.values())
    for one, other in combinations(found.values(), 2):
        assert not {one[key]: other[key] for key in one.keys() & other.keys()}
    assert not [path for path in DATA.glob("train/san_francisco*")]


def test_the_files_open_in_netcdf4_and_xarray():
    """In a process of its own, because netCDF4 crashes on types that it does not know."""
    code = """if True:
        import sys, netCDF4, xarray
        def read(group):
            for variable in group.variables.values():
                assert variable[:].dtype == "float32"
            for inner in group.groups.values():
                read(inner)
        for path in sys.argv[1:]:
            with netCDF4.Dataset(path) as file:
                read(file)
        with xarray.open_datatree(sys.argv[1], engine="netcdf4") as tree:
            print(tree["city_base"].load().shape, len(tree["cases"].children))
    """
    done = subprocess.run([sys.executable, "-c", code, *CITIES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(4, 64, 64) ")


def test_all_data_together_are_small():
    assert sum(path.stat().st_size for path in CITIES) < 40e6


def test_the_table_lists_every_case_with_its_figures():
    describe = runpy.run_path(str(DATA / "make" / "describe.py"))
    with (DATA / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = describe["table"](describe["read_cases"](DATA))
    assert rows == [{key: str(value) for key, value in row.items()} for row in expected]
    assert len(rows) == sum(len(read_city(path)) for path in CITIES)


def test_files_state_their_licence_and_source():
    for path in CITIES:
        with h5py.File(path) as file:
            is_real = path.stem.startswith(("florence", "munich", "paris", "san_francisco"))
            assert file.attrs["license"] == ("ODbL-1.0" if is_real else "CC-BY-4.0")
            assert ("OpenStreetMap" in file.attrs["source"]) == is_real
