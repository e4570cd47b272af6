"""One way to measure programs against each other: contenders, each run as a process of its own, in turn, in rounds.

A suite declares its contenders, the settings in which they run, the figures that its tables show and the ratios between contenders. A
contender is a program that gets one JSON object as its argument and prints one as its last line (`contender.py`). A contender that cannot
run is reported with the reason.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import report
from measured import ContenderFailed, run_contender
from suite import Contender, Run, Setting, Suite, differing

HERE = Path(__file__).parent


def options(doc: str | None, *, rounds: int, add: Callable[[argparse.ArgumentParser], object] = lambda parser: None) -> argparse.Namespace:  # noqa: ARG005
    """Parse the command line: the options of all suites, and those that `add` adds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help=f"number of runs of each contender in each setting  [default: {rounds}]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round; each round has its own  [default: 0]")
    parser.add_argument("--quick", action="store_true", help="one small round in the first setting, to see whether everything runs")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders whose name contains one of these words")
    parser.add_argument("--settings", nargs="+", metavar="WORD", help="settings whose name contains one of these words, such as GPT-2")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "benchmarks", metavar="DIR", help="inputs and results.json")
    parser.add_argument("--results", type=Path, metavar="DIR", help="tables and plots  [default: here; the work folder for a partial run]")
    parser.add_argument("--environments", type=Path, default=HERE.parent, metavar="DIR", help="folder of the .venv-bench-* environments")
    add(parser)
    parsed = parser.parse_args()
    parsed.work = parsed.work.absolute()
    parsed.rounds = parsed.rounds or (1 if parsed.quick else rounds)
    parsed.results = parsed.results or (parsed.work if parsed.quick or parsed.only or parsed.settings else HERE)
    return parsed


def measure(suite: Suite, given: argparse.Namespace) -> list[Run]:
    """Run a suite, write its tables, plot and results, and return its runs; none of a suite of which nothing was asked for.

    Raises
    ------
    SystemExit
        Contenders made different things of the same input.
    """
    settings = [one for one in suite.settings if not given.settings or any(word in one.name for word in given.settings)]
    settings = settings[: 1 if given.quick else None]
    entries = [one for one in suite.contenders if not given.only or any(word in one.name for word in given.only)]
    if not (settings and entries):
        return []

    def run(contender: Contender, setting: Setting, round_: int) -> Run:
        found = _run(suite, contender, setting, given, round_)
        shown = found.problem or ", ".join(
            f"{figure.title} {figure.form.format(found.figures[figure.name])}" for figure in suite.figures if figure.name in found.figures
        )
        print(f"  {round_ or '–'}  {setting.name:28} {contender.name:48} {shown}", file=sys.stderr, flush=True)
        return found

    if not given.quick:
        for setting in settings:
            for contender in entries if setting.name in suite.makes_files_in else ():
                if _takes_part(contender, setting):
                    run(contender, setting, 0)
    runs: list[Run] = []
    for round_ in range(1, given.rounds + 1):
        first = (round_ - 1) * len(entries) // given.rounds  # each round begins with another
        for setting in settings:
            runs += [run(one, setting, round_) for one in entries[first:] + entries[:first] if _takes_part(one, setting)]
    report.write(suite, runs, settings, given)
    if differing(suite, runs):
        sys.exit("The results of contenders differ.")
    return runs


def _takes_part(contender: Contender, setting: Setting) -> bool:
    return contender.settings is None or setting.name in contender.settings


def _run(suite: Suite, contender: Contender, setting: Setting, given: argparse.Namespace, round_: int) -> Run:
    subject = {"contender": contender.name, "setting": setting.name, "round": round_}
    output = given.work / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    shared = {"work": str(output), "kept": str(given.work / "kept"), "seed": given.seed + round_}
    told = {**shared, **setting.given, **contender.given, **suite.prepare(contender, setting, given.seed + round_)}
    python = given.environments / f".venv-bench-{contender.environment}" / "bin" / "python" if contender.environment else sys.executable
    try:
        measured = run_contender(
            HERE / contender.program, json.dumps(told), timeout=suite.timeout, python=Path(python), processors=contender.processors
        )
        figures = {name: value for name, value in measured.items() if isinstance(value, int | float)}
        return Run(**subject, figures={**figures, **suite.derive({**told, **figures})}, digests=suite.digests(measured))
    except ContenderFailed as failed:
        return Run(**subject, problem=str(failed))
    finally:
        shutil.rmtree(output, ignore_errors=True)
