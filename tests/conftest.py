"""Fixtures that tests of several rooms share."""

from pathlib import Path

import h5py
import pytest
from small_cities import write_plain_city

from pinca_lib.datasets import WindDataset, cache, first_read, load_dataset


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the files of the tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    first_read.RECORD, cache.FOLDER = folder / "record.txt", folder / "datasets"


@pytest.fixture
def city_folder(tmp_path: Path) -> Path:
    """A folder of three cities of 24×24 cells, with a metadata file that is no city."""
    folder = tmp_path / "cities"
    folder.mkdir()
    for seed in range(3):
        write_plain_city(folder / f"town{seed}.h5", degrees=(0.0, 45.0), seed=seed, dwdz=seed == 0)
    with h5py.File(folder / "GlobalMetaData.h5", "w") as file:
        file["anything"] = 1
    return folder


@pytest.fixture
def dataset(city_folder: Path) -> WindDataset:
    """The cases of these cities in one data set."""
    return load_dataset(city_folder, 24)
