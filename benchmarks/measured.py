"""Run a program in a fresh process, and measure the wall-clock time, processor time and peak memory of it and its descendants."""

import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_TICKS = os.sysconf("SC_CLK_TCK")


class ContenderFailed(RuntimeError):
    """A contender could not run; the message is one line that says why."""


def run_contender(
    program: Path, argument: str, *, python: Path, timeout: float | None = None, processors: int | None = None
) -> dict[str, Any]:
    """Run ``python program argument``, whose last line is a JSON object.

    Returns
    -------
    dict
        The object, and ``whole_seconds``, ``whole_cpu_seconds`` and ``peak_mb`` of the process and its descendants. Memory is resident
        memory; pages that processes share are counted in each.

    Raises
    ------
    ContenderFailed
        It failed, or took more than `timeout` seconds.
    """
    os.sync()  # otherwise the contender would wait for what was written before it
    available = os.sched_getaffinity(0)
    with tempfile.TemporaryFile("w+") as errors:
        started, before = time.perf_counter(), _cpu_of_children()
        try:
            os.sched_setaffinity(0, sorted(available)[:processors])
            command = [str(python), str(program), argument]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment())
        except FileNotFoundError:
            raise ContenderFailed(f"there is no {python}") from None
        finally:
            os.sched_setaffinity(0, available)
        watch = PeakMemory(process.pid)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            for pid in tree(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.communicate()
            raise ContenderFailed(f"{program.name} took more than {timeout:g} s") from None
        finally:
            whole, peak = time.perf_counter() - started, watch.stop()
        if process.returncode:
            raise ContenderFailed(_last_line(errors) or f"{program.name} exited with {process.returncode}")
    told: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return {**told, "whole_seconds": whole, "whole_cpu_seconds": _cpu_of_children() - before, "peak_mb": peak / 1e6}


def cpu_seconds() -> float:
    """Return the processor time of this process and its descendants so far."""
    return sum(cpu_of(pid) for pid in tree(os.getpid()))


def cpu_of(pid: int, *, with_children: bool = True) -> float:
    """Return the processor time of a process, by default including its children that have ended; 0 if the process does not exist."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if with_children else 13])) / _TICKS


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    """Return this process's environment, with this folder on the path for imports."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _last_line(errors: IO[str]) -> str:
    """Return the last line that a program wrote before it failed: in Python, the error itself."""
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return lines[-1][:400] if lines else ""


class PeakMemory:
    """Sums the resident memory of a process and its descendants, fifty times per second."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._peak = max(self._peak, sum(map(resident, tree(self._pid))))

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak


def tree(pid: int) -> list[int]:
    """Return a process and its descendants; nothing if the process does not exist."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    return [pid, *(below for thread in threads for child in _children(thread) for below in tree(child))]


def _children(thread: Path) -> list[int]:
    """Return the processes that a thread started; none if it has ended, in which case they belong to another thread."""
    try:
        return [int(child) for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if the process does not exist."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
