"""Building a corpus whose only partition is one large file, by the command with several processes.

Run it with ``make bench-one-large-file``. Each run has as many processors as processes, which shows what another process and another
processor bring together; beside that, one process has all processors. Writes the tables.
"""

import os
import shutil
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from harness import measure, options
from suite import Contender, Figure, Ratio, Setting, Suite
from text.compared import digests
from text.inputs import gpt2, write_inputs

PROCESSORS = len(os.sched_getaffinity(0))


def building(processes: int, processors: int) -> Contender:
    return Contender(
        name=f"processes: {processes}, processors: {processors}",
        program="text/contenders/our_command.py",
        kind="this project",
        given={"jobs": processes},
        processors=processors,
    )


ALONE = building(1, 1)
MORE = [building(count, count) for count in (2, 4, 8, 16, 32, 64) if count <= PROCESSORS]
ALL = [building(1, PROCESSORS)] if PROCESSORS > 1 else []


def one_file_each(folder: Path, megabytes: float, seed: int) -> tuple[Path, int]:
    """Write the documents of a seed to one file per format, and return the folder and the bytes of their text."""
    whole = folder / f"{seed}-{megabytes:g}"
    size = whole / "bytes"
    if not size.exists():
        shutil.rmtree(folder, ignore_errors=True)
        inputs = write_inputs(folder / "parts", megabytes=megabytes, seed=seed)
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
        size.write_text(str(inputs.text_bytes), encoding="ascii")
    return whole, int(size.read_text(encoding="ascii"))


def large_suite(work: Path, megabytes: float) -> Suite:
    def prepare(contender: Contender, setting: Setting, seed: int) -> Mapping[str, Any]:  # noqa: ARG001
        source, size = one_file_each(work / "source", megabytes, 1000 + seed)
        return {"source": str(source), "text_bytes": size, "tokenizer": str(gpt2(work / "gpt2"))}

    return Suite(
        title="One large file",
        contenders=[ALONE, *MORE, *ALL],
        settings=[Setting(name=name, given={"format": format_}) for name, format_ in (("JSON Lines", "jsonl"), ("Parquet", "parquet"))],
        figures=[Figure(title="MB/s", name="rate"), Figure(title="Peak memory, MB", name="peak_mb", form="{:,.0f}")],
        ratios=[Ratio(of=one, to=ALONE) for one in [*MORE, *ALL]],
        prepare=prepare,
        derive=lambda run: {"rate": run["text_bytes"] / 1e6 / run["seconds"]},
        digests=digests,
        is_by_setting=False,
        notes=f"{megabytes:g} MB of text in one file, one partition, built by the command; times are of the whole process.",
        packages=("phyagi-assets", "fastokens", "pyarrow"),
    )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--megabytes", type=float, default=1000, help="text in the file  [default: 1000]")


def main() -> None:
    given = options(__doc__, rounds=3, add=add_options)
    given.work /= "one_large_file"
    given.work.mkdir(parents=True, exist_ok=True)
    measure(large_suite(given.work, given.megabytes), given)


if __name__ == "__main__":
    main()
