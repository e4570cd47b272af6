"""Building a corpus whose only partition is one large file, cut into chunks, with several processes.

Run it with ``make bench-one-large-file``. Each run is a fresh process. It is held to as many processors as the work has processes,
which shows what another process and another processor bring together; beside that, one process has all processors, as it does by
default. Writes ``results.json`` and ``results.md``.
"""

import argparse
import os
import shutil
import statistics
import sys
from pathlib import Path

import pyarrow.parquet as pq
import results
from measured import Measured, run_contender
from text.inputs import gpt2, write_inputs

HERE = Path(__file__).parent
STEPS = HERE / "text" / "contenders" / "our_steps_in_chunks.py"

Runs = dict[str, dict[tuple[int, int], list[Measured]]]
"""By format, and by how many processes on how many processors."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "benchmarks" / "one_large_file", metavar="DIR")
    options = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))
    settings = [(count, count) for count in (1, 2, 4, 8, 16, 32, 64) if count <= len(processors)] + [(1, len(processors))]
    runs: Runs = {kind: {setting: [] for setting in settings} for kind in ("jsonl", "parquet")}
    for round_ in range(options.rounds):
        source, size = one_file_each(options.work / "source", options.megabytes, seed=1000 + round_)
        for kind, of_kind in runs.items():
            for (processes, used), its in of_kind.items():
                os.sched_setaffinity(0, processors[:used])
                its.append(run_contender(STEPS, arguments(source, kind, options.work, processes), python=Path(sys.executable)))
                os.sched_setaffinity(0, processors)
            if len({(run.tokens, str(run.details["content"])) for run in (its[-1] for its in of_kind.values())}) > 1:
                raise RuntimeError(f"{kind}: not the same bytes from as many processes")
    table = tables(runs, size)
    record = {
        kind: {f"{processes} on {used}": [figures(run) for run in its] for (processes, used), its in of_kind.items()}
        for kind, of_kind in runs.items()
    }
    results.keep("one_large_file", {"machine": results.machine(), "megabytes": options.megabytes, "runs": record}, table)
    print(table)


def figures(run: Measured) -> dict[str, float]:
    return {"seconds": run.seconds, "tokenizing": run.details["tokenizing"], "whole_seconds": run.whole_seconds, "peak_mb": run.peak_mb}


def one_file_each(folder: Path, megabytes: float, seed: int) -> tuple[Path, int]:
    """The documents of a seed, in one file of each format; the bytes of their text."""
    shutil.rmtree(folder, ignore_errors=True)
    inputs = write_inputs(folder / "parts", megabytes=megabytes, seed=seed)
    whole = folder / "whole"
    whole.mkdir()
    with (whole / "all.jsonl").open("wb") as lines:
        for part in sorted(inputs.folder.glob("*.jsonl")):
            lines.write(part.read_bytes())
    parts = [pq.ParquetFile(part) for part in sorted(inputs.folder.glob("*.parquet"))]
    with pq.ParquetWriter(whole / "all.parquet", parts[0].schema_arrow) as table:
        for part in parts:
            for group in range(part.num_row_groups):
                table.write_table(part.read_row_group(group))
    shutil.rmtree(inputs.folder)
    return whole, inputs.text_bytes


def arguments(source: Path, kind: str, work: Path, processes: int) -> list[str]:
    return [*map(str, (source, kind, gpt2(work / "gpt2"), work / "run", work / "kept")), str(processes)]


def tables(runs: Runs, size: int) -> str:
    lines = [
        "## One large file",
        "",
        f"{size / 1e6:,.0f} MB of text in one file, one partition. Ratios are to one process on one processor.",
        "",
    ]
    lines += ["| | processes | processors | MB/s | ratio | tokenizing alone, MB/s | ratio | peak memory, MB |", f"|{' --- |' * 8}"]
    for kind, of_kind in runs.items():
        alone = of_kind[1, 1]
        for (processes, used), its in of_kind.items():
            of_chain = compared([run.seconds for run in its], [run.seconds for run in alone], size)
            of_step = compared([run.details["tokenizing"] for run in its], [run.details["tokenizing"] for run in alone], size)
            memory = statistics.median(run.peak_mb for run in its)
            lines.append(f"| {kind} | {processes} | {used} | {of_chain} | {of_step} | {memory:,.0f} |")
    return "\n".join(lines)


def compared(seconds: list[float], alone: list[float], size: int) -> str:
    ratios = [one / of for one, of in zip(alone, seconds, strict=True)]
    return f"{results.spread([size / 1e6 / of for of in seconds])} | {results.spread(ratios, '{:.2f}')}"


if __name__ == "__main__":
    main()
