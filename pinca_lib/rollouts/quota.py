"""The quota of processor time that a container has.

Libraries start as many threads as the machine has cores. In a container with a quota of two cores
on a machine of 64, the system would stop all 64 threads for most of the time.
"""

from pathlib import Path


def cores_granted(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return how many cores the quota of this container amounts to, rounded up.

    Parameters
    ----------
    root : Path
        Where Linux shows the control group of the container: ``cpu.max`` in version 2,
        ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` in version 1.

    Returns
    -------
    int or None
        At least 1; None if there is no quota.
    """
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = map(int, " ".join((root / name).read_text() for name in files).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            return -(-quota // period)
    return None
