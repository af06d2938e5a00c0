"""Show the progress of a long loop, in a terminal or a notebook."""

import sys
import time
from collections import deque

from tqdm import tqdm


class Progress:
    """A tqdm bar in a terminal; in a notebook, one line of text that is updated in place.

    The notebook's saved outputs contain this line once, whatever the number of iterations.

    Parameters
    ----------
    title : str
        Text before the bar.
    done, total : int
        Number of iterations that are already done, and of all iterations.
    """

    def __init__(self, title: str, done: int, total: int):
        self.title, self.initial, self.total = title, done, total
        self.started_at = self.shown_at = time.monotonic()
        self.handle = None
        if "ipykernel" in sys.modules:
            from IPython.display import display

            self.handle = display({"text/plain": title}, raw=True, display_id=True)
        self.bar = tqdm(total=total, initial=done, desc=title, disable=self.handle is not None)

    def update(self, done: int) -> None:
        """Show the number of iterations that are done; call this once per iteration."""
        self.bar.update(1)
        now = time.monotonic()
        if self.handle and (now - self.shown_at > 1 or done == self.total):
            line = tqdm.format_meter(done, self.total, now - self.started_at, ncols=90,
                                     prefix=self.title, initial=self.initial)  # fmt: skip
            self.handle.update({"text/plain": line}, raw=True)
            self.shown_at = now

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        self.bar.close()


class Pace:
    """Steps and frames per second over the last 20 frames; ``str`` gives them as text.

    The text is empty until there are at least three frames.
    """

    def __init__(self):
        self._ticks: deque[tuple[float, int]] = deque(maxlen=20)

    def clear(self) -> None:
        """Forget all frames."""
        self._ticks.clear()

    def tick(self, steps: int) -> None:
        """Count a frame that has just ended, and its number of steps."""
        self._ticks.append((time.monotonic(), steps))

    def __str__(self) -> str:
        if len(self._ticks) < 3:
            return ""
        times, (_, *steps) = zip(*self._ticks, strict=True)
        rate = 1 / max(times[-1] - times[0], 1e-6)
        return f" · {sum(steps) * rate:.0f} steps/s · {len(steps) * rate:.0f} frames/s"
