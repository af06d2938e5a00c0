"""Mesh files as triangles: OBJ, STL, PLY and glTF, in the axes and units of the file."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pinca_lib.cities.triangles import newell_normal, triangulated
from pinca_lib.errors import InputError, first_line, needed

COMPRESSIONS = {"KHR_draco_mesh_compression": "DracoPy", "EXT_meshopt_compression": ""}
SUFFIXES = (".obj", ".stl", ".ply", ".glb", ".gltf", ".off")


def read_triangles(path: Path, kind: str) -> np.ndarray:
    """Return all triangles of a mesh file, (T, 3, 3), float64.

    Parameters
    ----------
    path : Path
    kind : str
        One of ``SUFFIXES``.

    Raises
    ------
    InputError
        If the file cannot be read or holds no surface.
    """
    needed("shapely", f"reading {path.name}")
    try:
        triangles = _obj(path) if kind == ".obj" else _with_trimesh(path, kind)
    except InputError:
        raise
    except Exception as error:  # trimesh raises whatever its parsers stumble over
        raise InputError(
            f"{path.name}: not a readable {kind[1:].upper()} mesh ({type(error).__name__}: "
            f"{first_line(error)}); it is truncated, damaged or in another format, or a file that "
            "it refers to is missing: export it again, for example as GLB"
        ) from error
    if not len(triangles):
        raise InputError(f"{path.name}: holds no surface; expected the faces of buildings")
    if not np.isfinite(triangles).all():
        raise InputError(f"{path.name}: holds coordinates that are not finite; export it again")
    return triangles


def _with_trimesh(path: Path, kind: str) -> np.ndarray:
    needed("trimesh", f"reading {path.name}")
    import trimesh

    if kind in (".glb", ".gltf"):
        _check_compression(path)

    scene = trimesh.load_scene(str(path), file_type=kind[1:], process=False, skip_materials=True)
    pieces = [mesh.triangles for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    return np.concatenate(pieces).astype(float) if pieces else np.zeros((0, 3, 3))


def _check_compression(path: Path) -> None:
    """Refuse a glTF file whose compression trimesh cannot undo: it would read zeros."""
    content = path.read_bytes()
    for name, library in COMPRESSIONS.items():
        if name.encode() in content and not (library and find_spec(library)):
            instead = f", or install {library}" if library else ""
            raise InputError(
                f"{path.name}: compressed by a filter that is not installed here ({name}); export "
                f"it without compression{instead}"
            )


def _obj(path: Path) -> np.ndarray:
    """Read an OBJ file; faces with many corners are cut along their outline.

    trimesh cuts them as fans, which cover the notch of an L-shaped roof as well.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            word, *rest = line.split() or [""]
            try:
                if word == "v":
                    vertices.append([float(value) for value in rest[:3]])
                elif word == "f":
                    corners = [int(corner.split("/")[0]) for corner in rest]
                    count = len(vertices)
                    faces.append([k - 1 if k > 0 else count + k for k in corners])
            except ValueError as error:
                raise InputError(
                    f"{path.name}: line {number} is no {'vertex' if word == 'v' else 'face'} "
                    f"({first_line(error)}); export it again"
                ) from error
    if not faces:
        return np.zeros((0, 3, 3))
    points = np.asarray(vertices, float).reshape(-1, 3)
    if any(not 0 <= k < len(points) for face in faces for k in face):
        raise InputError(f"{path.name}: a face names a vertex that the file lacks; it is truncated")
    return _cut(points, faces)


def _cut(points: np.ndarray, faces: list[list[int]]) -> np.ndarray:
    """Return triangles of faces; a face is cut in the plane that it faces most."""
    simple = np.array([face for face in faces if len(face) == 3], int).reshape(-1, 3)
    pieces = [points[simple]]
    bent = [points[face] for face in faces if len(face) > 3]
    axes = [int(np.abs(newell_normal(ring)).argmax()) for ring in bent]
    for axis in range(3):  # the z of the cut is the axis that a face looks along
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        rings = [[ring[:, order]] for ring, facing in zip(bent, axes, strict=True)
                 if facing == axis]  # fmt: skip
        cut, _ = triangulated(rings)
        pieces.append(cut[..., np.argsort(order)])
    return np.concatenate(pieces)
