"""The buildings of a city file, with or without simulated wind; see ``datasets.city_files``."""

from pathlib import Path

import h5py
import numpy as np

from pinca_lib.channels import GEO_MASK, NAMES, TOPO
from pinca_lib.cities.heights import LEAST
from pinca_lib.cities.place import Source
from pinca_lib.cities.rasters import array_source
from pinca_lib.datasets import hdf5
from pinca_lib.datasets.checks import contradictions
from pinca_lib.datasets.city_files import GEOMETRY_NAMES
from pinca_lib.datasets.meta import read_meta
from pinca_lib.errors import InputError, shown

CONTRADICTION = 0.005  # share of cells of air that may have a height


def read_simulated(path: Path, cell: float, default_height: float | None = None) -> Source:
    """Read the buildings of a city file; its wind, if it holds any, is left alone.

    Parameters
    ----------
    path : Path
    cell : float
        Side of a cell where the file does not state the size of its domain, m.
    default_height : float, optional
        Of buildings whose height the file gives as 0, m.

    Returns
    -------
    Source
        In local coordinates, the south-west corner of the file's domain at (0, 0).

    Raises
    ------
    InputError
        If the file is damaged, or its mask contradicts its heights.
    """
    with hdf5.open_file(path) as file:
        data = hdf5.dataset(path, file, "city_base", kinds="fiu")
        where = f"{path.name}: city_base"
        if data.shape[0] != len(GEOMETRY_NAMES):
            raise InputError(
                f"{where} has {data.shape[0]} channels; expected 4: {', '.join(GEOMETRY_NAMES)}"
            )
        base = hdf5.checked_array(hdf5.numbers(data), where, NAMES[: len(GEOMETRY_NAMES)])
        meta = _meta(path, file)
    air, topo = base[GEO_MASK] > 0.5, base[TOPO]
    if meta.get("row_order") == "north_first":
        air, topo = air[::-1], topo[::-1]
    heights, assumed, remarks = _consistent(path.name, air, topo, default_height)
    sides = (cell, cell)
    if "cityHW" in meta:
        height, width = meta["cityHW"]
        sides = (height / heights.shape[0], width / heights.shape[1])
    else:
        remarks += (f"The file does not state the size of its domain: cells are taken as {cell:g} "
                    "m.",)  # fmt: skip
    source = array_source(heights, sides, path.name, assumed)
    remarks += ("City files have no place on Earth: coordinates are metres from their south-west "
                "corner.",)  # fmt: skip
    return Source(source.name, source.bounds, None, source.draw, remarks)


def _consistent(
    where: str, air: np.ndarray, topo: np.ndarray, default_height: float | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return heights and assumed cells after comparing the mask with the heights."""
    flat, raised = contradictions(air, topo)
    remarks: tuple[str, ...] = ()
    if raised.mean() > CONTRADICTION:
        raise InputError(
            f"{where}: geo_mask says air in {raised.sum():,} cells where topo is {LEAST:g} m or "
            "more: expected 1 in air and 0 in buildings, and topo 0 in air. Is the mask inverted, "
            "or topo an elevation?"
        )
    if raised.any():
        remarks += (f"{raised.sum():,} cells of air have a height in topo, which is ignored.",)
    heights = np.where(air, 0, topo)
    if flat.any() and default_height is not None:
        heights = np.where(flat, np.float32(default_height), heights)
        remarks += (f"{flat.sum():,} cells of buildings have height 0 and are taken as "
                    f"{default_height:g} m high.",)  # fmt: skip
        return heights, flat, remarks
    if flat.any():
        raise InputError(
            f"{where}: {flat.sum():,} of {(~air).sum():,} cells of buildings (geo_mask 0) have "
            "height 0 in topo; expected metres. Correct them, or give default_height= in metres: "
            "they are then drawn with it and marked on the map"
        )
    return heights, flat, remarks


def _meta(path: Path, file: h5py.File) -> dict:
    """Return the ``meta`` of a file's first case, or of the file; empty if there is none."""
    group, where = file, path.name
    if hdf5.has(file, "cases") and len(cases := hdf5.child(path, file, "cases", h5py.Group)):
        name = next(iter(cases))
        group = hdf5.child(path, cases, name, h5py.Group)
        where = f"{path.name}: case {shown(name)!r}"
    return read_meta(group, where) if "meta" in group.attrs else {}
