"""Large data sets: kept on disk, found again by what they were made of, and checked."""

import shutil
from collections import namedtuple
from pathlib import Path

import h5py
import pytest
import torch
from small_cities import write_plain_city

from pinca_lib.datasets import cache, dataset as datasets, parts
from pinca_lib.datasets.dataset import WindDataset, load_dataset
from pinca_lib.errors import InputError, InputWarning
from pinca_lib.evaluation import ScaledPhysicsMetrics
from pinca_lib.training import channel_units


@pytest.fixture
def in_memory(city_folder) -> WindDataset:
    return load_dataset(city_folder, 20)


@pytest.fixture
def large(in_memory, tmp_path, monkeypatch) -> Path:
    """The cache, in which every data set from now on is kept."""
    monkeypatch.setattr(cache, "LARGE", 0)
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache" / "datasets")
    return cache.FOLDER


def same(one: WindDataset, other: WindDataset) -> bool:
    tensors = ("states", "extents", "has_dwdz", "rows_stated", "turnable")
    return (
        all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)
        and (one.names, one.remarks) == (other.names, other.remarks)
        and one.fingerprint() == other.fingerprint()
    )


def test_a_large_data_set_is_read_once_and_is_the_same(city_folder, in_memory, large, monkeypatch):
    assert same(load_dataset(city_folder, 20), in_memory)
    monkeypatch.setattr(datasets, "read_city", None)  # from now on no city file can be read
    monkeypatch.setattr(datasets, "case_names", None)
    again = load_dataset(city_folder, 20)
    assert same(again, in_memory)
    (folder,) = large.iterdir()
    again.states[0, 6] += 1  # reaches the file, for it is the file
    assert (folder / "states.f32").read_bytes() == again.states.numpy().tobytes()


def test_what_looks_wrong_is_said_every_time(tmp_path, large):
    folder = tmp_path / "odd"
    folder.mkdir()
    with h5py.File(write_plain_city(folder / "town.h5"), "a") as file:
        file["cases/town_d000/wind_field"][:2] *= -1
    for _ in range(2):
        with pytest.warns(InputWarning, match="windInit goes to"):
            assert load_dataset(folder, 20).remarks


def test_another_file_or_another_grid_is_another_data_set(city_folder, in_memory, large):
    load_dataset(city_folder, 20)
    assert load_dataset(city_folder, 16).states.shape[-1] == 16
    assert load_dataset(city_folder, 20, row_order="north_first").rows_stated.all()
    shutil.copy(city_folder / "town0.h5", city_folder / "town1.h5")
    changed = load_dataset(city_folder, 20)
    assert torch.equal(changed.states[2:4], in_memory.states[:2])
    assert len(list(large.iterdir())) == 4
    write_plain_city(city_folder / "town3.h5")
    load_dataset(city_folder, 20)  # a fifth; the one that was used longest ago is deleted
    assert len(list(large.iterdir())) == cache.KEPT == 4


def test_a_file_that_cannot_be_read_is_named(city_folder):
    (city_folder / "place.h5").mkdir()
    with pytest.raises(InputError, match=r"place\.h5: not a readable HDF5 file"):
        load_dataset(city_folder)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("states.f32", flip),
        ("states.f32", lambda path: path.write_bytes(path.read_bytes()[:-4])),
        ("cases.json", flip),
        ("cases.json", lambda path: path.write_text("[]")),
        ("cases.json", lambda path: path.write_text('{"shape": ["a"], "cases": 1}')),
    ],
)
def test_a_damaged_data_set_is_read_again(city_folder, in_memory, large, name, damage):
    load_dataset(city_folder, 20)
    (path,) = large.glob(f"*/{name}")
    damage(path)
    with pytest.warns(InputWarning, match=r"states\.f32: damaged .* city files are read again"):
        assert same(load_dataset(city_folder, 20), in_memory)
    assert same(load_dataset(city_folder, 20), in_memory)
    path.unlink()
    assert same(load_dataset(city_folder, 20), in_memory)


def test_without_space_for_the_cache_a_data_set_is_read_into_memory(
    city_folder, in_memory, large, monkeypatch
):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=1000))
    with pytest.warns(InputWarning, match="has 0.0 GB free, but needs"):
        assert same(load_dataset(city_folder, 20), in_memory)
    large.parent.rename(large.parent.with_name("gone"))
    large.parent.write_text("a file")
    with pytest.warns(InputWarning, match=r"cannot be written .*read into memory"):
        assert same(load_dataset(city_folder, 20), in_memory)


def test_a_folder_that_cannot_be_used_is_refused_and_not_kept(city_folder, large):
    write_plain_city(city_folder / "wide.h5", 24, 48)
    with pytest.raises(InputError, match="the cases have grids of 24×24, 24×48 cells"):
        load_dataset(city_folder)
    assert not list(large.glob("*/states.f32"))
    with h5py.File(city_folder / "wide.h5", "a") as file:
        del file["cases/wide_d000/wind_field"]
    for _ in range(2):
        with pytest.raises(InputError, match="no simulated fields"):
            load_dataset(city_folder, 20)


def test_sizes_and_scales_of_a_data_set_in_parts_are_those_of_the_whole(in_memory, monkeypatch):
    def found() -> torch.Tensor:
        scores = ScaledPhysicsMetrics(in_memory.states, in_memory.extents)
        references = [pair for pairs in scores.references.values() for pair in pairs]
        return torch.cat([channel_units(in_memory.states), torch.stack(references)])

    whole = found()
    monkeypatch.setattr(parts, "WHOLE", 0)
    monkeypatch.setattr(parts, "PART", in_memory.states[:4].numel())
    torch.testing.assert_close(found(), whole)
