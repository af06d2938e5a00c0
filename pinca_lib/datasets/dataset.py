"""Data sets: all cases of a folder of city files in one tensor, resized to one grid.

A large data set is a file that is mapped into memory (see ``cache``).
"""

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from pinca_lib.channels import COORD_X, COORD_Y, FIELDS, GEO_MASK, PREDICTED, WIND_X, WIND_Y, U, V
from pinca_lib.datasets import cache
from pinca_lib.datasets.city_files import NOT_A_CITY, WindCase, case_names, read_city
from pinca_lib.errors import InputError, InputWarning, shown

READERS = 8  # most threads that read files; each holds one case on the grid of its file


@dataclass(frozen=True, eq=False)
class WindDataset:
    """Cases on grids of the same size.

    Attributes
    ----------
    states : Tensor of shape (N, 12, H, W), float32
        Channels 0-11 in the order and units of ``pinca_lib.channels``; the fields are zero in
        buildings.
    extents : Tensor of shape (N, 2), float32
        Height and width of each case's domain, m.
    has_dwdz : Tensor of shape (N,), bool
        Whether channel 11 was simulated. If not, it is zero everywhere.
    rows_stated : Tensor of shape (N,), bool
        Whether the row order is stated, so that y is known to increase with the row number.
    turnable : Tensor of shape (N,), bool
        Whether the case may be rotated and mirrored together with its wind, because rows, v and
        the driving wind are known to agree. This is so if the case's row order is stated and, as
        the median over the data set, the mean flow is within 45° of the driving wind. (A single
        case may deviate: in a dense quarter the mean flow can even reverse.)
    names : tuple of str
        ``city/case`` of each case.
    remarks : dict of str to str
        By ``city/case``, what looks wrong in its file; empty if nothing does.
    """

    states: Tensor
    extents: Tensor
    has_dwdz: Tensor
    rows_stated: Tensor
    turnable: Tensor
    names: tuple[str, ...]
    remarks: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, which: int | slice | str | Sequence[int]) -> "WindDataset":
        """Return the selected cases as a new data set.

        Parameters
        ----------
        which : int, slice, str or sequence of int
            Indices of cases, or the ``city/case`` of one case.

        Raises
        ------
        IndexError, KeyError
            If there is no case with that index or name.
        """
        if isinstance(which, str):
            if which not in self.names:
                raise KeyError(f"no case {which!r}; choose from: {', '.join(self.names)}")
            which = self.names.index(which)
        indices = np.atleast_1d(np.arange(len(self))[which])
        chosen = torch.from_numpy(indices)
        names = tuple(self.names[index] for index in indices)
        return WindDataset(
            states=self.states[chosen],
            extents=self.extents[chosen],
            has_dwdz=self.has_dwdz[chosen],
            rows_stated=self.rows_stated[chosen],
            turnable=self.turnable[chosen],
            names=names,
            remarks={name: self.remarks[name] for name in names if name in self.remarks},
        )

    @property
    def has_fields(self) -> Tensor:
        """Whether each case was simulated; if not, its fields are zero. Shape (N,), bool."""
        return torch.tensor([bool(state[FIELDS].numpy().any()) for state in self.states])

    def require_fields(self) -> None:
        """Check that every case was simulated.

        Raises
        ------
        InputError
            If a case has no fields.
        """
        if self.has_fields.all():
            return
        lacking = [name for name, has in zip(self.names, self.has_fields, strict=True) if not has]
        raise InputError(
            f"{lacking[0]}: no simulated fields (wind_field), as in {len(lacking)} of {len(self)} "
            "cases; training and scores need them: move such files away, or show them with "
            "notebook 03, which needs none"
        )

    @property
    def is_turnable(self) -> bool:
        """Whether all cases are ``turnable``."""
        return bool(self.turnable.all())

    @property
    def cell_sizes(self) -> Tensor:
        """Height and width of the cells of each case, m; shape (N, 2)."""
        return self.extents / torch.tensor(self.states.shape[-2:])

    def fingerprint(self) -> str:
        """Return the SHA-256 of names, extents and states; it changes if any of them changes."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for tensor in (self.extents, self.states):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().data.cast("B"))  # without a copy
        return digest.hexdigest()


def load_dataset(
    folder: Path | str,
    image_size: int | tuple[int, int] = 0,
    case: str | None = None,
    row_order: str | None = None,
) -> WindDataset:
    """Read the city files of a folder and resize all cases to one grid.

    Parameters
    ----------
    folder : Path or str
        Folder with ``<city>.h5`` files. ``GlobalMetaData.h5`` is skipped.
    image_size : int or (int, int)
        Size of the grid in cells: one number for a square, or height and width. 0 keeps the
        grids of the files, which must then all have the same size.
    case : str, optional
        Load only this case: its ``city/case``, or a part of it that occurs in no other name.
        The first case if empty.
    row_order : {"south_first", "north_first"}, optional
        Row order of the cases that do not state it; see ``city_files.read_city``.

    Returns
    -------
    WindDataset

    Raises
    ------
    InputError
        If the folder holds no city file, a file is not valid, the case does not exist,
        ``image_size`` is 0 and the grids differ in size, or, unless one case is asked for, a case
        has no simulated fields.

    Warns
    -----
    InputWarning
        If a case looks wrong. The lines are in ``WindDataset.remarks``.
    """
    if case is None:
        paths = city_paths(folder)
        key = cache.key_of(paths, image_size, row_order)
        if kept := cache.find(key):
            return _checked(_dataset(*kept))
        places = [(path, name) for path in paths for name in case_names(path)]
    else:
        listed = list_cases(folder)
        places = [listed[find_case(listed, case)]]

    def read(place: tuple[Path, str]) -> WindCase:
        path, name = place
        return read_city(path, row_order, [name])[0]

    # Each case is resized as soon as it is read, because all cases at their original size may not
    # fit in memory. Resizing uses one thread: a team of OpenMP threads would wait for the cores
    # that the readers use.
    threads = min(torch.get_num_threads(), READERS)
    with ThreadPoolExecutor(threads) as readers, threadpool_limits(1, "openmp"):
        bar = tqdm(_read_ahead(readers, read, places), desc="cases", total=len(places),
                   unit="case", delay=2)  # fmt: skip
        cases = _on_one_grid((_resized(case, image_size) for case in bar), folder)
        first = next(cases)
        cases, size = chain([first], cases), len(places) * first.state.nbytes
        if case is None and size > cache.LARGE:
            kept = cache.keep(key, size, ((read.state, list(_known(read))) for read in cases))
            if kept:
                return _checked(_dataset(*kept))
        dataset = _dataset(*_stacked(list(cases)))
    return _checked(dataset) if case is None else dataset


def _read_ahead(
    readers: ThreadPoolExecutor,
    read: Callable[[tuple[Path, str]], WindCase],
    places: Sequence[tuple[Path, str]],
) -> Iterator[WindCase]:
    """Yield the cases in order, while threads read a few that come next."""
    started: deque[Future[WindCase]] = deque()
    for place in places:
        started.append(readers.submit(read, place))
        if len(started) > READERS:
            yield started.popleft().result()
    while started:
        yield started.popleft().result()


def _on_one_grid(cases: Iterable[WindCase], folder: Path | str) -> Iterator[WindCase]:
    """Yield cases; at the end, raise an error if their grids differ."""
    sizes = set()
    for read in cases:
        sizes.add(read.state.shape[1:])
        yield read
    if len(sizes) > 1:
        grids = ", ".join(f"{height}×{width}" for height, width in sorted(sizes))
        raise InputError(
            f"{folder}: the cases have grids of {grids} cells; set image_size to resize all to "
            "one grid"
        )


def _checked(dataset: WindDataset) -> WindDataset:
    """Return a data set after checking that all its cases were simulated."""
    dataset.require_fields()
    return dataset


def load_case(path: Path, name: str, image_size: int | tuple[int, int] = 0) -> WindDataset:
    """Read one case of a city file, as a data set of one case; see ``load_dataset``.

    The case may have no simulated fields: ``WindDataset.has_fields`` says so.
    """
    (case,) = read_city(path, names=[name])
    return _dataset(*_stacked([_resized(case, image_size)]))


def _resized(case: WindCase, image_size: int | tuple[int, int]) -> WindCase:
    if not image_size:
        return case
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return replace(case, state=resize_state(torch.from_numpy(case.state), size).numpy())


class Known(NamedTuple):
    """What is known of a case beside its state."""

    name: str  # city/case
    extent: tuple[float, float]
    has_dwdz: bool
    rows_stated: bool
    agreement: float  # cosine of the angle between mean flow and driving wind
    remarks: Sequence[str]


def _known(read: WindCase) -> Known:
    flow, wind = (read.state[pair].sum((1, 2)) for pair in ([U, V], [WIND_X, WIND_Y]))
    size = np.linalg.norm(flow) * np.linalg.norm(wind)
    return Known(
        _full_name(read.city, read.name),
        read.extent,
        read.has_dwdz,
        read.row_order is not None,
        float(flow @ wind / size) if size else 0.0,
        read.remarks,
    )


def _stacked(cases: Sequence[WindCase]) -> tuple[Tensor, list[Known]]:
    """Return the states of cases as one tensor, and what else is known of them."""
    states = torch.from_numpy(np.stack([read.state for read in cases]))
    return states, [_known(read) for read in cases]


def _dataset(states: Tensor, cases: Iterable[Iterable]) -> WindDataset:
    """Return a data set, after a warning of what looks wrong in its cases."""
    known = [Known(*case) for case in cases]
    if lines := [line for case in known for line in case.remarks]:
        more = f" ({len(lines) - 1} more such lines are in `remarks`)" if len(lines) > 1 else ""
        warnings.warn(f"{lines[0]}{more}", InputWarning, stacklevel=3)
    along = bool(np.median([case.agreement for case in known]) > np.cos(np.pi / 4))
    stated = torch.tensor([case.rows_stated for case in known])
    return WindDataset(
        states=states,
        extents=torch.tensor([case.extent for case in known]),
        has_dwdz=torch.tensor([case.has_dwdz for case in known]),
        rows_stated=stated,
        turnable=stated & along,
        names=tuple(case.name for case in known),
        remarks={case.name: "; ".join(case.remarks) for case in known if case.remarks},
    )


def list_cases(folder: Path | str, lenient: bool = False) -> dict[str, tuple[Path, str]]:
    """Return where each case of a folder is stored.

    Parameters
    ----------
    folder : Path or str
        Folder with city files.
    lenient : bool
        Skip unreadable files with a warning, if at least one file can be read.

    Returns
    -------
    dict of str to (Path, str)
        For each ``city/case``, the city file and the name of the case in it.

    Raises
    ------
    InputError
        If the folder holds no city file, or a file cannot be read or has no cases.
    """
    found: dict[str, tuple[Path, str]] = {}
    errors: list[InputError] = []
    for path in city_paths(folder):
        try:
            names = case_names(path)
        except InputError as error:
            errors.append(error)
            continue
        found |= {_full_name(path.stem, name): (path, name) for name in names}
    if errors and not (lenient and found):
        raise errors[0]
    for skipped in errors:
        warnings.warn(f"skipped: {skipped}", InputWarning, stacklevel=2)
    return found


def _full_name(city: str, case: str) -> str:
    return f"{shown(city)}/{shown(case)}"


def find_case(cases: Collection[str], name: str) -> str:
    """Find a case by its name or by a part of its name.

    Parameters
    ----------
    cases : collection of str
        Names ``city/case``.
    name : str
        One of them, or a part that occurs in only one of them. The first case if empty.

    Returns
    -------
    str
        The full name.

    Raises
    ------
    InputError
        If no case matches, or more than one.
    """
    matches = [full for full in cases if name in full]
    if name in cases:
        return name
    if len(matches) == 1 or not name:
        return matches[0]
    count = "no case" if not matches else f"{len(matches)} cases"
    choice = ", ".join(matches or cases)
    raise InputError(f"parameter case={shown(name)!r} fits {count}; choose from: {choice}")


def city_paths(folder: Path | str) -> list[Path]:
    """Return the city files of a folder, sorted by name.

    Raises
    ------
    InputError
        If the folder does not exist or holds no city file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of city files (<city>.h5)")
    paths = sorted(path for path in folder.glob("[!.]*.h5") if path.name != NOT_A_CITY)
    if not paths:
        raise InputError(
            f"{folder}: no city files (<city>.h5) in this folder; to make them from raw UrbanTALES "
            "folders, run: python -m pinca_lib.urbantales RAW_FOLDER CITY_FOLDER"
        )
    return paths


def resize_state(state: Tensor, size: Sequence[int]) -> Tensor:
    """Resample a state to another grid.

    Air mask, building heights and driving wind take the value of the nearest cell. Coordinates
    are interpolated such that their first and last values stay. The fields and dw/dz are
    interpolated bilinearly (averaged if the new grid is coarser) and set to zero in buildings.
    All weights are positive and sum to one, so the convex bounds still hold afterwards:
    TKE >= 0, |flux| <= alpha TKE, speed >= |(u, v)|.

    Parameters
    ----------
    state : Tensor of shape (12, H, W)
        In the units of ``pinca_lib.channels``; not changed.
    size : (height, width)
        New size in cells.

    Returns
    -------
    Tensor of shape (12, height, width)
        The same object if the size does not change.
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
