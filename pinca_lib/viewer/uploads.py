"""Files that the page sends to the kernel, in parts, since servers refuse long messages."""

import re
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pinca_lib.errors import InputError, shown

LARGEST = 2**30  # bytes
COMPANIONS = {  # of a file of buildings, which is opened with them beside it
    ".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".qmd", ".mtl", ".bin", ".png", ".jpg",
    ".jpeg", ".tfw", ".xml", ".ovr",
}  # fmt: skip


class Inbox:
    """The files that were dropped last, such as the parts of a shapefile, in a folder of their own.

    They stay until others are dropped, so that they can be read anew.
    """

    def __init__(self) -> None:
        self._upload = ""
        self._folder: TemporaryDirectory | None = None

    def close(self) -> None:
        """Remove the files."""
        if self._folder:
            self._folder.cleanup()

    def take(self, content: dict, part: bytes) -> Path | None:
        """Append a part of a file.

        Parameters
        ----------
        content : dict
            As ``files.js`` sends it: what identifies the ``upload``, the file's ``name`` and
            ``size``, the ``start`` of the part, and whether this file is the ``last``.
        part : bytes

        Returns
        -------
        Path or None
            The file of buildings, when all files are complete.

        Raises
        ------
        InputError
            If a file is too large, or there is not exactly one file of buildings.
        """
        name, size = safe_name(content["name"]), int(content["size"])
        if size > LARGEST:
            raise InputError(
                f"{shown(name)}: {size / 2**30:.1f} GB; at most {LARGEST / 2**30:.0f} GB can be "
                "dropped here: cut out the part that you need, or give the file as buildings="
            )
        if content["upload"] != self._upload or self._folder is None:
            self.close()
            self._upload = content["upload"]
            self._folder = TemporaryDirectory(prefix="pinca_", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        with (folder / name).open("ab" if content["start"] else "wb") as file:
            file.write(part)
        if not content["last"] or content["start"] + len(part) < size:
            return None
        return _of_buildings(sorted(folder.iterdir()))


def _of_buildings(files: list[Path]) -> Path:
    """Return the file that holds buildings; the others lie beside it."""
    found = [path for path in files if path.suffix.lower() not in COMPANIONS]
    if len(files) == 1:
        return files[0]
    if len(found) != 1:
        names = shown(", ".join(path.name for path in files))
        raise InputError(
            f"{len(files)} files ({names}): expected one file of buildings, or the parts of one "
            "shapefile"
        )
    return found[0]


def safe_name(name: object) -> str:
    """Return the name of a file without folders and without what systems refuse in names."""
    last = PurePosixPath(str(name).replace("\\", "/")).name
    last = re.sub(r'[<>:"|?*\x00-\x1f]', "_", last)[-120:].strip(". ")
    return last or "file"
