"""A trial: a piece of work in a process of its own, and how it ended."""

import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pinca_lib.errors import InputError

MEMORY = 6 * 2**30  # bytes of address space that a trial may take on top of what it begins with
REFUSED, FAILED = 3, 1  # exit codes


class Ending(StrEnum):
    """How a trial ended; the last four should never happen."""

    WORD = "survived with a word"
    RIGHT = "survived silently right"
    WRONG = "silently wrong"
    TRACEBACK = "traceback"
    HANG = "hang"
    DEAD = "dead"


@dataclass
class Process:
    """A forked process that does some work, and writes what it says and finds to files.

    The process begins as a copy of this one, so that the libraries are loaded only once.
    """

    work: Callable[[], Any]
    folder: Path

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.said, self.result = self.folder / "said.txt", self.folder / "result.txt"
        for path in (self.said, self.result):
            path.unlink(missing_ok=True)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._do()

    def _do(self) -> None:
        code = FAILED
        try:
            said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.stdout = sys.stderr = os.fdopen(said, "w", buffering=1, closefd=False)
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY,) * 2)
            warnings.resetwarnings()
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.showwarning = lambda message, *_: print("\nword:", message)
            self.result.write_text(str(self.work()))
            code = 0
        except InputError as error:
            print("\nword:", error)
            code = REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def kill(self) -> None:
        """End the process as a crash of the system would."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, limit: float = 120.0) -> int | None:
        """Return the exit code, negative for a signal; None if ``limit`` s were not enough."""
        last = time.monotonic() + limit
        while time.monotonic() < last:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        self.kill()
        os.waitpid(self.pid, 0)
        return None

    def words(self) -> list[str]:
        """Return the warnings and errors that the process said, a line each."""
        lines = self.said.read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith("word: ")]

    def ending(self, right: Callable[[str], bool], limit: float = 120.0) -> Ending:
        """Wait, and return how the work ended; ``right`` judges its result."""
        code = self.wait(limit)
        if code is None:
            return Ending.HANG
        if code < 0:
            return Ending.DEAD
        if code == FAILED:
            return Ending.TRACEBACK
        if self.words():
            return Ending.WORD
        return Ending.RIGHT if right(self.result.read_text()) else Ending.WRONG
