"""The task of every contender: one cold epoch as fast as possible, and the first batches at the pace of a consumer, cold again."""

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from contender import Stopwatch, done, given
from from_bucket.relay import received

BATCH = 16
_SKIPPED = 100
"""Number of batches after which waiting counts."""


def task() -> Any:
    """Return what this program is given."""
    return given()


def run(told: Any, opened: Callable[[Path], Iterable[Any]], tokens_of: Callable[[Any], int]) -> None:
    """Measure, given a function that opens a loader with an empty cache folder, and one that counts the tokens of a batch."""
    told.work.mkdir(parents=True, exist_ok=True)
    watch, tokens, before = Stopwatch(), 0, received(told.counter)
    cold = told.work / "cold"
    shutil.rmtree(cold, ignore_errors=True)
    with watch:
        first = 0.0
        for batch in opened(cold):
            tokens += tokens_of(batch)
            first = first or time.perf_counter() - watch._started
    used = sum(path.stat().st_size for path in cold.rglob("*") if path.is_file()) if cold.exists() else 0
    fetched = (received(told.counter) - before) / (2 * max(tokens, 1))
    shutil.rmtree(cold, ignore_errors=True)
    paced = told.work / "paced"
    shutil.rmtree(paced, ignore_errors=True)
    waits, pace = [], 0.0
    started = time.perf_counter()
    for number, batch in enumerate(opened(paced)):
        now = time.perf_counter()
        waits.append(now - started)
        if number >= told.paced:
            break
        pace = tokens_of(batch) / told.consumer
        time.sleep(pace)
        started = time.perf_counter()
    shutil.rmtree(paced, ignore_errors=True)
    done(
        watch,
        tokens=tokens,
        rate=tokens / watch.seconds / 1e6,
        cpu_rate=tokens / watch.cpu_seconds / 1e6,
        first=first,
        fetched=fetched,
        longest_ms=1000 * max(waits[_SKIPPED:], default=0.0),
        batch_ms=1000 * pace,
        cache_mb=used / 1e6,
    )
