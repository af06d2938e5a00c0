"""A real browser for the tests, servers for it, and what a hand does to the viewer."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import xarray
from playwright.sync_api import Error, Page, sync_playwright

from pinca_lib.runs.parameters import PROJECT_ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MINUTE = 60_000  # ms

PIXEL = """([canvas, x, y]) => [...canvas.getContext('2d').getImageData(
    Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data]"""
DIGEST = """canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.reduce((sum, value) => (31 * sum + value) % 1000003, 7);
}"""


@contextmanager
def serving(*command: str, answers: str = "", **variables: str) -> Iterator[str]:
    """Run a server as a Python module on a free port of this machine; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            stdout=log, stderr=log, env=os.environ | variables,
        )  # fmt: skip
        try:
            _wait_until_up(f"{address}{answers}", server)
            yield address
        except BaseException:
            log.seek(0)
            print(log.read())  # pytest shows it beside the error
            raise
        finally:
            server.terminate()
            server.wait(20)


def _wait_until_up(address: str, server: subprocess.Popen) -> None:
    for _ in range(120):
        assert server.poll() is None, "the server stopped"
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError("the server did not start within a minute")


@contextmanager
def browsing() -> Iterator[Page]:
    """A page of an installed Chromium, else of Playwright's own; skips loudly without one."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        except Error:
            message = "NOT TESTED: the notebooks in a browser. No Chromium here; install one."
            warnings.warn(message, stacklevel=1)
            pytest.skip(message)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(4 * MINUTE)
        yield page
        browser.close()


def keep_screenshot(page: Page, name: str) -> None:
    """Save what the browser shows, for people to look at; never under version control."""
    folder = Path(os.environ.get("PINCA_SCREENSHOTS", PROJECT_ROOT / "outputs" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")


class Hand:
    """What a hand does to the viewer on a page, and what the eye sees of it."""

    def __init__(self, page: Page):
        self.page = page
        self.canvas = page.locator(".pinca-plane").first
        self.frame = page.locator(".pinca-frame").first
        self.canvas.wait_for(state="visible")
        self.wait_until(lambda: self.text("counters") != "", "no first frame")
        self.frame.scroll_into_view_if_needed()

    def text(self, part: str) -> str:
        return self.page.locator(f".pinca-{part}").first.inner_text()

    def steps(self) -> int:
        return int(self.text("counters").split()[1])

    def settled_steps(self) -> int:
        """Return the steps when they change no more."""
        seen = [-1, self.steps()]
        while seen[-1] != seen[-2]:
            self.page.wait_for_timeout(1500)
            seen.append(self.steps())
        return seen[-1]

    def press(self, name: str) -> None:
        self.page.locator("button.jupyter-button", has_text=name).first.click()

    def choose(self, control: str, value: str) -> None:
        box = self.page.locator(".widget-dropdown", has_text=control).locator("select")
        box.first.select_option(label=value)

    def picture(self) -> int:
        return self.canvas.evaluate(DIGEST)

    def pixel(self, x: float, y: float) -> list[int]:
        """Return the colour at a place, given as shares of width and height from the top left."""
        return self.page.evaluate(PIXEL, [self.canvas.element_handle(), x, y])

    def drag(self, *places: tuple[float, float]) -> None:
        self.frame.scroll_into_view_if_needed()
        area = self.frame.bounding_box()
        points = [(area["x"] + x * area["width"], area["y"] + y * area["height"])
                  for x, y in places]  # fmt: skip
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points:
            self.page.mouse.move(*point, steps=5)
        self.page.mouse.up()

    def wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        for _ in range(240):
            if condition():
                return
            self.page.wait_for_timeout(250)
        keep_screenshot(self.page, "failed")
        raise AssertionError(f"{otherwise}; {self.text('counters')}; {self.text('message')}")


def check_viewer(page: Page, saved: Path, name: str) -> None:
    """Play, go back in the history, switch the field, build, undo, turn the wind, and save."""
    hand = Hand(page)
    still = page.locator("[data-pinca]").first
    hand.wait_until(lambda: not still.is_visible(), "the still figure is not covered")

    empty = hand.picture()
    hand.press("play")
    hand.wait_until(lambda: hand.steps() > 40, "it does not play")
    hand.press("play")
    late = hand.settled_steps()
    rolled = hand.picture()
    assert rolled != empty
    keep_screenshot(page, f"{name}_played")

    handle = page.locator(".widget-slider", has_text="history").locator(".noUi-handle")
    handle.focus()
    page.keyboard.press("Home")
    hand.wait_until(lambda: hand.steps() == 0, "it does not go back in the history")
    assert hand.picture() == empty
    for _ in range(60):
        page.keyboard.press("PageUp")
    hand.wait_until(lambda: hand.steps() == late, f"it does not return to {late}")

    hand.choose("field", "turbulence, TKE (m²/s²)")
    hand.wait_until(lambda: hand.picture() != rolled, "another field looks the same")
    hand.choose("field", "mean speed (m/s)")
    hand.wait_until(lambda: hand.picture() == rolled, "the field does not come back")

    place = (0.5, 0.5)
    page.mouse.move(*_middle(hand.frame))
    hand.wait_until(lambda: "prediction" in hand.text("readout"), "no values under the pointer")
    hand.press("build")
    hand.drag(place, (0.52, 0.52))
    hand.wait_until(lambda: len(set(hand.pixel(*place)[:3])) == 1, "no grey building is there")
    beside = [(0.4, 0.5), (0.62, 0.52), (0.5, 0.62)]  # in the street around it
    before = [hand.pixel(*point) for point in beside]
    hand.choose("steps per frame", "32")
    hand.press("step")
    hand.wait_until(lambda: hand.steps() == late + 32, "no step")
    assert [hand.pixel(*point) for point in beside] != before, "the field does not heal"
    keep_screenshot(page, f"{name}_built")
    hand.press("undo")
    hand.wait_until(lambda: len(set(hand.pixel(*place)[:3])) > 1, "the building is still there")

    dial = page.locator(".pinca-dial canvas").first
    dial.focus()
    before = int(dial.get_attribute("aria-valuenow"))
    page.keyboard.press("ArrowLeft")
    after = (before - 5) % 360
    number = page.locator(".pinca-dial input").first
    hand.wait_until(lambda: number.input_value() == str(after), "the dial does not turn")
    beside_it = page.locator(".pinca-title").nth(1)
    hand.wait_until(lambda: "before the edit" in beside_it.inner_text(), "the wind is not turned")

    for button, ending in (("fields", ".nc"), ("picture", ".png"), ("film", ".mp4")):
        hand.press(button)
        hand.wait_until(
            lambda e=ending: hand.text("message").startswith("saved")
            and hand.text("message").endswith(e), f"{button} not saved")  # fmt: skip
    keep_screenshot(page, f"{name}_saved")
    (folder,) = saved.glob("viewer_*")
    fields, picture, film = sorted(folder.iterdir())
    with xarray.open_dataset(fields) as opened:
        assert opened.wind_speed.sizes["x"] > 10
    assert picture.read_bytes().startswith(b"\x89PNG")
    with av.open(str(film)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) > 10


def _middle(locator) -> tuple[float, float]:
    area = locator.bounding_box()
    return area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
