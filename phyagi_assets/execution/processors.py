"""The processors that a process may use, and the threads that it uses them with."""

import os

THREADS = "RAYON_NUM_THREADS"
"""Environment variable with the number of threads of a process that encodes; engines with threads of their own read it too."""


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Return the number of threads that encode in this process: its share of the processors, at least one."""
    chosen = os.environ.get(THREADS, "")
    return max(1, int(chosen) if chosen.isdecimal() else processors())
