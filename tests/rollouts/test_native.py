"""Cached machine code is used until one of its sources changes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

import pinca_lib
from pinca_lib.rollouts.cpu import grids, kernels, marching, work_stealing
from pinca_lib.rollouts.cpu.native import SOURCES, folder

PACKAGE = Path(pinca_lib.__file__).parent


@pytest.mark.parametrize("changed", SOURCES)
def test_a_change_in_any_compiled_file_changes_the_cache_folder(changed, tmp_path):
    for name in SOURCES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, tmp_path / name)
    before = folder(tmp_path)
    assert before.name == folder(PACKAGE).name
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert folder(tmp_path) != before


def test_the_sources_are_all_files_with_compiled_code_or_its_constants():
    uses = ("import native\n", "intrinsic")
    found = {
        path
        for path in PACKAGE.glob("rollouts/cpu/*.py")
        if any(use in path.read_text("utf-8") for use in uses)
    }
    for path in list(found):
        for module in re.findall(
            r"^from pinca_lib\.([\w.]+) import", path.read_text("utf-8"), re.M
        ):
            found.add(PACKAGE / f"{module.replace('.', '/')}.py")
    assert {path.relative_to(PACKAGE).as_posix() for path in found} == set(SOURCES)


@pytest.mark.parametrize("loop", [marching.march, kernels.step, grids.cut, work_stealing.meet])
def test_machine_code_is_cached_in_the_folder(loop):
    assert folder(PACKAGE, config.CACHE_DIR) in Path(loop.stats.cache_path).parents


def test_a_user_can_choose_the_cache_folder(tmp_path):
    assert folder(PACKAGE, str(tmp_path)).parent == tmp_path


SCRIPT = """
from pinca_lib.rollouts.cpu.native import native
@native
def double(x): return 2 * x
assert double(3) == 6
"""


def start(folder: Path, **environment: str) -> str:
    """Compile a function in a process of its own, and return what it writes to stderr."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def test_damaged_machine_code_is_compiled_again_with_one_warning(tmp_path):
    assert start(tmp_path) == ""
    (code,) = tmp_path.rglob("*.nbc")
    content = bytearray(code.read_bytes())
    content[len(content) // 2] ^= 1
    code.write_bytes(content)
    assert start(tmp_path).count("UserWarning: compiled code in") == 1
    for file in tmp_path.rglob("*.nb?"):  # as a power cut leaves them
        file.write_bytes(b"")
    assert start(tmp_path).count("UserWarning: compiled code in") == 1


@pytest.mark.skipif(os.name == "nt", reason="the user's cache folder cannot be moved")
def test_without_a_writable_folder_loops_are_compiled_with_one_warning(tmp_path):
    no_folder = tmp_path / "file"
    no_folder.touch()
    nowhere = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"), str(no_folder))
    assert start(tmp_path, **nowhere).count("cannot be written") == 1
