"""The rounds: in each setting, each contender in turn, in a process of its own."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batches.suite import CONTENDERS, HOT, SETTINGS, Contender, Run, Setting
from measured import ContenderFailed, run_contender

_PATIENCE = 600
"""Seconds that a contender has, which the first time makes its files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """Where the contenders run."""

    source: Path
    """Folder of the token arrays."""
    kept: Path
    """Folder for what they make of them."""
    pythons: Mapping[str, Path]
    """The interpreters of other environments than this one, by name."""

    def run(self, contender: Contender, setting: Setting, round_: int) -> Run:
        """Run a contender once."""
        arguments = [str(self.source), str(self.kept), str(setting.seq_len), str(setting.workers), setting.cache]
        figures: dict[str, float] = {}
        problem = ""
        try:
            python = self.pythons[contender.environment] if contender.environment else Path(sys.executable)
            measured = run_contender(contender.path, arguments, timeout=_PATIENCE, python=python)
            figures = {
                "rate": measured.tokens / measured.seconds,
                "first_seconds": measured.details["first_seconds"],
                "peak_mb": measured.peak_mb,
            }
        except ContenderFailed as failed:
            problem = str(failed)
        run = Run(contender=contender.name, setting=setting, round=round_, figures=figures, problem=problem)
        told = f"{figures['rate'] / 1e6:8.1f} M tokens/s" if figures else problem
        print(f"  {round_ or '–'}  {setting!s:32}  {contender.name:32} {told}", file=sys.stderr, flush=True)
        return run


def rounds(ground: Ground, names: Sequence[str], settings: Sequence[Setting], *, count: int, makes_files: bool = True) -> list[Run]:
    """Every contender in every setting and round, each round beginning with another.

    Parameters
    ----------
    names
        Of the contenders that take part.
    makes_files
        Whether the contenders make their files in runs before the first round, so that the memory of a round is that of reading alone.
    """
    entries = [contender for contender in CONTENDERS if contender.name in names]
    for seq_len in dict.fromkeys(setting.seq_len for setting in settings if makes_files):
        for contender in entries:
            ground.run(contender, Setting(seq_len=seq_len, workers=0, cache="warm"), 0)
    runs: list[Run] = []
    for round_ in range(1, count + 1):
        first = (round_ - 1) * len(entries) // count
        for setting in settings:
            runs += [
                ground.run(contender, setting, round_)
                for contender in entries[first:] + entries[:first]
                if contender is not HOT or (setting.workers, setting.cache) == (SETTINGS[0].workers, SETTINGS[0].cache)
            ]
    return runs
