"""The house stays in order: imports run one way, channel numbers have names, nothing is private."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

import pinca_lib
from pinca_lib.parameters import PARAMETERS, PROJECT_ROOT

ORDER = re.findall(r"``(\w+)``", pinca_lib.__doc__)
MODULES = sorted((PROJECT_ROOT / "pinca_lib").glob("[!_]*.py"))
SCRIPTS = sorted((PROJECT_ROOT / "notebooks").glob("*.py"))
TEXT = {".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ".cfg", ".json", ".csv"}


def test_the_packages_docstring_lists_every_module_once():
    assert sorted(ORDER) == [path.stem for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_only_from_those_before_it(path):
    earlier = set(ORDER[: ORDER.index(path.stem)])
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "pinca_lib":
            imported |= {name.name for name in node.names} & set(ORDER)
        elif isinstance(node, ast.ImportFrom) and "pinca_lib." in (node.module or ""):
            imported.add(node.module.partition(".")[2])
    assert imported <= earlier, f"{path.stem} imports {imported - earlier}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


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
