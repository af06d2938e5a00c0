"""Machine code is kept for as long as nothing that it is made of changes."""

import shutil
from pathlib import Path

import pytest
from numba import config

from pinca_lib.rollouts.cpu import grids, kernels, marching, prepared as cities, turns
from pinca_lib.rollouts.cpu.native import SOURCES, folder

PACKAGE = Path(cities.__file__).parent


@pytest.mark.parametrize("changed", SOURCES)
def test_a_change_of_any_file_that_is_compiled_is_a_change_of_folder(changed, tmp_path):
    for name in SOURCES:
        shutil.copy(PACKAGE / f"{name}.py", tmp_path)
    before = folder(tmp_path)
    assert before.name == folder(PACKAGE).name
    with (tmp_path / f"{changed}.py").open("a") as file:
        file.write("\n")
    assert folder(tmp_path) != before


def test_what_is_compiled_or_makes_compiled_code_is_among_them():
    uses = ("import native\n", "intrinsic")
    found = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if any(use in path.read_text("utf-8") for use in uses)
    }
    assert found == set(SOURCES)


@pytest.mark.parametrize("loop", [marching.march, kernels.step, grids.cut, turns.meet])
def test_it_is_kept_there(loop):
    assert folder(PACKAGE, config.CACHE_DIR) in Path(loop.stats.cache_path).parents


def test_a_user_chooses_where(tmp_path):
    assert folder(PACKAGE, str(tmp_path)).parent == tmp_path
