"""The task of every contender: its arguments, how its batches are counted, and what it prints at the end.

A contender reads two corpora of token arrays as an endless run of shuffled batches, with three samples of the first corpus for one of the
second, and with ids and labels as int64 tensors. Before that, untimed, it converts the arrays to the files that it reads (``prepared``).
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import contender
import torch
from contender import Stopwatch, done
from measured import tree

BATCH = 16
_WARM_SECONDS = 1.5
"""Time for which batches are counted if all files are in the page cache, in seconds."""
_COLD_BATCHES = 200
"""Largest number of batches that are counted if no file is in the page cache: pages that were read for one batch would serve later ones."""
_COLD_SECONDS = 5.0
"""Largest time for which they are counted, in seconds."""


def task() -> Any:
    """Return what this program is given.

    Returns
    -------
    object
        With ``source``, the folder of the token arrays; ``prepared``, a folder for what the program makes of them, kept from run to run;
        ``seq_len``; ``workers``, the number of the loader's workers; and ``is_cold``, whether the page cache is to hold nothing of the
        files when the first batch is asked for.
    """
    given = contender.given()
    given.prepared = given.kept / f"{Path(sys.argv[0]).stem}-{given.seq_len}"
    return given


def run(given: Any, prepare: Callable[[Path], object] | None, loader: Callable[[], Iterable[Any]], tensors: Callable[[Any], Any]) -> None:
    """Prepare, open, and count batches.

    Parameters
    ----------
    prepare
        Makes the files that the loader reads in a folder, once per contender and `seq_len`; None if the loader reads the token arrays.
    loader
        Opens them.
    tensors
        Returns the ids and the labels of a batch.
    """
    if prepare and not (given.prepared / "done").exists():
        given.prepared.mkdir(parents=True, exist_ok=True)
        prepare(given.prepared)
        (given.prepared / "done").touch()
    files = [path for folder in (given.source, given.prepared) for path in folder.rglob("*") if path.is_file()]
    for path in files:
        (_drop if given.is_cold else _read)(path)
    started = time.perf_counter()
    batches = _endless(loader)
    ids, labels = tensors(next(batches))
    first = time.perf_counter() - started
    for tensor in (ids, labels):
        if tensor.shape != (BATCH, given.seq_len) or tensor.dtype != torch.int64:
            raise SystemExit(f"a batch is {tensor.dtype} {tuple(tensor.shape)}")
    count, limit = 0, (_COLD_SECONDS if given.is_cold else _WARM_SECONDS)
    with Stopwatch() as watch:
        started = time.perf_counter()
        for batch in batches:
            tensors(batch)
            count += 1
            if time.perf_counter() - started >= limit or (given.is_cold and count == _COLD_BATCHES):
                break
    done(watch, tokens=count * BATCH * given.seq_len, first_seconds=first)
    for worker in tree(os.getpid())[1:]:  # loader workers that are still busy; they would keep the output open
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    os._exit(0)


def _endless(loader: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    opened = loader()
    while True:
        yield from opened


def _read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def _drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
