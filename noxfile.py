"""The project's commands: ``nox -s demo``, ``nox -s tests`` and a few for maintainers.

Each sets up an environment on its first run, on any system, and reuses it after. Those that run the
notebooks for people share one, since PyTorch takes 5 GB of it.
"""

import os
import platform
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"  # ``requires``
nox.options.sessions = ["demo"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"

PROGRAMS = Path(".nox", "environment", "Scripts" if platform.system() == "Windows" else "bin")

EXPERIMENT = ("01_init_nca", "02_pi_nca", "03_video_rollout")
NOTEBOOKS = (
    *EXPERIMENT,
    "04_evaluate",
    "05_benchmark",
    "06_viewer",
    "07_your_place",
    "08_comparison",
    "09_sweep",
)
AS_PAGE = ("--to=html", "--log-level=ERROR", "--CoalesceStreamsPreprocessor.enabled=True")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def _install(session: nox.Session, what: str) -> None:
    if not shutil.which("jupyter", path=session.bin):
        session.log(
            "The first time this takes minutes; on Linux, PyTorch for CUDA is 3 GB to download."
        )
    session.install("-c", "constraints.txt", "-e", what)


@nox.session
def environment(session: nox.Session) -> None:
    """Install what the notebooks need, for the demo, the lab and the viewer."""
    _install(session, ".[places,cluster]")


in_environment = nox.session(venv_backend="none", requires=["environment"])


def _run(session: nox.Session, program: str, *arguments: str) -> None:
    session.run(str(PROGRAMS / program), *arguments)


@in_environment
def demo(session: nox.Session) -> None:
    """Show the wind in a place, then run the experiment 01 → 02 → 03, headlessly."""
    folder = Path("outputs", "demo")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("07_your_place", *EXPERIMENT):
        output = folder / f"{name}.ipynb"
        _run(session, "papermill", f"notebooks/{name}.ipynb", str(output), *session.posargs)
        _run(session, "jupyter", "nbconvert", *AS_PAGE, str(output))
    session.log(f"Done. Open {folder / '07_your_place.html'} in a browser: the wind in a place;")
    session.log(f"and {folder / '03_video_rollout.html'}: a rollout beside the simulation.")
    session.log(f"The runs' logs, checkpoints and figures are in {Path('outputs').resolve()}.")


@nox.session
def tests(session: nox.Session) -> None:
    """Check style, run every test, and run and compare the committed notebooks."""
    _install(session, ".[tests]")
    _find_or_install_browser(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("mypy")
    session.run("pytest", "--nbval-lax", "tests", "notebooks", *session.posargs)


@in_environment
def lab(session: nox.Session) -> None:
    """Open JupyterLab on the notebooks."""
    _run(session, "jupyter", "lab", "--notebook-dir", "notebooks", *session.posargs)


@in_environment
def viewer(session: nox.Session) -> None:
    """Show the viewer alone in the browser, to this machine only."""
    _run(session, "voila", "notebooks/06_viewer.ipynb", "--Voila.ip=127.0.0.1", *session.posargs)


@nox.session
def benchmark(session: nox.Session) -> None:
    """Time the rule as written, ours, and CAX, on all grids."""
    _install(session, ".[benchmark]")
    session.run("python", "-m", "benchmarks.speed", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site in build/docs/html; a warning is an error."""
    _install(session, ".[docs]")
    session.run("python", "docs/tables.py", "--check")
    site = Path("build", "docs", "html")
    options = ["--fail-on-warning", "--keep-going", "--fresh-env", "-d", "build/docs/doctrees"]
    session.run("sphinx-build", *options, "-c", "docs", ".", str(site), *session.posargs)
    session.log(f"Done. Open {site / 'docs' / 'index.html'} in a browser.")


@nox.session
def notebooks(session: nox.Session) -> None:
    """Make the committed .ipynb files from their .py, with the outputs of the quick defaults."""
    _install(session, ".[benchmark,places]")
    with session.chdir("notebooks"):
        for name in session.posargs or NOTEBOOKS:
            session.run("jupytext", "--to", "ipynb", "--update", f"{name}.py")
            session.run(
                "jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace",
                "--ExecutePreprocessor.record_timing=False",
                "--ExecutePreprocessor.store_widget_state=False",
                f"{name}.ipynb",
            )  # fmt: skip
            # A call of its own, since what joins a cell's lines of output goes before what runs it.
            session.run(
                "jupyter", "nbconvert", "--to", "notebook", "--inplace", "--coalesce-streams",
                f"{name}.ipynb",
            )  # fmt: skip


def _find_or_install_browser(session: nox.Session) -> None:
    """Provide a Chromium for the tests in JupyterLab; without one they are skipped, loudly."""
    if any(map(shutil.which, BROWSERS)):
        return
    is_debian_root = shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0
    if platform.system() == "Linux" and is_debian_root:
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]):
            session.run(*command, external=True, success_codes=range(256), silent=True)
    else:
        session.run("playwright", "install", "chromium", success_codes=range(256))
