"""The quota of processor time that a container or a service has.

Libraries start as many threads as the machine has cores. In a container with a quota of two cores
on a machine of 64, the system would stop all 64 threads for most of the time.
"""

from pathlib import Path

FILES = {  # with quota and period, by the name of the controller: version 2 of control groups, 1
    "": ("cpu.max",),
    "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
}


def cores_granted(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return how many cores the quota amounts to, rounded up; None if there is none.

    It is the least one of the control group of this process (``own``) and of those around it.
    """
    paths = dict.fromkeys(FILES, "/")
    try:
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            paths |= dict.fromkeys(controllers.split(","), path)
    except (OSError, ValueError):  # not Linux
        pass
    granted = []
    for controller, files in FILES.items():
        group = groups / controller / paths[controller].lstrip("/")
        for folder in (group, *group.parents):
            try:
                texts = [(folder / name).read_text() for name in files]
                quota, period = map(int, " ".join(texts).split())
            except (OSError, ValueError):  # no such file, or "max"
                continue
            if quota > 0 and period > 0:
                granted.append(-(-quota // period))
    return min(granted, default=None)
