"""The house stays in order; which room may import from which is import-linter's to hold."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pinca_lib
from pinca_lib.runs.parameters import PARAMETERS, PROJECT_ROOT

SCRIPTS = sorted((PROJECT_ROOT / "notebooks").glob("*.py"))
TEXT = {".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ".cfg", ".json", ".csv"}
ROOMS = [room.name for room in pkgutil.iter_modules(pinca_lib.__path__) if room.ispkg]


@pytest.mark.parametrize("room", ["pinca_lib", *(f"pinca_lib.{name}" for name in ROOMS)])
def test_every_name_that_a_room_hands_on_is_there(room):
    face = importlib.import_module(room)
    assert all(hasattr(face, name) for name in face.__all__)


def test_a_name_of_the_package_costs_only_what_it_needs():
    code = "import sys; from pinca_lib import CA; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"h5py", "matplotlib", "numba", "piq", "ipywidgets"} & set(done.stdout.split())


def test_the_name_of_a_function_does_not_depend_on_what_was_imported_before():
    code = (
        "import pinca_lib.rollouts.plain; from pinca_lib import rollout; assert callable(rollout)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebooks_parameters_are_known_and_explained(path):
    source = path.read_text(encoding="utf-8")
    cell = source.partition('# %% tags=["parameters"]\n')[2].partition("\n\n")[0]
    for line in cell.splitlines():
        name, kind = re.match(r"(\w+): (\w+) = .+  # .+", line).groups()
        assert PARAMETERS[name].type.__name__ == kind


def test_no_tracked_file_holds_a_path_of_one_machine():
    listed = subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), "ls-files"], capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = re.compile(r"(?<![\w.])/(?:work|root|home)/|[A-Z]:\\+Users")
    for name in listed.stdout.splitlines():
        path = Path(PROJECT_ROOT, name)
        if path.suffix in TEXT and path.exists() and path.name != Path(__file__).name:
            assert not private.search(path.read_text(encoding="utf-8")), name
