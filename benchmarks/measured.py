"""Run a contender in a fresh process, and watch how much memory its whole tree of processes takes."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One run of one contender."""

    seconds: float
    """Inside the process, after imports and with the tokenizer loaded."""
    whole_seconds: float
    """Of the process, from start to end."""
    tokens: int
    digest: str
    """Of the token array."""
    peak_mb: float
    """Most resident memory that the tree of processes had at once, shared pages counted in each."""


def run_contender(program: Path, arguments: list[str]) -> Measured:
    """Run ``python program arguments…``, whose last line is JSON with seconds, tokens and digest."""
    os.sync()  # or the contender would wait for what was written before it
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(program), *arguments], stdout=subprocess.PIPE, text=True)
    watch = _PeakMemory(process.pid)
    output, _ = process.communicate()
    whole = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{program.name} {' '.join(arguments)} ended with {process.returncode}")
    return Measured(**json.loads(output.strip().splitlines()[-1]), whole_seconds=whole, peak_mb=watch.stop() / 1e6)


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
