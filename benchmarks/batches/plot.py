"""The plot of a benchmark of token arrays → batches: tokens a second, a line a contender, a panel a setting."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from batches.suite import CONTENDERS, Run, Setting, of
from plots import Line, draw


def plot(runs: Sequence[Run], settings: Sequence[Setting], path: Path) -> None:
    """Write an SVG, the same one for the same figures."""
    contenders = [one for one in CONTENDERS if any(run.figures for setting in settings for run in of(runs, one, setting))]
    lines = [
        Line(
            name=contender.name,
            kind=contender.kind,
            panels=[[run.figures["rate"] / 1e6 for run in of(runs, contender, setting) if not run.problem] for setting in settings],
        )
        for contender in sorted(contenders, key=lambda one: _rate(runs, one.name, settings[0]), reverse=True)
    ]
    draw(lines, [str(setting) for setting in settings], "M tokens a second (log scale)", path)


def _rate(runs: Sequence[Run], name: str, setting: Setting) -> float:
    found = [run.figures["rate"] for run in runs if (run.contender, run.setting) == (name, setting) and not run.problem]
    return statistics.median(found) if found else 0.0
