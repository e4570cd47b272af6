"""Worker processes that check many variants with limits on time and memory, and are restarted after a crash."""

import faulthandler
import json
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.forks import FORKS

ADDRESS_SPACE = 8 << 30
"""Largest address space of a worker, in bytes; allocations of sizes from damaged files fail beyond it."""
SECONDS = 60
"""Time limit per variant on a loaded machine."""

VariantCheck = Callable[[int], tuple[str, str]]
"""Function that checks the variant of a number and returns its description and outcome."""


def check_variants(check: VariantCheck, first: int, stop: int) -> None:
    """Check variants in a worker process, and write the outcome of each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    before = peak()
    for number in range(first, stop):
        _write({"begun": number})
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        started = time.process_time()
        try:
            what, outcome = check(number)
        except Exception:
            what, outcome = "", f"fault: {traceback.format_exc()}"
        seconds = time.process_time() - started
        _write({"what": what, "outcome": outcome, "seconds": seconds, "grown": peak() - before})
    faulthandler.cancel_dump_traceback_later()


def _write(record: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(kw_only=True)
class VariantResults:
    """Outcomes of all variants."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Number of variants by kind of outcome: right, error, or a fault."""
    problems: list[str] = field(default_factory=list)
    """Every outcome that was neither right nor an error that names the file."""
    grown: int = 0
    """Largest growth of the memory of a worker after its imports, in bytes."""
    slowest: float = 0.0
    """CPU seconds of the slowest variant."""
    seconds: float = 0.0
    """CPU seconds of all variants."""


def run_variants(prepare: Callable[[Path], VariantCheck], folder: Path, first: int, stop: int) -> VariantResults:
    """Check variants in a worker process, and start a new one only after a crash.

    Parameters
    ----------
    prepare
        Function of a module that gets the folder in the worker and returns the check.
    folder
        Folder in which the worker may write.
    first, stop
        Numbers of the first variant and of the one after the last.
    """
    results = VariantResults()
    while first < stop:
        folder.mkdir(parents=True, exist_ok=True)
        printed, errors = folder / "stdout", folder / "stderr"
        worker = FORKS.Process(target=_work, args=(prepare, folder, first, stop, printed, errors))
        worker.start()
        worker.join()
        number = first
        for record in map(json.loads, printed.read_text(encoding="utf-8").splitlines()):
            if "begun" in record:
                number = record["begun"]
                continue
            kind = record["outcome"].partition(":")[0]
            results.outcomes[kind] += 1
            if kind not in ("right", "error"):
                results.problems.append(f"{number}: {record['what']}: {record['outcome']}")
            results.grown = max(results.grown, record["grown"])
            results.slowest = max(results.slowest, record["seconds"])
            results.seconds += record["seconds"]
            number += 1
        if number < stop:
            results.outcomes["crash"] += 1
            said = errors.read_text(encoding="utf-8", errors="replace")[-3000:]
            results.problems.append(f"{number}: the process ended with {worker.exitcode}: {said}")
        first = number + 1
    return results


def _work(prepare: Callable[[Path], VariantCheck], folder: Path, first: int, stop: int, printed: Path, errors: Path) -> None:
    """Write the outcomes to files; the main function of a worker process."""
    for path, descriptor in ((printed, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False, encoding="utf-8"), open(2, "w", closefd=False)  # noqa: SIM115
    check_variants(prepare(folder), first, stop)
