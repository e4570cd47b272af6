"""Text → token arrays: this project, its peers and the limits, on the same text, in one run.

Run it with ``make bench-text``. Each run is a process of its own on text that it has not seen, the contenders in turn; the figures are
medians with the lowest and the highest, the ratios are of runs that stood side by side. Writes ``results.json``, ``results.md`` and
``text_to_cache.svg``.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import results
from text.inputs import FILES, TOKENIZERS
from text.plot import plot
from text.report import tables
from text.rounds import Ground, disagreeing, growth, rounds
from text.suite import CONTENDERS, RATIOS
from text.varied_text import NATURAL, kinds

HERE = Path(__file__).parent
PACKAGES = ("phyagi-assets", "fastokens", "tokenizers", "transformers", "datasets", "datatrove", "pyarrow", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, help="of text in a run  [default: 100]")
    parser.add_argument("--rounds", type=int, help="how often each contender runs  [default: 5]")
    parser.add_argument("--quick", action="store_true", help="1 MB, one round, GPT-2 alone: whether everything runs, and agrees")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders whose name has one of these words")
    parser.add_argument("--kind", choices=kinds(), help="text of one kind alone, such as prose, which is the sample corpora")
    parser.add_argument("--growth", action=argparse.BooleanOptionalAction, help="memory for ten times the text  [default: unless quick]")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "benchmarks", metavar="DIR", help="where inputs are made")
    parser.add_argument("--results", type=Path, metavar="DIR", help="[default: here; the work folder if not everything is run]")
    options = parser.parse_args()

    is_partial = bool(options.quick or options.only or options.kind)
    megabytes = options.megabytes or (1 if options.quick else 100)
    count = options.rounds or (1 if options.quick else 5)
    grows = options.growth if options.growth is not None else not is_partial
    names = [one.name for one in CONTENDERS if not options.only or any(word in one.name for word in options.only)]
    tokenizers = list(TOKENIZERS)[: 1 if options.quick else None]
    folder = options.results or (options.work if is_partial else HERE)
    folder.mkdir(parents=True, exist_ok=True)

    ground = Ground(work=options.work / "text", only=options.kind)
    runs = rounds(ground, tokenizers, names, megabytes=megabytes, count=count)
    differing = disagreeing(runs)
    grown = growth(ground, tokenizers[0], megabytes=megabytes) if grows else {}

    text = f"{options.kind or ', '.join(kinds())}; {NATURAL:.0%} of the words new"
    compared = len([run for run in runs if run.digests])
    notes = [
        f"{megabytes:g} MB of text in {FILES} files ({text}). Rounds: {count}; "
        "medians, with the lowest and the highest. Rates are taken inside the process, after imports and with the tokenizer loaded; "
        "those of the command are of its whole process. Memory is that of the whole tree of processes, what they share counted in each.",
        "",
        f"Of {compared} runs that keep ids, {len(differing) or 'none'} came to others than their round.",
    ]
    ratios = [
        {"what": ratio.what, "tokenizer": tokenizer, "at_least": ratio.at_least, "ratios": ratio.between(runs, tokenizer)}
        for ratio in RATIOS
        for tokenizer in tokenizers
    ]
    record = {
        "machine": results.machine(),
        "versions": results.versions(PACKAGES),
        "megabytes": megabytes,
        "rounds": count,
        "kinds": [options.kind] if options.kind else kinds(),
        "differing": [asdict(run) for run in differing],
        "ratios": ratios,
        "runs": [asdict(run) for run in runs],
        "growth": {text: [asdict(run) for run in its] for text, its in grown.items()},
    }
    table = tables(runs, differing, grown, notes)
    results.keep("text", record, table, folder)
    try:
        plot(runs, folder / "text_to_cache.svg")
    except ImportError as problem:
        print(f"no plot: {problem}", file=sys.stderr)
    print(table)
    if differing:
        sys.exit("The ids differ.")


if __name__ == "__main__":
    main()
