"""The first read of an HDF5 file that is not known: in a process of its own, which has limits.

A damaged or hostile file can make HDF5 crash, take all memory or loop for ever, so that not even
Ctrl-C helps. So another process reads a file first (``walk.py``), and is ended if it takes too long
or too much memory. A file that it has read is known by its SHA-256 from then on, and costs no more
than that. The time is measured, and the memory watched, in the same way on every system.

Arrays that HDF5 has to unpack are always read there: HDF5 does not check how much a filter returns,
and reads on behind its end, which crashes one process and not another.
"""

import atexit
import hashlib
import json
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock, Thread, Timer
from time import monotonic

import h5py
import numpy as np
import psutil
from platformdirs import user_cache_path

from pinca_lib.errors import InputError, InputWarning

SECONDS, SECONDS_PER_BYTE = 20.0, 1e-6  # limits of time
START = 60.0  # s, that the process may take to start, as on a network drive
MEMORY = 4 * 2**30  # bytes; twice what a dataset may unpack to
WATCH = 0.05  # s, between looks at the process
IDLE = 20.0  # s, after which a process that has nothing to read is ended
READY, READ = "ready", "read"  # what the process says, or what was wrong

# One SHA-256 a line. Another version of HDF5 may fail where this one does not.
RECORD = user_cache_path("pinca") / f"files_read_by_hdf5_{h5py.version.hdf5_version}.txt"


class Gate:
    """Lets a file through if it is known, or once a process of its own has read it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.seen: set[tuple] = set()  # paths, sizes and times of files that were let through
        self.known: set[str] = set()
        self.process: Process | None = None
        self.timer = Timer(IDLE, self.close)

    def check(self, path: Path) -> None:
        """Return if it is safe to read a file; see ``check``."""
        status = path.stat()
        place = (path.resolve(), status.st_size, status.st_mtime_ns, status.st_ino)
        if place in self.seen:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self.lock:
            if not self._is_known(digest) and self._read(path) == READ:
                self._remember(digest)
        self.seen.add(place)

    def array(self, path: Path, name: str) -> np.ndarray | None:
        """Return an array that the process has read; see ``array``."""
        with self.lock, TemporaryDirectory() as folder:
            copy = Path(folder, "array.npy")
            answer = self._read(path, name, str(copy))
            if answer not in (READ, None):
                raise OSError(answer)
            return np.load(copy) if answer else None

    def close(self) -> None:
        """End the process; the next file that is not known starts another one."""
        with self.lock:
            self._end()

    def _is_known(self, digest: str) -> bool:
        if not self.known:
            with suppress(OSError):
                self.known.update(RECORD.read_text(errors="replace").split())
        return digest in self.known

    def _remember(self, digest: str) -> None:
        self.known.add(digest)
        with suppress(OSError):  # without the record, the file is read twice again next time
            RECORD.parent.mkdir(parents=True, exist_ok=True)
            with RECORD.open("a") as record:
                record.write(f"{digest}\n")

    def _read(self, path: Path, *more: str) -> str | None:
        """Have the process read a file, and return what it says; None if there is no process."""
        self.timer.cancel()
        try:
            if self.process is None:
                self.process = Process()
            answer = self.process.ask(path, *more)
        except BaseException:
            self._end()
            raise
        if answer is None:
            self._end()
            return None
        self.timer = Timer(IDLE, self.close)
        self.timer.daemon = True
        self.timer.start()
        return answer

    def _end(self) -> None:
        self.timer.cancel()
        if self.process is not None:
            self.process.end()
        self.process = None


class Process:
    """A Python process that imports only what it needs to read files, and reads one after another.

    It does not use ``multiprocessing``, which would run the user's script again.
    """

    def __init__(self) -> None:
        code = (
            f"import sys; sys.path[:] = {sys.path}; "
            "from pinca_lib.datasets import walk; walk.serve()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-c", code], encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
        self.answers: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._listen, daemon=True).start()
        self.is_ready = False

    def ask(self, path: Path, *more: str) -> str | None:
        """Have a file read, and return what the process says; None if it cannot be started.

        ``more`` may name a dataset, and the file to which it is copied.

        Raises
        ------
        InputError
            If the process crashes, or exceeds a limit.
        """
        if not self.is_ready and not self._starts(path):
            warnings.warn(
                f"{path.name}: the process that reads unknown files first cannot be started; the "
                "file is read without it", InputWarning, stacklevel=2)  # fmt: skip
            return None
        self.is_ready = True
        assert self.process.stdin
        with suppress(OSError):  # it crashed; then there is no answer either
            self.process.stdin.write(json.dumps([str(path.resolve()), *more]) + "\n")
            self.process.stdin.flush()
        seconds = SECONDS + SECONDS_PER_BYTE * path.stat().st_size
        if not (answer := self._answer(path, seconds)):
            raise _refused(path, "reading it crashes HDF5")
        return answer

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.answers.put(line.strip())
        self.answers.put("")

    def _starts(self, path: Path) -> bool:
        with suppress(InputError):
            return self._answer(path, START) == READY
        return False

    def _answer(self, path: Path, seconds: float) -> str:
        """Return the next line of the process, empty if it ended, while it keeps the limits."""
        last = monotonic() + seconds
        while True:
            with suppress(Empty):
                return self.answers.get(timeout=WATCH)
            if monotonic() > last:
                raise _refused(path, f"reading it takes longer than {seconds:.0f} s")
            with suppress(psutil.Error):
                if psutil.Process(self.process.pid).memory_info().rss > MEMORY:
                    raise _refused(path, f"reading it takes more than {MEMORY >> 30} GB of memory")


def _refused(path: Path, fault: str) -> InputError:
    return InputError(
        f"{path.name}: {fault}, so it is refused; it is damaged, or made to do harm: "
        "copy or download it again"
    )


_gate = Gate()


def check(path: Path) -> None:
    """Return if it is safe to read an HDF5 file in this process.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If HDF5 crashes on the file, or takes too much time or memory.
    OSError
        If the file cannot be opened.
    """
    _gate.check(path)


def array(path: Path, name: str) -> np.ndarray | None:
    """Return an array of an HDF5 file that a process of its own has read.

    Parameters
    ----------
    path : Path
    name : str
        Of the dataset in the file.

    Returns
    -------
    ndarray or None
        None if the process cannot be started.

    Raises
    ------
    InputError, OSError
        As ``check``; also if HDF5 cannot read the array.
    """
    return _gate.array(path, name)


def _forget() -> None:
    """Leave the process to the parent of a forked process."""
    global _gate
    _gate = Gate()


atexit.register(lambda: _gate.close())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
