"""Data sets: a folder of city files as one tensor, at one size, with each case's extent."""

import hashlib
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from pinca_lib.channels import COORD_X, COORD_Y, GEO_MASK, PREDICTED, WIND_X, WIND_Y, U, V
from pinca_lib.datasets.city_files import NOT_A_CITY, WindCase, case_names, read_city
from pinca_lib.errors import InputError, shown

READERS = 8  # threads at most, each of which holds a raw case


@dataclass(frozen=True, eq=False)
class WindDataset:
    """Cases of one size.

    Attributes
    ----------
    states : Tensor of shape (N, 12, H, W), float32
        Channels 0-11 (``pinca_lib.channels``), the fields zero in buildings.
    extents : Tensor of shape (N, 2), float32
        Height and width of each case's domain, m.
    has_dwdz : Tensor of shape (N,), bool
        Whether channel 11 was simulated; elsewhere it is zero.
    rows_stated : Tensor of shape (N,), bool
        Whether it is known that the rows run the way in which v is positive.
    turnable : Tensor of shape (N,), bool
        Whether rows, v and the driving wind are known to agree, so that directions and mirror
        images mean what they should: the case's row order is stated, and in most cases of the set
        the mean flow lies within 45° of the wind (in a dense quarter it may even turn back).
    names : tuple of str
        ``city/case`` of each.
    """

    states: Tensor
    extents: Tensor
    has_dwdz: Tensor
    rows_stated: Tensor
    turnable: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, which: int | slice | str | Sequence[int]) -> "WindDataset":
        """Return chosen cases, as a data set of their own.

        Parameters
        ----------
        which : int, slice, str or sequence of int
            Numbers of cases, or the ``city/case`` of one.

        Raises
        ------
        IndexError, KeyError
            If there is no case of that number or name.
        """
        if isinstance(which, str):
            if which not in self.names:
                raise KeyError(f"no case {which!r}; choose from: {', '.join(self.names)}")
            which = self.names.index(which)
        numbers = np.atleast_1d(np.arange(len(self))[which])
        chosen = torch.from_numpy(numbers)
        return WindDataset(
            states=self.states[chosen],
            extents=self.extents[chosen],
            has_dwdz=self.has_dwdz[chosen],
            rows_stated=self.rows_stated[chosen],
            turnable=self.turnable[chosen],
            names=tuple(self.names[number] for number in numbers),
        )

    @property
    def is_turnable(self) -> bool:
        """Whether all cases are ``turnable``."""
        return bool(self.turnable.all())

    @property
    def cell_sizes(self) -> Tensor:
        """Height and width of a cell of each case, m: (N, 2)."""
        return self.extents / torch.tensor(self.states.shape[-2:])

    def fingerprint(self) -> str:
        """Return a SHA-256 over names, extents and fields: equal for equal data only."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for tensor in (self.extents, self.states):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def load_dataset(
    folder: Path | str,
    image_size: int | tuple[int, int] = 0,
    case: str | None = None,
    row_order: str | None = None,
) -> WindDataset:
    """Read every city file of a folder and bring all cases to one size.

    Parameters
    ----------
    folder : Path or str
        Holds ``<city>.h5`` files; a ``GlobalMetaData.h5`` is passed over.
    image_size : int or (int, int)
        Cells of the target grid: one number for a square, or height and width; 0 keeps the
        cases' own grid, which must then be the same for all.
    case : str, optional
        Take this case alone: its ``city/case``, or a part that no other contains; the first of
        all if empty.
    row_order : {"south_first", "north_first"}, optional
        Row order of the cases that do not state it; see ``cityfiles.read_city``.

    Raises
    ------
    InputError
        If the folder holds no city file, one of them is unsound, the case is not there, or the
        sizes differ and none is given.
    """
    if case is None:
        places = [(path, name) for path in city_paths(folder) for name in case_names(path)]
    else:
        listed = list_cases(folder)
        places = [listed[find_case(listed, case)]]

    def read(place: tuple[Path, str]) -> WindCase:
        path, name = place
        return read_city(path, row_order, [name])[0]

    # Cases are resized as they come, since all together the raw ones may not fit memory, and by
    # one thread, since a team of OpenMP's would wait for cores in the readers' way.
    threads = min(torch.get_num_threads(), READERS)
    with (
        ThreadPoolExecutor(threads) as readers,
        threadpool_limits(1, "openmp"),
        closing(readers.map(read, places)) as raw,  # so that Ctrl-C stops the readers, too
    ):
        bar = tqdm(raw, desc="cases", total=len(places), unit="case", delay=2)
        cases = [_resized(case, image_size) for case in bar]
    sizes = {found.state.shape[1:] for found in cases}
    if len(sizes) > 1:
        listed = ", ".join(f"{height}×{width}" for height, width in sorted(sizes))
        raise InputError(f"{folder}: grids of {listed} cells; set image_size to bring all to one")
    return _stacked(cases)


def load_case(path: Path, name: str, image_size: int | tuple[int, int] = 0) -> WindDataset:
    """Read one case of a city file; see ``load_dataset``."""
    (case,) = read_city(path, names=[name])
    return _stacked([_resized(case, image_size)])


def _resized(case: WindCase, image_size: int | tuple[int, int]) -> WindCase:
    if not image_size:
        return case
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return replace(case, state=resize_state(torch.from_numpy(case.state), size).numpy())


def _stacked(cases: Sequence[WindCase]) -> WindDataset:
    return WindDataset(
        states=torch.from_numpy(np.stack([read.state for read in cases])),
        extents=torch.tensor([read.extent for read in cases]),
        has_dwdz=torch.tensor([read.has_dwdz for read in cases]),
        rows_stated=torch.tensor([read.row_order is not None for read in cases]),
        turnable=_turnable(cases),
        names=tuple(_full_name(read.city, read.name) for read in cases),
    )


def _turnable(cases: Sequence[WindCase]) -> Tensor:
    agreement = []
    for read in cases:
        flow, wind = (read.state[pair].sum((1, 2)) for pair in ([U, V], [WIND_X, WIND_Y]))
        size = np.linalg.norm(flow) * np.linalg.norm(wind)
        agreement.append(flow @ wind / size if size else 0.0)
    along = np.median(agreement) > np.cos(np.pi / 4)
    return torch.tensor([bool(along) and read.row_order is not None for read in cases])


def list_cases(folder: Path | str, lenient: bool = False) -> dict[str, tuple[Path, str]]:
    """Return the file and the name in it of every case of a folder, by ``city/case``.

    Parameters
    ----------
    folder : Path or str
    lenient : bool
        Pass unreadable files over with a warning, if there are others.

    Raises
    ------
    InputError
        If the folder holds no city file, or one of them has no cases.
    """
    found, errors = {}, []
    for path in city_paths(folder):
        try:
            names = case_names(path)
        except InputError as error:
            errors.append(error)
            continue
        found |= {_full_name(path.stem, name): (path, name) for name in names}
    if errors and not (lenient and found):
        raise errors[0]
    for error in errors:
        warnings.warn(f"passed over: {error}", stacklevel=2)
    return found


def _full_name(city: str, case: str) -> str:
    return f"{shown(city)}/{shown(case)}"


def find_case(cases: Collection[str], name: str) -> str:
    """Return the case of that name, the only one that contains it, or the first if it is empty.

    Raises
    ------
    InputError
        If none fits, or more than one.
    """
    fitting = [full for full in cases if name in full]
    if name in cases:
        return name
    if len(fitting) == 1 or not name:
        return fitting[0]
    what = "no case" if not fitting else f"{len(fitting)} cases"
    choice = ", ".join(fitting or cases)
    raise InputError(f"parameter case={shown(name)!r} fits {what}; choose from: {choice}")


def city_paths(folder: Path | str) -> list[Path]:
    """Return the city files of a folder, sorted by name.

    Raises
    ------
    InputError
        If there is no such folder, or no city file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of city files (<city>.h5)")
    paths = sorted(path for path in folder.glob("[!.]*.h5") if path.name != NOT_A_CITY)
    if not paths:
        raise InputError(
            f"{folder}: no city files (<city>.h5) in this folder; to make them of raw UrbanTALES "
            "folders, run: python -m pinca_lib.urbantales RAW_FOLDER CITY_FOLDER"
        )
    return paths


def resize_state(state: Tensor, size: Sequence[int]) -> Tensor:
    """Resample a state of shape (12, H, W) to (12, *size).

    Mask, heights and wind take the nearest cell, coordinates keep their ends, and the fields
    are interpolated bilinearly (averaged where the grid gets coarser) and set to zero in
    buildings. Weights are positive and sum to one, so every convex bound survives: TKE >= 0,
    |flux| <= alpha TKE, speed >= |(u, v)|.
    """
    size = tuple(size)
    if tuple(state.shape[-2:]) == size:
        return state
    resized = state.new_empty(state.shape[0], *size)
    coordinates, nearest = slice(COORD_Y, COORD_X + 1), slice(GEO_MASK, PREDICTED.start)
    resized[coordinates] = F.interpolate(
        state[None, coordinates], size, mode="bilinear", align_corners=True)[0]  # fmt: skip
    resized[nearest] = F.interpolate(state[None, nearest], size, mode="nearest-exact")[0]
    resized[PREDICTED] = F.interpolate(
        state[None, PREDICTED], size, mode="bilinear", antialias=True)[0]  # fmt: skip
    resized[PREDICTED] *= resized[GEO_MASK]
    return resized
