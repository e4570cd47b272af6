"""JSON Lines → published token arrays: this project against ``datasets.Dataset.map``.

Run it with ``make bench``. Each run is a process of its own on text that it has not seen, the contenders in turn; the figures are
medians, the ratios are of runs that stood side by side. Writes ``text_to_cache.json`` and prints a table.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from measured import Measured, run_contender
from varied_text import write_jsonl

HERE = Path(__file__).parent
NATURAL = 0.02
"""Share of words that are new, an estimate of what natural text of this size has; the ratio depends on it (24 × at 0.03)."""
CONTENDERS = {"phyagi-assets": HERE / "contender_pipeline.py", "datasets.map, 2 processes": HERE / "contender_datasets_map.py"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200, help="of text in a run that is compared")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure memory too, on 100 and 500 MB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pipeline = CONTENDERS["phyagi-assets"]
        _measure(pipeline, work, megabytes=0.1, new_words=NATURAL, seed=0)  # the conformance run, which is made once
        throughput: dict[str, list[Measured]] = {name: [] for name in CONTENDERS}
        for seed in range(1, options.runs + 1):
            for name, program in CONTENDERS.items():
                throughput[name].append(_measure(program, work, megabytes=options.megabytes, new_words=NATURAL, seed=seed))
        memory = {
            f"{megabytes} MB, {kind}": _measure(pipeline, work, megabytes=megabytes, new_words=new_words, seed=9)
            for kind, new_words in (("natural frequencies", NATURAL), ("every word new", 1.0))
            for megabytes in (100, 500)
            if options.memory
        }
    _report(options.megabytes, throughput, memory)


def _measure(program: Path, work: Path, *, megabytes: float, new_words: float, seed: int) -> Measured:
    source = work / f"{megabytes}-{new_words}-{seed}.jsonl"
    if not source.exists():
        write_jsonl(source, megabytes=megabytes, new_words=new_words, seed=seed)
    return run_contender(program, [str(source), str(work / program.stem)])


def _report(megabytes: float, throughput: dict[str, list[Measured]], memory: dict[str, Measured]) -> None:
    ours, theirs = throughput.values()
    if any(a.digest != b.digest for a, b in zip(ours, theirs, strict=True)):
        raise SystemExit("the contenders' token arrays differ")
    ratios = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
    whole = [b.whole_seconds / a.whole_seconds for a, b in zip(ours, theirs, strict=True)]
    print(f"\nJSON Lines → token arrays, {megabytes:g} MB, {len(ours)} runs each, medians; equal arrays\n")
    print("| contender | MB/s | tokens/s | whole process, s | peak memory, MB |\n| --- | --- | --- | --- | --- |")
    for name, runs in throughput.items():
        seconds, whole_seconds, peak = (
            statistics.median(getattr(run, figure) for run in runs) for figure in ("seconds", "whole_seconds", "peak_mb")
        )
        tokens = statistics.median(run.tokens / run.seconds for run in runs)
        print(f"| {name} | {megabytes / seconds:.1f} | {tokens:,.0f} | {whole_seconds:.1f} | {peak:.0f} |")
    print(f"\nratio {statistics.median(ratios):.1f} × (from {min(ratios):.1f} to {max(ratios):.1f})")
    print(f"of whole processes {statistics.median(whole):.1f} ×\n")
    if memory:
        print("| phyagi-assets on | MB/s | peak memory, MB |\n| --- | --- | --- |")
    for name, run in memory.items():
        print(f"| {name} | {float(name.split()[0]) / run.seconds:.1f} | {run.peak_mb:.0f} |")
    record = {
        "megabytes": megabytes,
        "throughput": {name: list(map(asdict, runs)) for name, runs in throughput.items()},
        "ratios": ratios,
        "memory": {name: asdict(run) for name, run in memory.items()},
    }
    (HERE / "text_to_cache.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
