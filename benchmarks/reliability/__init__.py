"""A campaign against what the project promises about its files: kills, power cuts, damage, misuse.

    python -m benchmarks.reliability [--seed 0] [--scale 1] [--out FILE]

runs every kind of trial and writes how each ended to ``benchmarks/tables/reliability.csv``. It
needs ``os.fork``, so Linux or macOS; power cuts and a full disk need root on Linux, to mount small
file systems, and are left out without it. docs/reliability.md says what the table means.
"""
