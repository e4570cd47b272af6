"""Opening of a number of samples up to the first batch, as the programs that measure it share it."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from contender import Stopwatch, done, given

SEQ_LEN, BATCH = 2048, 16
SHARDS = 32
"""Largest number of files per source, so that the number of files does not grow with that of the samples."""


def arguments() -> tuple[Path, int, int]:
    """Return the folder, and the numbers of samples and sources."""
    told = given()
    return told.kept / f"{Path(sys.argv[0]).stem}-{told.samples}-{told.sources}", told.samples, told.sources


def sparse(path: Path, header: int, tokens: int) -> None:
    """Make a sparse file of the size of a header and a number of tokens of two bytes; it takes no disk space."""
    with path.open("ab") as file:
        file.truncate(header + 2 * tokens)


def run(folder: Path, prepare: Callable[[], object], loader: Callable[[], Iterable[Any]]) -> None:
    """Make the files unless they exist, open them, read a batch, and print the time and the memory that this took."""
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        prepare()
        (folder / "done").touch()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here on
    before = _peak_mb()
    with Stopwatch() as watch:
        next(iter(loader()))
    done(watch, memory_mb=_peak_mb() - before)


def _peak_mb() -> float:
    """Return the peak memory of this process. ``getrusage`` may report the peak of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
