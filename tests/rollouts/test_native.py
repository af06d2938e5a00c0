"""Cached machine code is used until one of its sources changes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pinca_lib.rollouts.cpu.native import CONSTANTS, PACKAGE, stamp

COMPILED = sorted(PACKAGE.glob("rollouts/cpu/*.py"))


@pytest.mark.parametrize("changed", ["rollouts/cpu/lanes.py", *CONSTANTS])
def test_a_change_in_any_compiled_file_makes_cached_code_invalid(changed, tmp_path):
    for file in (*COMPILED, *(PACKAGE / name for name in CONSTANTS)):
        copy = tmp_path / file.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    before = stamp(tmp_path)
    assert before == stamp()
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert stamp(tmp_path) != before


def test_the_constants_are_all_that_compiled_files_import():
    compiled = [path for path in COMPILED if "import native" in path.read_text("utf-8")]
    found = {
        f"{module.replace('.', '/')}.py"
        for path in compiled
        for module in re.findall(r"^from pinca_lib\.([\w.]+) import", path.read_text("utf-8"), re.M)
    }
    assert {name for name in found if not name.startswith("rollouts/cpu/")} == set(CONSTANTS)


SCRIPT = """
from pinca_lib.rollouts.cpu.native import native
@native
def double(x): return 2 * x
assert double(3) == 6
"""
FULL_DISK = """
from errno import ENOSPC
from numba.core.caching import IndexDataCacheFile
def fail(*_): raise OSError(ENOSPC, "No space left on device")
IndexDataCacheFile._open_for_write = fail
"""


def start(folder: Path, first_line: str = "", **environment: str) -> str:
    """Compile a function in a process of its own, and return what it writes to stderr."""
    script = folder / "script.py"
    script.write_text(first_line + SCRIPT)
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


def test_damaged_machine_code_is_compiled_again_also_on_a_full_disk(tmp_path):
    start(tmp_path)
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"")
    (tmp_path / "full_disk.py").write_text(FULL_DISK)
    assert start(tmp_path, "import full_disk").count("saved (No space left on device)") == 1


@pytest.mark.skipif(os.name == "nt", reason="the user's cache folder cannot be moved")
def test_without_a_writable_folder_loops_are_compiled_with_one_warning(tmp_path):
    no_folder = tmp_path / "__pycache__"  # nor can Numba make a folder of this name
    no_folder.touch()
    nowhere = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"), str(no_folder))
    assert start(tmp_path, **nowhere).count("cannot be written") == 1
