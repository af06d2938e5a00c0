"""The viewer's thread: it handles what the user asks for, advances the rollout and sends frames.

Each frame is sent when the browser has drawn the one before. So frames never queue up, the kernel
stays free for other cells, and the rollout pauses if the page is not visible.
"""

import atexit
import time
from collections import deque
from collections.abc import Callable
from threading import Event, Thread

from pinca_lib.errors import error_line

FRAMES_PER_SECOND = 30  # upper limit
PATIENCE = 5.0  # s, after which a frame that the browser has not drawn pauses the rollout


class Loop:
    """A thread that repeats: requests of the user, a step if it plays, a frame.

    Parameters
    ----------
    is_playing : callable
        Returns whether the rollout is to be advanced.
    pause : callable
        Makes ``is_playing`` return False.
    advance : callable
        Advances the rollout by a frame.
    send : callable
        Sends the frame of the number that it is called with.

    Attributes
    ----------
    message, error : str
        Lines for the user: what is being done or was done, and what went wrong with the latest
        request.
    frame : int
        Number of the latest frame.
    """

    def __init__(
        self,
        is_playing: Callable[[], bool],
        pause: Callable[[], None],
        advance: Callable[[], None],
        send: Callable[[int], None],
    ):
        self.is_playing, self.pause, self.advance, self.send = is_playing, pause, advance, send
        self.message, self.error, self.frame = "", "", 0
        self.requests: deque[Callable[[], None]] = deque()  # to be handled in order
        self.awake, self.drawn = Event(), Event()
        self.closed = False
        self.thread = Thread(target=self._work, daemon=True, name="rollout viewer")

    def start(self) -> None:
        """Start, or go on with a new page, which never saw the frame that was sent before."""
        if self.thread.ident is None:
            self.thread.start()
            atexit.register(self._finish)
        self.drawn.set()

    def close(self) -> None:
        """Stop the thread."""
        self.closed = True
        self.awake.set()
        self.drawn.set()

    def _finish(self) -> None:
        """Wait for the thread: Python aborts if it ends in the middle of compiled code."""
        self.close()
        self.thread.join(PATIENCE)

    def ask(self, act: Callable[[], None]) -> None:
        """Have something done before the next frame."""
        self.requests.append(act)
        self.awake.set()

    @property
    def line(self) -> str:
        """What the user is shown: an error stays beside what is said after it."""
        return " · ".join(filter(None, [self.error, self.message]))

    def tell(self, message: str) -> None:
        """Show a line to the user."""
        self.message = message
        self.awake.set()

    def frame_is_drawn(self, number: int) -> None:
        """Take note that the browser has drawn a frame."""
        if number == self.frame:
            self.drawn.set()

    def _work(self) -> None:
        while True:
            self.awake.wait()
            self.awake.clear()
            if self.closed:
                atexit.unregister(self._finish)
                return
            began = time.monotonic()
            while self.requests:
                self._try(self.requests.popleft())
            if self.is_playing() and not self._try(self.advance):
                self._pause()
            self._try(self._show)
            time.sleep(max(0, began + 1 / FRAMES_PER_SECOND - time.monotonic()))
            if self.is_playing():
                self.awake.set()

    def _try(self, act: Callable[[], None]) -> bool:
        """Call a function and show any error; return whether it succeeded."""
        try:
            act()
            return True
        except Exception as error:
            self.error = error_line(error)
            return False

    def _pause(self, message: str = "") -> None:
        error = self.error
        self.pause()  # a request, which clears both
        self.message, self.error = message or self.message, error

    def _show(self) -> None:
        """Send a frame and wait until it is drawn; pause if it is not drawn in time."""
        self.frame += 1
        self.drawn.clear()
        self.send(self.frame)
        if not self.drawn.wait(PATIENCE) and self.is_playing():
            self._pause("paused: the page is not visible")
