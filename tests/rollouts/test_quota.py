"""The quota of a container limits the threads."""

import pytest

from pinca_lib.rollouts.quota import cores_granted

V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("", {}, None),
        ("", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "damaged"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "max 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/a\n", {"another/cpu.max": "200000 100000\n"}, None),
        ("1:cpu:/\n0::/\n", dict(zip(V1, ("400000\n", "100000\n"), strict=True)), 4),
        ("1:cpu:/\n0::/\n", dict(zip(V1, ("-1\n", "100000\n"), strict=True)), None),
        (
            "9:name=systemd:/\n2:cpu,cpuacct:/a:b/c\n",
            {f"a:b/{name}": text for name, text in zip(V1, ("200000", "100000"), strict=True)},
            2,
        ),
    ],
)
def test_the_least_quota_counts_of_control_groups_of_both_versions(own, files, cores, tmp_path):
    assert cores_granted(tmp_path, tmp_path / "own") is None  # as on other systems than Linux
    for name, text in files.items():
        path = tmp_path / ("cpu" if "cfs" in name else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    assert cores_granted(tmp_path, tmp_path / "own") == cores
