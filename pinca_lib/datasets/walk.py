"""What the process of its own does with a file that is not known: read all that may be read later.

This module is run by ``first_read``, and imports no more than it needs, to start soon.
"""

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from pinca_lib.datasets import hdf5
from pinca_lib.datasets.first_read import READ, READY
from pinca_lib.errors import first_line

ATTRIBUTES = ("meta", "meta_crc32")
ARRAYS = {"city_base": 3, "wind_field": 3, "half_averages": 4}  # and their dimensions


def serve() -> None:
    """Read the files whose paths come in, one a line, and say when each of them is read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    print(READY, flush=True)
    for line in sys.stdin:
        path, *array = json.loads(line)
        try:
            if array:
                copy(Path(path), *array)
            else:
                walk(Path(path))
            print(READ, flush=True)
        except Exception as error:  # the library's own read of the file says more
            print(first_line(error), flush=True)


def copy(path: Path, name: str, to: str) -> None:
    """Write an array of a file to another file, in NumPy's format."""
    with h5py.File(path, "r") as file:
        np.save(to, file[name][:])


def walk(path: Path) -> None:
    """Read all of a city file that the library may ever read; faults in it do not matter here."""
    with h5py.File(path, "r") as file:
        groups = [file]
        with suppress(*hdf5.DAMAGE):
            cases = hdf5.child(path, file, "cases", h5py.Group)
            for name in cases:
                with suppress(*hdf5.DAMAGE):
                    groups.append(hdf5.child(path, cases, name, h5py.Group))
        for group in groups:
            for name in ATTRIBUTES:
                with suppress(*hdf5.DAMAGE):
                    hdf5.text(group, name, path.name)
            for name, sides in ARRAYS.items():
                with suppress(*hdf5.DAMAGE):
                    data = hdf5.dataset(path, group, name, sides, kinds="fiu")
                    if hdf5.packed_chunks(data) is None:
                        data[:]
