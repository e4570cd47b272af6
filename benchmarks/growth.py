"""How cost grows with the number of documents and with the size of one document, by the command.

Run it with ``make bench-growth``. A rate that falls as the work grows would show a cost that grows faster than the work. Tiny partitions
are measured by ``make bench-keeping-up``. Writes the tables.
"""

from argparse import ArgumentParser

from harness import measure, options
from suite import Contender, Figure, Setting, Suite
from text.inputs import gpt2

FIGURES = [
    Figure(title="MB/s", name="rate"),
    Figure(title="documents/s", name="documents_per_second", form="{:,.0f}"),
    Figure(title="CPU seconds per 100 MB", name="cpu_per_100_mb", form="{:.2f}"),
    Figure(title="peak memory of the command, MB", name="command_peak_mb", form="{:,.0f}"),
]


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="numbers of short documents")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100, 1000], help="sizes of the only document")


def main() -> None:
    given = options(__doc__, rounds=1, add=add_options)
    given.work /= "growth"
    given.work.mkdir(parents=True, exist_ok=True)
    always = {"tokenizer": str(gpt2(given.work / "gpt2"))}
    short = [
        Setting(name=f"{count:,} documents of 50 tokens", given={**always, "documents": count, "words": 40}) for count in given.documents
    ]
    long = [
        Setting(name=f"one document of {size:,} MB", given={**always, "documents": 1, "words": size * 1_000_000 // 6})
        for size in given.megabytes
    ]
    suite = Suite(
        title="Growth",
        contenders=[Contender(name="phyagi-assets", program="growth/ours.py", kind="this project")],
        settings=[*short, *long],
        figures=FIGURES,
        derive=lambda run: {
            "rate": run["text_bytes"] / 1e6 / run["seconds"],
            "documents_per_second": run["documents"] / run["seconds"],
            "cpu_per_100_mb": run["cpu_seconds"] / (run["text_bytes"] / 1e8),
        },
        is_by_setting=False,
        notes="One partition of one JSON Lines file; times are of the whole command, start-up included.",
        packages=("phyagi-assets", "gigatoken", "fastokens", "pyarrow"),
    )
    measure(suite, given)


if __name__ == "__main__":
    main()
