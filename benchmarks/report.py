"""The tables and the plot of a suite, and the files that they are written to."""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from suite import Figure, Run, Setting, Suite, differing, runs_of

COLOURS = {"this project": "#1f6feb", "a peer": "#bc4c00", "a limit": "#8c959f"}
_HEADING = "# Benchmark results"
_VERSIONS = "import json; from importlib.metadata import distributions as d; print(json.dumps({x.name: x.version for x in d()}))"


def write(suite: Suite, runs: Sequence[Run], settings: Sequence[Setting], given: argparse.Namespace) -> None:
    """Write the results as JSON under the work folder, and the tables and the plot to the results folder."""
    machine = {**_machine(), "versions": _versions(suite, given.environments)}
    record = {
        "machine": machine,
        "ratios": [
            {"what": ratio.title, "setting": setting.name, "aim": ratio.aim, "ratios": ratio.between(runs, setting.name)}
            for ratio in suite.ratios
            for setting in settings
        ],
        "differing": [asdict(run) for run in differing(suite, runs)],
        "runs": [asdict(run) for run in runs],
    }
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.work / "results.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**known, suite.title: record}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = tables(suite, runs, settings, [f"{machine_named(machine)} Rounds: {given.rounds}; medians, with the lowest and the highest."])
    keep(given.results / "results.md", suite.title, table)
    print(table)
    if suite.plot:
        try:
            _plot(suite, runs, settings[: suite.plotted], given.results / suite.plot)
        except ImportError as problem:
            print(f"no plot: {problem}", file=sys.stderr)


def keep(path: Path, title: str, table: str) -> None:
    """Replace the section of a suite in a Markdown file, or add it; other sections stay.

    Parameters
    ----------
    table
        The section, without its heading of the second level.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else _HEADING
    _, *sections = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    found = {name: section.strip() for name, section in zip(sections[::2], sections[1::2], strict=True)}
    found[title] = table.strip()
    path.write_text("\n\n".join([_HEADING, *(f"## {name}\n\n{found[name]}" for name in sorted(found))]) + "\n", encoding="utf-8")


def tables(suite: Suite, runs: Sequence[Run], settings: Sequence[Setting], notes: Sequence[str] = ()) -> str:
    """Return the section of a suite in Markdown, without its heading."""
    wrong = differing(suite, runs)
    lines = ["\n\n".join(filter(None, [suite.notes, *notes])), ""]
    if compared := sum(bool(run.digests) for run in runs):
        lines += [f"The outputs of {compared} runs were compared with the others in the same round: {len(wrong) or 'none'} differed.", ""]
    shown = [figure for figure in suite.figures if any(figure.name in run.figures for run in runs)]
    if suite.is_by_setting:
        for setting in settings:
            lines += [f"### {setting.name}", "", *_table(suite, runs, [(one.title, setting, one) for one in shown], wrong), ""]
    else:
        for figure in shown:
            lines += [f"### {figure.title}", "", *_table(suite, runs, [(one.name, one, figure) for one in settings], ()), ""]
    ratios = [(ratio, [ratio.between(runs, setting.name) for setting in settings]) for ratio in suite.ratios]
    if any(any(found) for _, found in ratios):
        lines += ["### Ratios", "", *_header(["", "aim", *(setting.name for setting in settings)])]
        lines += [_row([of.title, of.aim, *(spread(one, "{:.2f}") for one in found)]) for of, found in ratios if any(found)] + [""]
    if problems := list(dict.fromkeys(f"* {run.contender}: {run.problem}" for run in runs if run.problem)):
        lines += ["### Could not run", "", *problems, ""]
    return "\n".join(lines)


def spread(values: Sequence[float], form: str = "{:,.1f}") -> str:
    """Return the median, with the lowest and the highest value; – for none."""
    if not values:
        return "–"
    low, middle, high = (form.format(of(values)) for of in (min, statistics.median, max))
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


def machine_named(machine: dict[str, Any]) -> str:
    """Return the machine and the versions that figures were taken with, as a sentence each."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    kind = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, Python {machine['python']}."
    return f"{kind} {versions}." if versions else kind


def _table(suite: Suite, runs: Sequence[Run], columns: Sequence[tuple[str, Setting, Figure]], wrong: Sequence[Run]) -> list[str]:
    is_compared = suite.is_by_setting and any(run.digests for run in runs)
    lines = _header(["", *(title for title, _, _ in columns), *(["compared"] if is_compared else [])])
    for contender in suite.contenders:
        cells = []
        its: list[Run] = []
        for _, setting, figure in columns:
            its = runs_of(runs, contender.name, setting.name)
            good = [run for run in its if not run.problem]
            found = [run.figures[figure.name] for run in good if figure.name in run.figures]
            cells.append(spread(found, figure.form) if found else "could not run" if its and not good else "")
        if is_compared:
            cells.append("**differs**" if any(run in wrong for run in its) else "equal" if any(run.digests for run in its) else "")
        if any(cells):
            lines.append(_row([contender.name, *cells]))
    return lines


def _header(cells: Sequence[str]) -> list[str]:
    return [_row(cells), f"|{' --- |' * len(cells)}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plot(suite: Suite, runs: Sequence[Run], settings: Sequence[Setting], path: Path) -> None:
    """Write an SVG with a line per contender and a panel per setting; the same one for the same figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "phyagi-assets", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    figure = suite.figures[0]
    found = {
        one.name: [[run.figures[figure.name] for run in runs_of(runs, one.name, of.name) if figure.name in run.figures] for of in settings]
        for one in suite.contenders
    }
    median: Callable[[Sequence[float]], float] = lambda values: statistics.median(values) if values else 0.0  # noqa: E731
    kinds = {one.name: one.kind for one in suite.contenders if any(found[one.name])}
    shown = sorted(kinds, key=lambda name: median(found[name][0]))
    size = (4.2 * len(settings) + 2, 0.3 * len(shown) + 1)
    drawing, axes = plt.subplots(1, len(settings), figsize=size, sharey=True, squeeze=False)
    for number, (axis, setting) in enumerate(zip(axes[0], settings, strict=True)):
        for place, name in enumerate(shown):
            if values := found[name][number]:
                middle = statistics.median(values)
                error = [[middle - min(values)], [max(values) - middle]]
                axis.errorbar(middle, place, xerr=error, fmt="o", markersize=5, color=COLOURS[kinds[name]], capsize=2)
                label = f"{middle:,.0f}" if middle >= 10 else f"{middle:.1f}"
                axis.annotate(label, (max(values), place), (6, 0), textcoords="offset points", va="center")
        axis.set_xscale("log")
        axis.set_xlim(right=axis.get_xlim()[1] * 3)
        axis.grid(axis="y", color="#eaeef2")
        axis.set_axisbelow(True)
        axis.set_title(setting.name)
        axis.set_xlabel(f"{figure.title} (log scale)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_yticks(range(len(shown)), shown)
    drawing.tight_layout()
    drawing.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(drawing)


def _machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return {
        "processor": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _versions(suite: Suite, environments: Path) -> dict[str, str]:
    """Return the versions of the suite's packages, those of another environment under its name and theirs."""
    found = {"": {one.name: one.version for one in distributions()}}
    for name in {one.environment for one in suite.contenders} - {""}:
        python = environments / f".venv-bench-{name}" / "bin" / "python"
        if python.exists():
            found[name] = json.loads(subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True).stdout)
    return {
        f"{environment}: {package}" if environment else package: versions[package]
        for environment, versions in sorted(found.items())
        for package in suite.packages
        if package in versions
    }
