"""The tables of a benchmark of token arrays → batches."""

import statistics
from collections.abc import Sequence

from batches.suite import CONTENDERS, RATIOS, SETTINGS, Run, Setting, of
from results import spread


def tables(runs: Sequence[Run], notes: Sequence[str]) -> str:
    """All of it, in Markdown."""
    settings = [setting for setting in SETTINGS if any(run.setting == setting for run in runs)]
    lines = ["## Token arrays → batches", "", *notes, ""]
    lines += ["### M tokens a second", "", *_table(runs, settings, "rate", 1e-6), ""]
    lines += ["### Seconds from opening to the first batch", "", *_table(runs, settings, "first_seconds", 1, "{:,.3f}"), ""]
    lines += ["### Peak memory, MB", "", *_table(runs, settings, "peak_mb", 1, "{:,.0f}", whole=False), ""]
    lines += ["### Ratios", "", *_ratios(runs, settings), ""]
    problems = list(dict.fromkeys(f"* {run.contender}: {run.problem}" for run in runs if run.problem))
    if problems:
        lines += ["### Could not run", "", *problems, ""]
    return "\n".join(lines)


def _table(
    runs: Sequence[Run], settings: Sequence[Setting], figure: str, unit: float, form: str = "{:,.1f}", *, whole: bool = True
) -> list[str]:
    lines = [f"| | {' | '.join(map(str, settings))} |", f"| --- |{' --- |' * len(settings)}"]
    for contender in CONTENDERS:
        cells = []
        for setting in settings:
            its = of(runs, contender, setting)
            found = [run.figures[figure] * unit for run in its if not run.problem]
            shown = (spread(found, form) if whole else form.format(statistics.median(found))) if found else ""
            cells.append(shown or ("could not run" if its else ""))
        if any(cells):
            lines.append(f"| {contender.name} | {' | '.join(cells)} |")
    return lines


def _ratios(runs: Sequence[Run], settings: Sequence[Setting]) -> list[str]:
    lines = [
        f"| this project's mixture, times as fast as | aim, 0 workers, warm | {' | '.join(map(str, settings))} |",
        f"| --- | --- |{' --- |' * len(settings)}",
    ]
    for ratio in RATIOS:
        found = [ratio.between(runs, setting) for setting in settings]
        if any(found):
            aim = f"≥ {ratio.at_least:g}" if ratio.at_least else ""
            lines.append(f"| {ratio.to.name} | {aim} | {' | '.join(spread(one, '{:.2f}') if one else '–' for one in found)} |")
    return lines
