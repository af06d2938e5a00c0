"""City files: damaged ones of this project, damaged ones of others, and hostile ones."""

import hashlib
import shutil
import warnings
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from benchmarks.reliability.damage import damage
from benchmarks.reliability.trials import Ending, Process
from pinca_lib import PROJECT_ROOT, load_dataset, read_half_averages
from pinca_lib.channels import GEOMETRY, WIND_FIELD
from pinca_lib.datasets import first_read, list_cases, read_city, write_city
from pinca_lib.errors import InputWarning

SHIPPED = PROJECT_ROOT / "data" / "test" / "uniform_aligned_p32_b12.h5"
LIMIT = 90.0  # s; a file on which HDF5 hangs is given up after 20 s

METAS: tuple[Any, ...] = (
    "", "[]", "{" * 9999, "{'a': " + "-" * 6000 + "1}", "{'a': " + "1+" * 9999 + "1}",
    "__import__('os').mkdir('owned')", "{'cityHW': (1e999, 2)}", "{'cityHW': (0, 0)}",
    "{'cityHW': ('1', 2)}", "{'cityHW': (" + "9" * 5000 + ", 1)}", "{'row_order': []}",
    "{'wind_dir_deg': {}}", "{'channels': 3}", "{" + " " * 10**6 + "}", b"\xff\xfe{", 3.5,
    np.zeros((50, 50)), np.array(["{}", "{}"], h5py.string_dtype()), h5py.Empty("f4"),
    np.zeros(2, [("a", "f4")]), "{'cityHW': (" + "8" * 40 + ", 1)}", "{'a': b'" + "\\x" * 99,
)  # fmt: skip


def damaged_city(random: Random, folder: Path) -> Ending:
    """Load a damaged copy of a city file of this project: the same numbers, or an error."""
    (folder / "cities").mkdir(parents=True)
    path = folder / "cities" / SHIPPED.name
    if random.random() < 0.5:
        shutil.copy(SHIPPED, path)
    else:
        _write(path)
    expected = _loaded(path.parent)
    damage(random, path)
    return _ending(path.parent, expected)


def foreign_city(random: Random, folder: Path) -> Ending:
    """Load a damaged file of others, which has no checksums: no hang, no crash, no traceback."""
    path = _plain(random, folder)
    for _ in range(random.choice((1, 1, 5))):
        damage(random, path)
    if random.random() < 0.05 and (heap := (content := path.read_bytes()).find(b"GCOL")) >= 0:
        # HDF5 2.0 loops for ever
        path.write_bytes(content[: heap + 16] + bytes(16) + content[heap + 32 :])
    return _ending(path.parent, "")


def hostile_city(random: Random, folder: Path) -> Ending:
    """Load a file that HDF5 accepts, and that is made to do harm: always a word."""
    path = _plain(random, folder)
    with h5py.File(path, "r+") as file:
        case = next(iter(file["cases"]))
        name = random.choice(("city_base", f"cases/{case}/wind_field"))
        _spoil(random, file, name, case)
    return _ending(path.parent, "no such numbers")


def _spoil(random: Random, file: h5py.File, name: str, case: str) -> None:
    """Make a file hostile; ``name`` is the dataset in question."""
    data = file[name][:]
    what = random.randrange(10)
    if what == 0:
        file[f"cases/{case}"].attrs["meta"] = random.choice(METAS)
        return
    del file[name]
    sizes = (10**9, 3, 3), (8, 10**6, 10**6), (4, 0, 0), (8, 4097, 3), (8, 4096), (1,) * 32, ()
    kinds = np.complex64, "S8", bool, [("a", "f4")], h5py.ref_dtype, h5py.string_dtype(), np.int8
    if what == 1:
        file.create_dataset(name, random.choice(sizes), np.float32)
    elif what == 2:  # chunks of gigabytes
        chunks = (16, 4096, 4096)
        file.create_dataset(
            name, data.shape, np.float32, maxshape=(None,) * 3, chunks=chunks, compression="gzip"
        )
    elif what == 3:  # millions of chunks
        chunks = (1, 1, 1)
        file.create_dataset(name, (9, 4096, 4096), np.float32, chunks=chunks, compression="gzip")
    elif what == 4:  # a chunk that unpacks to another size than is stated
        file.create_dataset(name, data=data, chunks=data.shape, compression="gzip")
        packed = zlib.compress(bytes(random.choice((0, 1, 10**3, 10**9))))
        file[name].id.write_direct_chunk((0,) * 3, packed)
    elif what == 5:
        file.create_dataset(name, data.shape, random.choice(kinds))
    elif what == 6:
        link = h5py.ExternalLink("other.h5", name), h5py.SoftLink("/nowhere"), h5py.SoftLink(name)
        file[name] = random.choice(link)
    elif what == 7:
        file[name] = file if random.random() < 0.5 else file["cases"]
    elif what == 8:  # data that lie in another file
        secret = Path(file.filename).with_name("secret.bin")
        secret.write_bytes(bytes(data.nbytes))
        file.create_dataset(name, data.shape, data.dtype, external=[(str(secret), 0, data.nbytes)])
    else:
        data.flat[random.randrange(data.size)] = random.choice((np.nan, np.inf, -1e30, 7e4))
        file[name] = data


def _plain(random: Random, folder: Path) -> Path:
    """Write the shipped city as others do: without checksums, compressed or not."""
    (folder / "cities").mkdir(parents=True)
    path = folder / "cities" / "town.h5"
    packing = random.choice(({}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}))
    with h5py.File(SHIPPED) as old, h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("city_base", data=old["city_base"][:], **packing)
        for name, group in old["cases"].items():
            planes = group["wind_field"][:]
            file.create_dataset(f"cases/{name}/wind_field", data=planes, **packing)
            file[f"cases/{name}"].attrs["meta"] = group.attrs["meta"]
    return path


@cache
def _cases() -> list:
    return read_city(SHIPPED)


def _write(path: Path) -> None:
    """Write the shipped city with the library's own writer."""
    fields = {case.name: (case.state[WIND_FIELD], case.meta) for case in _cases()}
    write_city(path, _cases()[0].state[GEOMETRY], fields)


def _ending(folder: Path, expected: str) -> Ending:
    """Load a folder in a process, and judge what it finds; an empty ``expected`` fits all."""

    def work() -> str:
        first_read.RECORD = folder / "record.txt"
        return _loaded(folder)

    return Process(work, folder.parent).ending(lambda found: expected in ("", found), limit=LIMIT)


def _loaded(folder: Path) -> str:
    """Return the SHA-256 of all that is read of the city files of a folder."""
    dataset = load_dataset(folder)
    if dataset.remarks:
        warnings.warn(next(iter(dataset.remarks.values())), InputWarning, stacklevel=2)
    found = hashlib.sha256(dataset.fingerprint().encode())
    found.update(dataset.rows_stated.numpy().tobytes() + dataset.has_dwdz.numpy().tobytes())
    for path, name in list_cases(folder).values():
        for half in read_half_averages(path, name) or ():
            found.update(half.tobytes())
    return found.hexdigest()
