"""Token arrays → batches: this project's mixture, its peers and the limit, on the same ids, in one run.

Run it with ``make bench-batches``. Two corpora mixed 3:1, shuffled, 16 samples a batch; each run is a process of its own, the contenders
in turn. The figures are medians with the lowest and the highest, the ratios are of runs that stood side by side. Then, what opening
costs, against the number of samples and of sources. Writes ``results.json``, ``results.md`` and ``cache_to_batches.svg``.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import results
from batches.inputs import CORPORA, write_inputs
from batches.opening import opening, opening_table
from batches.plot import plot
from batches.report import tables
from batches.rounds import Ground, rounds
from batches.suite import CONTENDERS, RATIOS, SETTINGS, STREAMING

HERE = Path(__file__).parent
_STREAMING = HERE.parent / ".venv-bench-streaming" / "bin" / "python"
PACKAGES = ("phyagi-assets", "torch", "numpy", "megatron-core", "litdata", "datasets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=64_000_000, help="of each of the two corpora  [default: 64,000,000]")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs  [default: 3]")
    parser.add_argument("--quick", action="store_true", help="one round of one setting, and no opening: whether everything runs")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders whose name has one of these words")
    parser.add_argument("--streaming", type=Path, default=_STREAMING, metavar="PYTHON", help="of the environment of mosaicml-streaming")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "benchmarks", metavar="DIR", help="where inputs are made")
    parser.add_argument("--results", type=Path, metavar="DIR", help="[default: here; the work folder if not everything is run]")
    options = parser.parse_args()

    is_partial = bool(options.quick or options.only)
    folder = options.results or (options.work if is_partial else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    work = options.work / f"batches-{options.tokens}"
    settings = SETTINGS[: 1 if options.quick else None]
    count = 1 if options.quick else options.rounds
    names = [one.name for one in CONTENDERS if not options.only or any(word in one.name for word in options.only)]

    write_inputs(work / "arrays", options.tokens)
    ground = Ground(source=work / "arrays", kept=work / "kept", pythons={STREAMING: options.streaming.absolute()})
    runs = rounds(ground, names, settings, count=count, makes_files=not options.quick)
    opened = [] if is_partial else opening(work / "opening")

    notes = [
        f"{len(CORPORA)} corpora of {options.tokens:,} tokens, mixed 3:1 and shuffled, 16 samples a batch. Rounds: {count}; medians, with "
        "the lowest and the highest. What each reads is made beforehand. Cold: nothing of its files is in the page cache, and the first "
        "200 batches are counted, or those of 5 s. Memory is that of the whole tree of processes, what is mapped of the page cache counted "
        "in each."
    ]
    record = {
        "machine": results.machine(),
        "versions": results.versions(PACKAGES),
        "tokens": options.tokens,
        "ratios": [
            {"to": ratio.to.name, "setting": asdict(setting), "at_least": ratio.at_least, "ratios": ratio.between(runs, setting)}
            for ratio in RATIOS
            for setting in settings
        ],
        "runs": [asdict(run) for run in runs],
        "opening": [asdict(one) for one in opened],
    }
    table = "\n".join([tables(runs, notes), *(opening_table(opened) if opened else [])])
    results.keep("batches", record, table, folder)
    try:
        plot(runs, settings[: 1 if options.quick else 2], folder / "cache_to_batches.svg")
    except ImportError as problem:
        print(f"no plot: {problem}", file=sys.stderr)
    print(table)


if __name__ == "__main__":
    main()
