"""What kind of file it is, by its content first and its name second."""

from pathlib import Path

from pinca_lib.cities.mesh_files import SUFFIXES as MESHES
from pinca_lib.errors import InputError, first_line, shown, unreadable

RASTERS = (".tif", ".tiff", ".gtiff", ".asc", ".img", ".vrt", ".jp2", ".grd", ".dem", ".hgt")
BEGINNINGS = {
    b"\x89HDF\r\n\x1a\n": "city",
    b"\x93NUMPY": "array",
    b"glTF": ".glb",
    b"ply\n": ".ply",
    b"ply\r": ".ply",
    b"II*\x00": "raster",
    b"MM\x00*": "raster",
    b"II+\x00": "raster",
    b"MM\x00+": "raster",
}
ELSEWHERE = {  # what people have as well, and the way here
    ".ifc": "export it from the planning program as glTF or OBJ",
    ".skp": "export it from SketchUp as glTF or OBJ",
    ".3dm": "export it from Rhino as OBJ or glTF",
    ".blend": "export it from Blender as glTF or OBJ",
    ".fbx": "export it as glTF or OBJ",
    ".dae": "export it as glTF or OBJ",
    ".3ds": "export it as glTF or OBJ",
    ".dwg": "export its outlines of buildings as Shapefile or GeoPackage, or its solids as OBJ",
    ".las": "make rasters of its surface and its terrain, for example with PDAL",
    ".laz": "make rasters of its surface and its terrain, for example with PDAL",
    ".qgz": "give the layer of buildings that the project shows",
    ".qgs": "give the layer of buildings that the project shows",
    ".epw": "this is a climate, not buildings",
}


def detect(path: Path) -> str:
    """Return the kind of a file: what reads it.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        "city", "array", "raster", "cityjson", the suffix of a mesh (one of ``MESHES``), or
        "footprints" for whatever else.

    Raises
    ------
    InputError
        If the file is missing, empty, cannot be opened, or is of a kind that is not read.
    """
    start = _start(path)
    suffix = path.suffix.lower()
    if suffix in ELSEWHERE:
        raise InputError(f"{path.name}: {suffix} files are not read here; {ELSEWHERE[suffix]}")
    for beginning, kind in BEGINNINGS.items():
        if start.startswith(beginning):
            return kind
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        if b'"CityJSON"' in start or suffix == ".cityjson" or path.name.lower().endswith(
            (".city.json", ".city.jsonl")):  # fmt: skip
            return "cityjson"
        if suffix == ".gltf":
            return suffix
        return "cityjson" if _names_cityjson(path) else "footprints"
    if b"<CityModel" in start or b":CityModel" in start:
        raise InputError(
            f"{path.name}: CityGML is not read here; convert it to CityJSON with citygml-tools"
        )
    if suffix in MESHES:
        return suffix
    return "raster" if suffix in RASTERS else "footprints"


def _start(path: Path) -> bytes:
    """Return the first bytes of a file, after checking that it can be read."""
    if str(path).lower().startswith(("http:", "https:")):
        raise InputError(f"{shown(path)}: addresses are not read; download the file and give it")
    try:
        if path.is_dir() and path.suffix.lower() == ".gdb":
            return b"folder of a File Geodatabase"
        if path.is_dir():
            raise InputError(f"{path.name or path}: is a folder; expected a file of buildings")
        with path.open("rb") as file:
            start = file.read(65_536)
    except InputError:
        raise
    except FileNotFoundError as error:
        beside = sorted(other.name for other in path.parent.glob("*"))[:6]
        listed = f"; the folder holds {', '.join(map(shown, beside))}" if beside else ""
        raise InputError(f"{shown(path, 200)}: no such file{listed}") from error
    except PermissionError as error:
        raise unreadable(path, error, "file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path, 200)}: cannot be read ({first_line(error)})") from error
    if not start:
        raise InputError(f"{path.name}: the file is empty; copy or download it again")
    return start


def _names_cityjson(path: Path) -> bool:
    """Return whether JSON says late in the file that it is CityJSON."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 65_536, 0))
        return b'"CityJSON"' in file.read()
