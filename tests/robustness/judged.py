"""Workers that go over many variants, each held to a limit of time and all of them to a limit of memory, and what starts them again."""

import faulthandler
import json
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.live import REPOSITORY

ADDRESS_SPACE = 8 << 30
"""Bytes that a worker may reserve: allocations of sizes that damaged files name fail beyond it."""
SECONDS = 60
"""That one variant may take on a loaded machine."""

Judge = Callable[[int], tuple[str, str]]
"""Gives what a variant is and what came of it."""


def judge_variants(judge: Judge, first: int, stop: int) -> None:
    """Go over variants and write what came of each; the work of a worker process."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    before = peak()
    for number in range(first, stop):
        _tell({"begun": number})
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        started = time.process_time()
        try:
            what, outcome = judge(number)
        except Exception:
            what, outcome = "", f"fault: {traceback.format_exc()}"
        seconds = time.process_time() - started
        _tell({"what": what, "outcome": outcome, "seconds": seconds, "grown": peak() - before})
    faulthandler.cancel_dump_traceback_later()


def _tell(record: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(kw_only=True)
class Verdict:
    """What came of all variants."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By its kind: right, error, or what is never right."""
    amiss: list[str] = field(default_factory=list)
    """Everything that was neither right nor an error that names the file."""
    grown: int = 0
    """Bytes of memory that a worker took beyond its imports, at most."""
    slowest: float = 0.0
    """CPU seconds of the slowest variant."""
    seconds: float = 0.0
    """CPU seconds of all."""


def go_over(module: str, folder: Path, first: int, stop: int) -> Verdict:
    """Judge variants in worker processes, a new one only after a crash.

    Parameters
    ----------
    module
        The worker.
    folder
        Where it may write.
    first, stop
        Numbers of the first variant and of the one after the last.
    """
    verdict = Verdict()
    while first < stop:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", module, str(folder), str(first), str(stop)]
        with (folder / "stderr").open("w+b") as errors:
            ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors, check=False)
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-3000:]
        number = first
        for record in map(json.loads, ended.stdout.decode().splitlines()):
            if "begun" in record:
                number = record["begun"]
                continue
            kind = record["outcome"].partition(":")[0]
            verdict.outcomes[kind] += 1
            if kind not in ("right", "error"):
                verdict.amiss.append(f"{number}: {record['what']}: {record['outcome']}")
            verdict.grown = max(verdict.grown, record["grown"])
            verdict.slowest = max(verdict.slowest, record["seconds"])
            verdict.seconds += record["seconds"]
            number += 1
        if number < stop:
            verdict.outcomes["crash"] += 1
            verdict.amiss.append(f"{number}: the process ended with {ended.returncode}: {said}")
        first = number + 1
    return verdict
