"""Notebook 03 in a real JupyterLab in a real browser: the film plays, the viewer does its work."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import papermill
import pytest
from browser import MINUTE, browsing, check_viewer, keep_screenshot, serving
from playwright.sync_api import Page

from pinca_lib.runs.parameters import PROJECT_ROOT

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
NOTEBOOK = "03_video_rollout"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with notebook 03, as committed and with what it makes to be kept here."""
    folder = tmp_path_factory.mktemp("lab")
    source = PROJECT_ROOT / "notebooks" / f"{NOTEBOOK}.ipynb"
    shutil.copy(source, folder / "committed.ipynb")
    papermill.execute_notebook(
        source, folder / f"{NOTEBOOK}.ipynb", {"output_dir": str(folder / "saved")},
        prepare_only=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[str]:
    """A JupyterLab server over the folder; its address."""
    with serving(
        "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", "--port={port}",
        f"--notebook-dir={folder}", "--allow-root", "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
        answers="/api", JUPYTER_CONFIG_DIR=str(folder / ".config"),
    ) as address:  # fmt: skip
        yield address


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browsing() as page:
        yield page


def open_notebook(page: Page, lab: str, name: str) -> Page:
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset")
    ready = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext"
    page.wait_for_function(ready, timeout=2 * MINUTE)
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


def test_the_committed_notebook_shows_figure_and_film_without_a_kernel(page: Page, lab: str):
    open_notebook(page, lab, "committed")
    scroll_to(page, "## Change the city")
    figure = page.locator("img[alt*='steps']").first
    figure.wait_for(state="attached")
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    keep_screenshot(page, "without_kernel")
    assert figure.evaluate("img => img.naturalWidth") > 300
    assert figure.is_visible()
    film = figure.locator("xpath=..").locator("video").first
    assert film.evaluate("film => film.readyState") > 0


@pytest.fixture(scope="module")
def notebook(lab: str, page: Page) -> Page:
    """Notebook 03, opened and run through without an error."""
    open_notebook(page, lab, NOTEBOOK)
    assert page.evaluate(RUN_ALL_CELLS) == []
    return page


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


def test_the_viewer_plays_looks_back_builds_undoes_and_saves(notebook: Page, folder: Path):
    scroll_to(notebook, "## Change the city")
    check_viewer(notebook, folder / "saved", "lab")
