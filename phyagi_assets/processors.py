"""The processors that a process may use, and the number of its threads."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

THREADS = "RAYON_NUM_THREADS"
"""Environment variable with the number of threads of a process that encodes; engines with threads of their own read it too."""


def processors() -> int:
    """Return the number of processors that this process may use: its affinity, up to the limit of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _limit_of_container() or allowed)


def threads() -> int:
    """Return the number of threads that encode in this process: its share of the processors, at least one."""
    chosen = os.environ.get(THREADS, "")
    return max(1, int(chosen) if chosen.isdecimal() else processors())


@cache
def _limit_of_container() -> int | None:
    return container_limit(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))


def container_limit(groups: Path, root: Path) -> int | None:
    """Return the processor limit of the control groups of a process, in whole processors, at least one; None without a limit.

    Containers with a limit see all processors of their machine. Engines in Rust take the same limit into account.

    Parameters
    ----------
    groups
        File that names the groups of the process, one per line: ``0::/path``, or ``4:cpu,cpuacct:/path`` in version 1.
    root
        Folder of all control groups.
    """
    limits: list[int] = []
    with suppress(OSError, ValueError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and "cpu" not in controllers.split(","):
                continue
            group = PurePosixPath(path)
            for above in (group, *group.parents):  # the limit of a group applies to the groups in it
                folder = root.joinpath("cpu" if number != "0" else "", above.relative_to("/"))
                with suppress(OSError, ValueError):
                    limits.append(_limit(folder))
    return max(1, min(limits)) if limits else None


def _limit(group: Path) -> int:
    """Return the limit of a control group: processor time per period, both in microseconds."""
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
    else:
        quota, period = (group.joinpath(f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
    if int(quota) < 0:
        raise ValueError("the group has no limit")
    return int(quota) // int(period)
