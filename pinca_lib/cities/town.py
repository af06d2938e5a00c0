"""The wind over a town: a place too large for memory, rolled out in tiles over heights in Zarr."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pinca_lib.automaton import CA
from pinca_lib.channels import PREDICTED
from pinca_lib.cities.place import Place, towards
from pinca_lib.errors import InputError, needed
from pinca_lib.rollouts.tiles import rollout_in_tiles
from pinca_lib.rollouts.tiling import choose_tiling

MEMORY = 6.0  # GB


def town_fields(
    rules: Sequence[CA],
    place: Place,
    wind_from: Sequence[float],
    steps: int,
    folder: Path | str,
    memory: float,
) -> tuple[Place, Any]:
    """Roll the wind out over a town, for each direction.

    Parameters are those of ``predict_wind``.

    Returns
    -------
    place : Place
        The town with its heights in ``folder``.
    fields : dask.array.Array of shape (N, 6, h, w), float32
        Channels 6-11 on the site, NaN in buildings.
    """
    if not str(folder):
        height, width = place.grid.shape
        raise InputError(
            f"{place.name}: a town of {width:,} × {height:,} cells is rolled out in tiles; give a "
            "folder for its states with folder="
        )
    for library in ("dask.array", "zarr"):
        needed(library, "the wind over a town", "cluster")
    import dask.array

    folder = Path(folder)
    place = replace(place, heights=stored(place.heights, folder / "heights.zarr", "heights"))
    air = place.on_site(place.heights) == 0
    fields = []
    for direction in wind_from:
        base, title = base_of_town(place, direction), f"wind from {direction:g}°"
        tiling = choose_tiling(rules, base, steps, memory)
        where = folder / f"from_{direction:g}"
        after = rollout_in_tiles(rules, base, steps, where, tiling, PREDICTED, title)
        fields.append(dask.array.where(air, place.on_site(after), np.float32(np.nan)))
    return place, dask.array.stack(fields)


def stored(plane: Any, path: Path, title: str) -> Any:
    """Compute a Dask array part by part into Zarr; return the array that reads it from there."""
    needed("zarr", "keeping the planes of a town", "cluster")
    import dask.array
    from tqdm.dask import TqdmCallback

    path.parent.mkdir(parents=True, exist_ok=True)
    with TqdmCallback(desc=title, unit="part", delay=2):
        plane.to_zarr(path, overwrite=True)
    return dask.array.from_zarr(path)


def base_of_town(place: Place, wind_from: float) -> Any:
    """Return the base channels of a town under a wind, as those of ``Place.states``.

    Returns
    -------
    dask.array.Array of shape (6, H, W), float32
    """
    import dask.array

    heights: Any = place.heights
    rows, columns = (
        dask.array.from_array(torch.linspace(-1, 1, count).numpy(), chunks=chunks)
        for count, chunks in zip(heights.shape, heights.chunks, strict=True)
    )
    wind = (dask.array.full_like(heights, part) for part in towards(wind_from))
    planes = rows[:, None], columns, (heights == 0).astype(np.float32), heights, *wind
    return dask.array.stack([dask.array.broadcast_to(plane, heights.shape) for plane in planes])
