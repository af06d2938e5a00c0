"""Run ``python -m pinca_lib.benchmark``: the former name of ``python -m benchmarks.speed``."""

import subprocess
import sys

if __name__ == "__main__":
    sys.exit(subprocess.call([sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]]))
