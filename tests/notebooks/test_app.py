"""The viewer as an app in a real browser: no code to be seen, and all of it at work."""

from collections.abc import Iterator
from pathlib import Path

import papermill
import pytest
from browser import browsing, check_viewer, keep_screenshot, serving
from playwright.sync_api import Page

from pinca_lib.runs.parameters import PROJECT_ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the app's notebook, whose saved files are to be kept here."""
    folder = tmp_path_factory.mktemp("app")
    papermill.execute_notebook(
        PROJECT_ROOT / "notebooks" / "06_viewer.ipynb", folder / "06_viewer.ipynb",
        {"output_dir": str(folder / "saved")}, prepare_only=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    command = ("voila", str(folder / "06_viewer.ipynb"), "--Voila.ip=127.0.0.1", "--port={port}")
    own = {"answers": "/voila/static/voila.js", "JUPYTER_CONFIG_DIR": str(folder / ".config")}
    with browsing() as page, serving(*command, "--no-browser", **own) as address:
        page.goto(address)
        yield page


def test_the_app_shows_the_viewer_alone_and_it_works(page: Page, folder: Path):
    check_viewer(page, folder / "saved", "app")
    assert page.locator("text=read_parameters").count() == 0
    assert "Wind between buildings" in page.inner_text("body")
    keep_screenshot(page, "app")
