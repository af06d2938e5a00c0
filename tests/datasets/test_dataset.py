"""Data sets: many city files, resized to one grid."""

import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from small_cities import make_base, make_meta, make_wind, write_plain_city

from pinca_lib.datasets import dataset as datasets
from pinca_lib.datasets.city_files import read_city, write_city
from pinca_lib.datasets.dataset import list_cases, load_case, load_dataset, resize_state
from pinca_lib.errors import InputError, InputWarning


def test_all_cases_are_loaded_in_order_and_the_metadata_file_is_skipped(city_folder):
    dataset = load_dataset(city_folder, 24)
    assert dataset.names == tuple(f"town{i}/town{i}_d{a}" for i in range(3) for a in ("000", "045"))
    assert dataset.states.shape == (6, 12, 24, 24)
    assert dataset.has_dwdz.tolist() == [True, True, False, False, False, False]
    assert (dataset.extents == 48).all()


def test_cases_that_are_read_in_parallel_equal_cases_that_are_read_alone(tmp_path):
    degrees = np.arange(0.0, 360.0, 15.0)
    path = write_plain_city(tmp_path / "town.h5", 90, 70, degrees)
    dataset = load_dataset(tmp_path, 48)
    for name, state in zip(dataset.names, dataset.states, strict=True):
        alone = load_case(path, name.removeprefix("town/"), 48)
        assert (state == alone.states[0]).all()
    assert len(dataset) == len(degrees)


def test_an_interruption_between_two_cases_stops_the_readers(tmp_path, monkeypatch):
    write_plain_city(tmp_path / "town.h5", degrees=np.arange(0.0, 360.0, 2.0))
    read = []

    def slowly(*given):
        read.append(given)
        time.sleep(0.01)
        return read_city(*given)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "read_city", slowly)
    monkeypatch.setattr(datasets, "resize_state", stop)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(tmp_path, 16)
    assert len(read) < 90


def test_cities_of_odd_and_different_sizes_are_resized_to_one_grid(tmp_path):
    write_plain_city(tmp_path / "a.h5", 37, 51)
    write_plain_city(tmp_path / "b.h5", 90, 23)
    dataset = load_dataset(tmp_path, 32)
    assert dataset.states.shape == (2, 12, 32, 32)
    assert dataset.extents.tolist() == [[74.0, 102.0], [180.0, 46.0]]
    with pytest.raises(InputError, match=r"37×51, 90×23.*image_size"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, case="b").states.shape == (1, 12, 90, 23)


@pytest.mark.parametrize("size", [(16, 16), (45, 31), (64, 80)])
def test_resizing_keeps_masks_coordinates_means_and_bounds(size):
    base = make_base(32, 40)
    state = torch.from_numpy(np.concatenate([base, make_wind(base, 30, dwdz=True)])).float()
    resized = resize_state(state, size)
    assert resized.shape == (12, *size)
    assert set(resized[2].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(resized[3] > 0, resized[2] == 0)
    for axis, channel in ((0, 0), (1, 1)):
        ramp = torch.linspace(-1, 1, size[axis])
        line = resized[channel].mean(1 - axis)
        torch.testing.assert_close(line, ramp, atol=1e-3, rtol=0)
    assert not resized[6:, resized[2] == 0].any()
    assert resized[6:11].mean() == pytest.approx(state[6:11].mean().item(), rel=0.1)
    assert (resized[9] >= 0).all()
    assert (resized[10].abs() <= 2.25 * resized[9] + 1e-7).all()
    assert (resized[8] >= torch.hypot(resized[6], resized[7]) - 1e-6).all()


def test_a_case_is_found_by_its_name_or_by_a_unique_part_of_it(city_folder):
    assert load_dataset(city_folder, case="town1/town1_d045").names == ("town1/town1_d045",)
    assert load_dataset(city_folder, case="2_d000").names == ("town2/town2_d000",)
    assert load_dataset(city_folder, case="").names == ("town0/town0_d000",)
    with pytest.raises(InputError, match="fits 2 cases; choose from: town1/"):
        load_dataset(city_folder, case="town1")
    with pytest.raises(InputError, match="fits no case"):
        load_dataset(city_folder, case="Atlantis")


def test_the_fingerprint_changes_if_and_only_if_the_data_change(city_folder):
    fingerprint = load_dataset(city_folder, 24).fingerprint()
    dataset = load_dataset(city_folder, 24)
    assert dataset.fingerprint() == fingerprint
    dataset.states[3, 8, 5, 5] += 1e-3
    assert dataset.fingerprint() != fingerprint


def test_the_error_of_a_folder_without_cities_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no city files.*pinca_lib\.urbantales"):
        load_dataset(tmp_path, 24)
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(tmp_path / "missing", 24)


def test_one_broken_file_is_an_error_of_the_whole_folder(city_folder):
    (city_folder / "ruin.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"ruin\.h5"):
        load_dataset(city_folder, 24)


def test_hidden_files_are_skipped(city_folder):
    (city_folder / "._town0.h5").write_bytes(b"of macOS")
    assert len(load_dataset(city_folder)) == 6


@pytest.mark.filterwarnings("ignore::pinca_lib.errors.InputWarning")
def test_cases_are_turnable_where_rows_are_stated_and_the_flow_follows_the_wind(tmp_path):
    base = make_base(16, 16)
    said = {"row_order": "south_first"}
    for name, meta, is_swapped in (
        ("plain", {}, False),
        ("said", said, False),
        ("odd", said, True),
    ):
        folder = tmp_path / name
        folder.mkdir()
        cases = {}
        for degrees in (0, 90, 120):
            wind = make_wind(base, degrees)
            if is_swapped:  # (sin, cos), as in the experiment's own files
                wind[:2] = wind[1::-1]
            cases[f"d{degrees}"] = wind, make_meta(16, 16, degrees) | meta
        write_city(folder / "town.h5", base, cases)
        found = load_dataset(folder, 16)
        assert found.turnable.tolist() == [name == "said"] * 3, name
        assert found.is_turnable == (name == "said")
        assert not replace(found, turnable=torch.tensor([True, False, True])).is_turnable
    assert load_dataset(tmp_path / "plain", 16, row_order="north_first").turnable.all()


def test_cases_without_fields_are_shown_but_not_trained_on(tmp_path):
    write_plain_city(tmp_path / "town.h5")
    path = write_plain_city(tmp_path / "village.h5")
    with h5py.File(path, "r+") as file:
        del file["cases/village_d000/wind_field"]
    assert not load_dataset(tmp_path, case="village").has_fields.any()
    case = load_case(path, "village_d000", 16)
    with pytest.raises(InputError, match=r"village/village_d000: no simulated fields .*1 of 1"):
        case.require_fields()
    with pytest.raises(InputError, match=r"village/village_d000: no simulated fields .*1 of 2"):
        load_dataset(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["cases"]
    assert len(list_cases(tmp_path)) == 1 + 8
    with pytest.warns(InputWarning, match="no cityHW"):
        assert not load_dataset(tmp_path, case="wind_from_270").has_fields.any()
