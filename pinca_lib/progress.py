"""Progress of a long loop, in a terminal or a notebook."""

import sys
import time

from tqdm import tqdm


class Progress:
    """A tqdm bar: in a terminal as usual, in a notebook one line that is updated in place.

    The line ends up in the notebook's outputs once, however many iterations there are.

    Parameters
    ----------
    title : str
        Stands before the bar.
    done, total : int
        Iterations done before, and to be done altogether.
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
        """Show that so many iterations are done."""
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
