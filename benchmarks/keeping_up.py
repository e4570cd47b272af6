"""The cost of keeping up: building many tiny partitions, a command where nothing changed, and one where one partition was added.

Run it with ``make bench-keeping-up``. Peers are given the same documents, and append the ids of each partition on their own; they keep no
record of what a partition was made from, verify nothing, and find no changes. Writes the tables.
"""

from argparse import ArgumentParser

from harness import measure, options
from suite import Contender, Figure, Setting, Suite
from text.inputs import gpt2

FIGURES = [
    Figure(title="process, nothing changed, s", name="nothing"),
    Figure(title="process, one added, s", name="one"),
    Figure(title="a partition, in one process, s", name="steps", form="{:.3f}"),
    Figure(title="a partition, by the command, s", name="command", form="{:.3f}"),
    Figure(title="a partition, by a backfill, s", name="backfill", form="{:.2f}"),
]
CONTENDERS = [
    Contender(name="phyagi-assets", program="keeping_up_with/ours.py", kind="this project"),
    Contender(name="LanceDB, Table.add", program="keeping_up_with/lancedb_append.py"),
    Contender(name="litdata, optimize with append", program="keeping_up_with/litdata_append.py"),
]


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--partitions", type=int, nargs="+", default=[10, 100, 1000], help="numbers of partitions")


def main() -> None:
    given = options(__doc__, rounds=1, add=add_options)
    given.work /= "keeping_up"
    given.work.mkdir(parents=True, exist_ok=True)
    tokenizer = gpt2(given.work / "gpt2")
    suite = Suite(
        title="Keeping up",
        contenders=CONTENDERS,
        settings=[
            Setting(name=f"{count:,} partitions", given={"partitions": count, "tokenizer": str(tokenizer)}) for count in given.partitions
        ],
        figures=FIGURES,
        timeout=420,  # litdata needs more than three seconds per partition
        notes="Tiny partitions of 20 documents, a file each. Seconds of whole processes, and per partition.",
        packages=("phyagi-assets", "dagster", "fastokens", "lancedb", "litdata", "tokenizers"),
    )
    measure(suite, given)


if __name__ == "__main__":
    main()
