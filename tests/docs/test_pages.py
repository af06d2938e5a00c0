"""The documentation keeps up with what it describes: tables, public names, rooms, messages."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from types import ModuleType

import pinca_lib
from pinca_lib import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"


def write_tables(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(DOCS / "tables.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_table_says_what_its_file_says():
    done = write_tables("--check")
    assert not done.returncode, done.stdout + done.stderr


def test_a_stale_table_is_found_and_mended(tmp_path):
    page = tmp_path / "page.md"
    shutil.copy(DOCS / "comparison.md", page)
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("| 0.35 |", "| 0.99 |"), encoding="utf-8")
    assert write_tables("--check", str(page)).returncode
    assert not write_tables(str(page)).returncode
    assert page.read_text(encoding="utf-8") == fresh


def test_every_public_name_is_on_the_page_of_the_library():
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\.\. (?:auto\w+|data):: (\w+)$", page, re.MULTILINE))
    values = {name: getattr(pinca_lib, name) for name in pinca_lib.__all__}
    public = {name for name, value in values.items() if not isinstance(value, ModuleType)}
    assert described == public - {"__version__"}


def test_every_room_is_described():
    settings = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    text = (DOCS / "design.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms of the library")[2].partition("\n## ")[0]
    rooms = [room for layer in contract["layers"] for room in re.findall(r"\w+", layer)]
    assert [room for room in rooms if f"`{room}" not in table and f"/{room}.py" not in table] == []


def test_every_message_that_is_explained_is_one_of_the_library():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| (?:message|warning) \|.*?(?=\n\n)", page, re.MULTILINE | re.DOTALL)
    cells = [line.split(" | ")[0] for table in tables for line in table.splitlines()[2:]]
    explained = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    said = texts_of_the_library()
    assert len(explained) > 50
    assert [message for message in explained if not is_among(message, said)] == []


def texts_of_the_library() -> list[str]:
    """Return all strings of the library's code, with ``…`` for what is filled in."""
    found = []
    for path in (PROJECT_ROOT / "pinca_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                ]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def is_among(message: str, texts: list[str]) -> bool:
    """Return whether the fixed parts of a message occur in one text, in their order."""
    parts = [re.escape(part.strip()) for part in message.split("…")]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in texts)
