"""Shared parts of the benchmark programs: reading the argument, timing, and printing the result."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from measured import cpu_seconds

PATHS = ("source", "tokenizer", "work", "kept")


def given() -> Any:
    """Return what this program is given, as attributes; folders are paths."""
    told = json.loads(sys.argv[1])
    return SimpleNamespace(**{name: Path(value) if name in PATHS else value for name, value in told.items()})


class Stopwatch:
    """Measures the wall-clock time and the processor time of a block, in seconds, the latter with all descendants."""

    seconds = cpu_seconds = 0.0

    def __enter__(self) -> Self:
        self._cpu, self._started = cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter() - self._started, cpu_seconds() - self._cpu


def done(watch: Stopwatch, **details: Any) -> None:
    """Print what was measured: the time, and details by name."""
    print(json.dumps({"seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds, **details}, default=str), flush=True)
