"""Unknown HDF5 files are read first by a process of its own: no hang, no crash, no flood."""

import zlib
from pathlib import Path
from threading import Timer

import h5py
import numpy as np
import pytest
from small_cities import make_base, make_meta, make_wind, write_plain_city

from pinca_lib.datasets import first_read, hdf5
from pinca_lib.datasets.city_files import read_city, write_city
from pinca_lib.errors import InputError, InputWarning


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """A gate that knows no files."""
    monkeypatch.setattr(first_read, "RECORD", tmp_path / "cache" / "record.txt")
    monkeypatch.setattr(first_read, "_gate", first_read.Gate())
    yield first_read._gate
    first_read._gate.close()


def write_endless(path: Path) -> Path:
    """Write a city file in whose global heap, where `meta` is, HDF5 2.0 loops for ever."""
    content = bytearray(write_plain_city(path).read_bytes())
    heap = content.index(b"GCOL") + 16
    content[heap : heap + 16] = bytes(16)
    path.write_bytes(content)
    return path


def test_a_file_that_never_ends_is_refused_and_the_next_one_is_read(tmp_path, gate, monkeypatch):
    write_plain_city(tmp_path / "town.h5")
    assert read_city(tmp_path / "town.h5")
    monkeypatch.setattr(first_read, "SECONDS", 0.5)
    with pytest.raises(InputError, match=r"^endless\.h5: reading it takes longer than"):
        read_city(write_endless(tmp_path / "endless.h5"))
    monkeypatch.setattr(first_read, "SECONDS", 20.0)
    assert read_city(write_plain_city(tmp_path / "other.h5", seed=1))


def test_a_crash_is_one_line(tmp_path, gate):
    read_city(write_plain_city(tmp_path / "town.h5"))
    Timer(0.3, gate.process.process.kill).start()
    with pytest.raises(InputError, match=r"^endless\.h5: reading it crashes HDF5, so it is re"):
        read_city(write_endless(tmp_path / "endless.h5"))


def test_a_file_that_fills_the_memory_is_refused(tmp_path, gate, monkeypatch):
    with h5py.File(write_plain_city(tmp_path / "town.h5"), "r+") as file:
        del file["city_base"]
        file.create_dataset("city_base", (4, 4096, 4096), float)  # fill values, a few bytes
    monkeypatch.setattr(first_read, "MEMORY", 2**28)
    with pytest.raises(InputError, match=r"^town\.h5: reading it takes more than .* of memory"):
        read_city(tmp_path / "town.h5")


def test_a_known_file_needs_no_process_until_it_changes(tmp_path, gate, monkeypatch):
    path = write_plain_city(tmp_path / "town.h5")
    assert read_city(path)
    gate.close()
    again = first_read.Gate()
    monkeypatch.setattr(first_read, "_gate", again)
    assert read_city(path)
    assert again.process is None
    with h5py.File(path, "r+") as file:
        file["cases/town_d000/wind_field"][3] += 1
    assert read_city(path)
    assert again.process is not None
    assert len(first_read.RECORD.read_text().splitlines()) == 2
    again.close()


def test_without_a_process_files_are_read_with_a_warning(tmp_path, gate, monkeypatch):
    monkeypatch.setattr(first_read, "READY", "never said")
    with pytest.warns(InputWarning, match=r"town\.h5: the process .* cannot be started"):
        assert read_city(write_plain_city(tmp_path / "town.h5"))
    with pytest.warns(InputWarning, match=r"other\.h5: the process .* cannot be started"):
        assert read_city(write_plain_city(tmp_path / "other.h5", seed=1))
    assert not first_read.RECORD.exists()


def test_a_chunk_is_unpacked_no_further_than_the_file_states(tmp_path):
    with h5py.File(tmp_path / "town.h5", "w") as file:
        data = file.create_dataset("a", data=np.ones((4, 8, 8)), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(10**8)))
        with pytest.raises(ValueError, match="unpacks to another size than the file states"):
            hdf5.numbers(data)


def test_what_a_dataset_unpacks_to_is_limited(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        del file["city_base"]
        sizes = {"maxshape": (None,) * 3, "chunks": (16, 5000, 5000)}
        file.create_dataset("city_base", (4, 24, 24), float, **sizes)
    with pytest.raises(InputError, match=r"town\.h5: /city_base has shape .* at most 2 GB"):
        read_city(path)


@pytest.mark.parametrize("entry", ["'row_order': 'south_first'", "256.0"])
def test_a_flipped_bit_in_meta_is_noticed(tmp_path, entry):
    base = make_base(128, 128)
    meta = make_meta(128, 128, 0.0) | {"row_order": "south_first"}
    write_city(tmp_path / "town.h5", base, {"d0": (make_wind(base, 0.0), meta)})
    content = (tmp_path / "town.h5").read_bytes()
    assert content.count(entry.encode())
    changed = entry.encode()[:-2] + bytes([entry.encode()[-2] ^ 1]) + entry.encode()[-1:]
    (tmp_path / "town.h5").write_bytes(content.replace(entry.encode(), changed))
    with pytest.raises(InputError, match=r"town\.h5: case 'd0': meta does not fit meta_crc32"):
        read_city(tmp_path / "town.h5")
