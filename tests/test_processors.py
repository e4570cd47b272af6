"""The processors that a process may use."""

import os
from pathlib import Path

import pytest

from phyagi_assets.processors import container_limit, processors, threads

VERSION_2, VERSION_1 = "0::{}\n", "9:name=systemd:{0}\n4:cpu,cpuacct:{0}\n0::/other\n"


@pytest.mark.parametrize(
    ("groups", "path", "files", "limit"),
    [
        (VERSION_2, "/", {"cpu.max": "300000 100000"}, 3),
        (VERSION_2, "/", {"cpu.max": "max 100000"}, None),
        (VERSION_2, "/", {"cpu.max": "50000 100000"}, 1),  # half a processor
        (VERSION_2, "/pod/container", {"pod/cpu.max": "100000 100000", "pod/container/cpu.max": "max 100000"}, 1),
        (VERSION_1, "/pod", {"cpu/pod/cpu.cfs_quota_us": "100000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}, 1),
        (VERSION_1, "/pod", {"cpu/pod/cpu.cfs_quota_us": "-1\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}, None),
        (VERSION_1, "/seen/outside", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ("not a group\n", "/", {}, None),
    ],
)
def test_limit_of_a_container_is_that_of_its_control_groups(
    tmp_path: Path, groups: str, path: str, files: dict[str, str], limit: int | None
) -> None:
    of_process, root = tmp_path / "cgroup", tmp_path / "root"
    of_process.write_text(groups.format(path))
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    assert container_limit(of_process, root) == limit


def test_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert container_limit(tmp_path / "none", tmp_path) is None


def test_threads_are_those_that_the_environment_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    assert threads() == processors() <= (os.cpu_count() or 1)
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    assert threads() == 7
