"""A stand-in for the browser page that shows the viewer."""

import threading
import time
from pathlib import Path

import numpy as np

from pinca_lib.viewer.widget import RolloutViewer


class Page:
    """A stand-in for the browser: it keeps each frame and, after a delay, reports it as drawn."""

    def __init__(self, viewer: RolloutViewer, delay: float = 0.0):
        self.viewer, self.delay, self.is_visible, self.frames = viewer, delay, True, []
        self.refused: list[bool] = []  # for each part of a file that was sent
        viewer.controls.canvas.send = self.take
        self.tell(kind="ready")

    def take(self, content, buffers=()):
        if content["kind"] == "taken":
            self.refused.append(content["refused"])
            return
        self.frames.append((content, [np.array(buffer) for buffer in buffers]))
        if self.is_visible:
            answer = {"kind": "drawn", "id": content["id"]}
            threading.Timer(self.delay, lambda: self.tell(**answer)).start()

    def tell(self, *buffers, **content):
        self.viewer._receive(None, content, [memoryview(buffer) for buffer in buffers])

    def drop(self, *paths: Path, part: int = 2**21):
        """Send files in parts, as the page does."""
        upload = str(time.monotonic())
        for path in paths:
            data = path.read_bytes()
            about = {"kind": "file", "upload": upload, "name": path.name, "size": len(data)}
            for start in range(0, max(len(data), 1), part):
                last = path == paths[-1]
                self.tell(data[start : start + part], start=start, last=last, **about)

    @property
    def content(self) -> dict:
        return self.frames[-1][0]

    def wait_for(self, condition, what: str):
        """Wait until the latest frame fulfils a condition."""
        for _ in range(3000):
            if self.frames and condition(self.content):
                return self.content
            time.sleep(0.01)
        raise AssertionError(f"{what}; the last frame was {self.content}")

    def settle(self) -> dict:
        """Wait until all requests are done and, unless it plays, the last frame is drawn."""
        calm = 0
        for _ in range(2000):
            viewer = self.viewer
            busy = viewer.loop.requests or not viewer.controls.play.value and (
                viewer.loop.awake.is_set() or not viewer.loop.drawn.is_set())  # fmt: skip
            calm = 0 if busy else calm + 1
            if calm == 10:
                return self.content
            time.sleep(0.01)
        raise AssertionError("some requests were not handled")
