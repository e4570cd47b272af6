"""What opening costs, against the number of samples and of sources: files of as many tokens, which take no room on the disk."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batches.suite import FOLDER
from measured import ContenderFailed, run_contender

SAMPLES = tuple(10**power for power in range(4, 10))
SOURCES = (1, 10, 100, 1000)
_SAMPLES, _SOURCES = 10**6, 2
"""Of one while the other grows."""
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Opener:
    """A program that opens so many samples and takes one batch."""

    name: str
    program: str
    most_samples: int = max(SAMPLES)
    """Beyond which it would need more memory, or more time for its files, than there is."""
    most_sources: int = max(SOURCES)


OPENERS = (
    Opener(name="phyagi-assets, its mixture", program="opens_ours"),
    Opener(name="plain memory-mapped dataset", program="opens_plain", most_samples=10**7),
    Opener(name="megatron-core, BlendedDataset", program="opens_megatron", most_samples=10**7),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What opening came to: the medians, or nothing and why."""

    opener: str
    samples: int
    sources: int
    seconds: float | None = None
    """From opening to the first batch, imports done."""
    memory_mb: float | None = None
    """By which the process has grown meanwhile, at most."""
    problem: str = ""


def opening(work: Path) -> list[Opened]:
    """Each opener along both lines."""
    sizes = [(samples, _SOURCES) for samples in SAMPLES] + [(_SAMPLES, sources) for sources in SOURCES]
    return [_opened(opener, samples, sources, work) for opener in OPENERS for samples, sources in sizes]


def _opened(opener: Opener, samples: int, sources: int, work: Path) -> Opened:
    subject = {"opener": opener.name, "samples": samples, "sources": sources}
    if samples > opener.most_samples or sources > opener.most_sources:
        return Opened(**subject, problem="not tried")
    folder = work / f"{opener.program}-{samples}-{sources}"
    try:
        arguments = [str(folder), str(samples), str(sources)]
        runs = [run_contender(FOLDER / f"{opener.program}.py", arguments, timeout=600) for _ in range(1 + _ROUNDS)][1:]
    except ContenderFailed as failed:
        return Opened(**subject, problem=str(failed))
    middle = sorted(runs, key=lambda run: run.seconds)[_ROUNDS // 2]
    print(f"  {opener.name:32} {samples:13,} samples {sources:5,} sources {middle.seconds:8.3f} s", file=sys.stderr, flush=True)
    return Opened(**subject, seconds=middle.seconds, memory_mb=middle.details["memory_mb"])


def opening_table(opened: Sequence[Opened]) -> list[str]:
    """The tables, in Markdown."""
    by_samples = {one: (one, _SOURCES) for one in SAMPLES}
    by_sources = {one: (_SAMPLES, one) for one in SOURCES}
    lines = ["### Opening: seconds to the first batch, and MB by which the process grows", ""]
    for what, sizes in ((f"samples, of {_SOURCES} sources", by_samples), (f"sources, {_SAMPLES:,} samples in all", by_sources)):
        lines += [f"| {what} | {' | '.join(f'{size:,}' for size in sizes)} |", f"| --- |{' --- |' * len(sizes)}"]
        for opener in OPENERS:
            found = {(one.samples, one.sources): one for one in opened if one.opener == opener.name}
            lines.append(f"| {opener.name} | {' | '.join(_cell(found[size]) for size in sizes.values())} |")
        lines.append("")
    return lines


def _cell(one: Opened) -> str:
    return one.problem or f"{one.seconds:.3f} s, {one.memory_mb:,.0f} MB"
