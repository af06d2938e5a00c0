"""Notebook 03 in a real JupyterLab in a real browser: the film plays and the sliders work."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, sync_playwright

from pinca_lib.parameters import PROJECT_ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MINUTE = 60_000  # ms

RUN_ALL_CELLS = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    await app.commands.execute('notebook:run-all-cells');
    return panel.content.widgets.filter(cell => cell.model.type === 'code').map(cell =>
        cell.model.outputs.toJSON().filter(output => output.output_type === 'error')
            .map(output => output.ename + ': ' + output.evalue)).flat();
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """A JupyterLab server over a folder with a copy of the notebooks; its address."""
    folder = tmp_path_factory.mktemp("lab")
    for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1",
         f"--port={port}", f"--notebook-dir={folder}", "--allow-root",
         "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"JUPYTER_CONFIG_DIR": str(folder / ".config")},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(f"{address}/api", server)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _wait_until_up(address: str, server: subprocess.Popen) -> None:
    for _ in range(120):
        assert server.poll() is None, "JupyterLab stopped"
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError("JupyterLab did not start within a minute")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of an installed Chromium, else of Playwright's own."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        except Error:
            message = "NOT TESTED: JupyterLab in a browser. No Chromium here; install one."
            warnings.warn(message, stacklevel=1)
            pytest.skip(message)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


@pytest.fixture(scope="module")
def notebook(lab: str, page: Page) -> Page:
    """Notebook 03, opened and run through without an error."""
    page.goto(f"{lab}/lab/tree/03_video_rollout.ipynb?reset")
    ready = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext"
    page.wait_for_function(ready, timeout=2 * MINUTE)
    page.set_default_timeout(4 * MINUTE)
    errors = page.evaluate(RUN_ALL_CELLS)
    assert errors == []
    return page


def scroll_to(page: Page, text: str) -> None:
    """Bring the cell with that heading into view; JupyterLab draws only what is near."""
    page.evaluate(
        """async text => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            const at = notebook.widgets.findIndex(c => c.model.sharedModel.source.includes(text));
            for (const index of [at, at + 1]) await notebook.scrollToItem(index, 'smart');
        }""",
        text,
    )


def keep_screenshot(page: Page, name: str) -> None:
    """Save what the browser shows, for people to look at; never under version control."""
    folder = Path(os.environ.get("PINCA_SCREENSHOTS", PROJECT_ROOT / "outputs" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")


def test_the_film_plays(notebook: Page):
    scroll_to(notebook, "## The film")
    film = notebook.locator("video").first
    film.wait_for(state="attached")
    film.scroll_into_view_if_needed()
    facts = film.evaluate(
        """async film => {
            film.muted = true;
            await film.play();
            await new Promise(done => setTimeout(done, 1500));
            return {time: film.currentTime, width: film.videoWidth, error: film.error};
        }"""
    )
    keep_screenshot(notebook, "film")
    assert facts["error"] is None
    assert facts["width"] > 300
    assert facts["time"] > 0


def test_the_sliders_change_the_picture(notebook: Page):
    scroll_to(notebook, "## Step by step")
    picture = notebook.locator(".jupyter-widgets.widget-image").first
    picture.wait_for(state="visible")
    picture.scroll_into_view_if_needed()

    def shown() -> str:
        source = "async img => await (await fetch(img.src)).text()"
        return hashlib.sha256(picture.evaluate(source).encode()).hexdigest()

    def shown_after(action) -> str:
        before = shown()
        action()
        for _ in range(60):
            notebook.wait_for_timeout(250)
            if shown() != before:
                return shown()
        raise AssertionError("the picture did not change")

    last = shown()
    slider = notebook.locator(".jupyter-widgets .noUi-handle").first
    first = shown_after(lambda: (slider.focus(), notebook.keyboard.press("Home")))
    channel = notebook.locator(".widget-dropdown select").first
    keep_screenshot(notebook, "viewer_first_frame")
    other = shown_after(lambda: channel.select_option(label="TKEped"))
    keep_screenshot(notebook, "viewer_tke")
    assert len({last, first, other}) == 3
