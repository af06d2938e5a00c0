"""What can be shown: the cases of a folder, and the places that were opened, by their names."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pinca_lib.cities import Place, load_city
from pinca_lib.datasets import find_case, list_cases, load_case
from pinca_lib.viewer.scenes import CaseScene, PlaceScene, Scene


class Catalogue:
    """The cases of a folder and the places that were opened.

    Parameters
    ----------
    data_dir : Path or str
        Folder of city files.
    image_size : int
        Number of cells on a side of a case; 0 keeps the grid of each.
    direction : float
        Where the wind of a place comes from at first, degrees clockwise from north.

    Attributes
    ----------
    skipped : list of str
        A line about each file of the folder that cannot be read.

    Raises
    ------
    InputError
        If the folder has no readable city file.
    """

    def __init__(self, data_dir: Path | str, image_size: int, direction: float):
        self.image_size, self.direction = image_size, direction
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("always")
            self._cases = list_cases(data_dir, lenient=True)
        self.skipped = [str(warning.message) for warning in noticed]
        for warning in noticed:  # the notebook shows them as well
            warnings.warn(warning.message, stacklevel=3)
        self._places: dict[str, Place] = {}

    @property
    def names(self) -> list[str]:
        """The names of all scenes; places come first, the last opened before the others."""
        return [*reversed(self._places), *self._cases]

    def find(self, name: str) -> str:
        """Return the full name of a case; see ``datasets.find_case``."""
        return find_case(self._cases, name)

    def scene(self, name: str) -> Scene:
        """Return a scene by its full name.

        Raises
        ------
        InputError
            If its file cannot be read any more.
        """
        if name in self._places:
            return PlaceScene(self._places[name], self.direction)
        return CaseScene(load_case(*self._cases[name], self.image_size))

    def open(self, path: Path | str, reading: Mapping[str, Any]) -> PlaceScene:
        """Read a place, and keep it under its name.

        Parameters
        ----------
        path : Path or str
            A file of buildings.
        reading : mapping
            Keyword arguments of ``load_city``.

        Raises
        ------
        InputError
            As ``load_city`` and ``PlaceScene``.
        """
        place = load_city(path, **reading)
        scene = PlaceScene(place, self.direction)
        self._places.pop(place.name, None)
        self._places[place.name] = place
        return scene
