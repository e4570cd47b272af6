"""Run a contender in a fresh process, and watch how much memory its whole tree of processes takes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_FIGURES = ("seconds", "tokens", "digest")


class ContenderFailed(RuntimeError):
    """A contender could not run, or did not do what it should; the message says why, in a line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One run of one contender."""

    seconds: float
    """Inside the process, after imports and with the tokenizer loaded."""
    whole_seconds: float
    """Of the process, from start to end."""
    tokens: int = 0
    digest: str = ""
    """Of the token array."""
    peak_mb: float
    """Most resident memory that the tree of processes had at once, shared pages counted in each."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else the contender said."""


def run_contender(program: Path, arguments: list[str], *, timeout: float | None = None, python: Path = Path(sys.executable)) -> Measured:
    """Run ``python program arguments…``, whose last line is JSON with seconds and, where they make sense, tokens and digest.

    Parameters
    ----------
    timeout
        Seconds after which it is ended.
    python
        The interpreter that runs it.

    Raises
    ------
    ContenderFailed
        It ended with an error, or not in time.
    """
    os.sync()  # or the contender would wait for what was written before it
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        command = [str(python), str(program), *arguments]
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment())
        except FileNotFoundError:
            raise ContenderFailed(f"there is no {python}") from None
        watch = _PeakMemory(process.pid)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            for pid in _tree(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.communicate()
            raise ContenderFailed(f"{program.name} did not end in {timeout:g} s") from None
        finally:
            whole, peak = time.perf_counter() - started, watch.stop()
        if process.returncode:
            raise ContenderFailed(_last_line(errors) or f"{program.name} ended with {process.returncode}")
    told = json.loads(output.strip().splitlines()[-1])
    figures = {name: told.pop(name) for name in _FIGURES if name in told}
    return Measured(**figures, whole_seconds=whole, peak_mb=peak / 1e6, details=told)


def _environment() -> dict[str, str]:
    """This process's, in which the modules of the benchmarks are found."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _last_line(errors: IO[str]) -> str:
    """What a program said last before it failed, which for Python is the error itself."""
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return lines[-1][:400] if lines else ""


class _PeakMemory:
    """Adds up the resident memory of a process and all its descendants, fifty times a second."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._peak = max(self._peak, sum(map(_resident, _tree(self._pid))))

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak


def _tree(pid: int) -> list[int]:
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(below for child in children for below in _tree(child))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
