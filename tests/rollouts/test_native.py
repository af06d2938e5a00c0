"""Cached machine code is used until one of its sources changes."""

import re
import shutil
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
    found.discard(PACKAGE / "rollouts/cpu/native.py")
    assert {path.relative_to(PACKAGE).as_posix() for path in found} == set(SOURCES)


@pytest.mark.parametrize("loop", [marching.march, kernels.step, grids.cut, work_stealing.meet])
def test_machine_code_is_cached_in_the_folder(loop):
    assert folder(PACKAGE, config.CACHE_DIR) in Path(loop.stats.cache_path).parents


def test_a_user_can_choose_the_cache_folder(tmp_path):
    assert folder(PACKAGE, str(tmp_path)).parent == tmp_path
