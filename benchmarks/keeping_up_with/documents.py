"""The documents of a tiny partition, and the process that adds partitions, which the programs of the peers share."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contender import Stopwatch, done, given


def documents(partition: str) -> list[str]:
    return [f"Document {i} of partition {partition}, of a few words." for i in range(20)]


def encoder(tokenizer: Path) -> Callable[[str], Iterator[list[int]]]:
    """Return a function that encodes the documents of a partition, with an EOS after each."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    eos = loaded.token_to_id("<|endoftext|>")
    return lambda partition: ([*one.ids, eos] for one in loaded.encode_batch(documents(partition)))


def run(append: Callable[[Any, list[str]], object]) -> None:
    """Build the partitions in one process, each appended on its own; then add one in a process of its own, three times.

    Parameters
    ----------
    append
        Appends partitions, given the arguments of the program and the names of the partitions.
    """
    told = given()
    if hasattr(told, "added"):
        append(told, [told.added])
        return
    with Stopwatch() as watch:
        append(told, [f"{number:05}" for number in range(told.partitions)])
    one = []
    for number in range(3):
        again = json.dumps({**json.loads(sys.argv[1]), "added": f"new{number}"})
        with Stopwatch() as added:
            subprocess.run([sys.executable, sys.argv[0], again], check=True, stdout=subprocess.DEVNULL)
        one.append(added.seconds)
    done(watch, one=statistics.median(one), steps=watch.seconds / told.partitions)
