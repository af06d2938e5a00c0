"""Run a command of the project on a machine that has Python 3.11 or newer, and nothing else.

    python3 start.py demo      run the experiment on the embedded data
    python3 start.py tests     pass all the tests
    python3 start.py lab       open JupyterLab on the notebooks
    python3 start.py viewer    show the viewer alone in the browser
    python3 start.py docs      build the documentation site

On Windows it is ``py start.py``. The script makes a virtual environment, ``.venv-start``, installs
nox into it and hands the command on; nox makes the environments of the commands (``noxfile.py``).
Nothing outside of this folder is changed, except that root's ``tests`` on Debian install Chromium.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv-start"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
DONE = ENVIRONMENT / "nox-is-installed"


def main() -> int:
    """Set up what is missing, and run nox."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036  older ones run this script, too
        print(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
        return 1
    if not DONE.exists():
        print("Setting up nox in .venv-start …", flush=True)
        try:
            venv.create(ENVIRONMENT, with_pip=True, clear=True)
        except subprocess.CalledProcessError:
            print("This Python cannot make virtual environments. On Debian and Ubuntu, run: "
                  "sudo apt install python3-venv")  # fmt: skip
            return 1
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if code := subprocess.call([*pip, "-c", ROOT / "constraints.txt", "nox"], cwd=ROOT):
            print("nox could not be installed; what pip says stands above.")
            return code
        DONE.touch()
    session, *arguments = sys.argv[1:]
    nox = [PYTHON, "-m", "nox", "-s", session, *(["--", *arguments] if arguments else [])]
    return subprocess.call(nox, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
