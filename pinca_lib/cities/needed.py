"""Libraries that only some formats need."""

import importlib

from pinca_lib.errors import InputError


def needed(library: str, what: str, extra: str = "places") -> None:
    """Check that a library of one of the project's extras is there.

    Parameters
    ----------
    library : str
    what : str
        What needs it: "reading town.geojson".
    extra : str
        The extra that brings it along.

    Raises
    ------
    InputError
        If it is missing; the message says how to get it.
    """
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise InputError(f"{what} needs {library}: pip install 'pinca[{extra}]'") from error
