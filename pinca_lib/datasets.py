"""Data sets: a folder of city files as one tensor, at one size, with each case's extent."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from pinca_lib.channels import COORD_X, COORD_Y, GEO_MASK, PREDICTED
from pinca_lib.cityfiles import NOT_A_CITY, case_names, read_city
from pinca_lib.errors import InputError, shown


@dataclass(frozen=True)
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
    names : tuple of str
        ``city/case`` of each.
    """

    states: Tensor
    extents: Tensor
    has_dwdz: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

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
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    found = {path: None for path in city_paths(folder)}
    if case is not None:
        path, name = _find_case(list_cases(folder), case)
        found = {path: [name]}
    # Each file's cases are resized as they are read: the raw ones may not fit memory together.
    cases = [
        replace(read, state=_resized(read.state, size) if image_size else read.state)
        for path, names in tqdm(found.items(), desc="city files", unit="file", delay=2)
        for read in read_city(path, row_order, names)
    ]
    sizes = {found.state.shape[1:] for found in cases}
    if len(sizes) > 1:
        listed = ", ".join(f"{height}×{width}" for height, width in sorted(sizes))
        raise InputError(f"{folder}: grids of {listed} cells; set image_size to bring all to one")
    return WindDataset(
        states=torch.from_numpy(np.stack([found.state for found in cases])),
        extents=torch.tensor([found.extent for found in cases]),
        has_dwdz=torch.tensor([found.has_dwdz for found in cases]),
        names=tuple(_full_name(read.city, read.name) for read in cases),
    )


def _resized(state: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return resize_state(torch.from_numpy(state), size).numpy()


def list_cases(folder: Path | str) -> dict[str, tuple[Path, str]]:
    """Return the file and the name in it of every case of a folder, by ``city/case``.

    Raises
    ------
    InputError
        If the folder holds no city file, or one of them has no cases.
    """
    return {
        _full_name(path.stem, name): (path, name)
        for path in city_paths(folder)
        for name in case_names(path)
    }


def _full_name(city: str, case: str) -> str:
    return f"{shown(city)}/{shown(case)}"


def _find_case(cases: dict[str, tuple[Path, str]], name: str) -> tuple[Path, str]:
    """Return the case of that name, the only one that contains it, or the first if it is empty."""
    fitting = [full for full in cases if name in full]
    if name in cases or len(fitting) == 1 or not name:
        return cases[name if name in cases else fitting[0]]
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
