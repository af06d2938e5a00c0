"""A folder for the files that are saved while the viewer goes on."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread

from pinca_lib.errors import error_line
from pinca_lib.runs import new_folder


class Album:
    """A folder ``viewer_<YYYYmmdd-HHMMSS>`` for saved files; it is made with the first file.

    Files are numbered, and never overwritten. They are written in a thread, so that the viewer
    keeps running.

    Parameters
    ----------
    output_dir : Path
        Folder in which this folder is made.
    tell : callable
        Called with one line of text, which says where a file was saved or why it was not.
    """

    def __init__(self, output_dir: Path, tell: Callable[[str], None]):
        self.output_dir, self.tell = output_dir, tell
        self.count, self.writing = 0, 0
        self._folder: Path | None = None
        self._lock = Lock()

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Save a file in a thread.

        Parameters
        ----------
        name : str
            Name of the file, without its number.
        write : callable
            Writes the file to the path that it is called with.
        """
        self.writing += 1
        Thread(target=self._keep, args=(name, write), daemon=True).start()

    def _keep(self, name: str, write: Callable[[Path], None]) -> None:
        with self._lock:  # one file at a time
            try:
                self._folder = self._folder or new_folder(self.output_dir, "viewer")
                self.count += 1
                path = self._folder / f"{self.count:02d}_{name}"
                write(path)
                outcome = f"saved {path}"
            except Exception as error:  # show any error to the user, and keep running
                outcome = f"not saved: {error_line(error)}"
            self.writing -= 1
            self.tell(outcome)
