"""Memory of reading: bounded by a batch, and by a small multiple of the longest document."""

import gzip
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.sources.documents import read_documents
from tests.forks import in_fork
from tests.support import declare_corpus, local_file

BATCH = 96 << 20
"""Bytes that reading takes whatever is read."""
FACTOR = 6
"""Times the bytes of the longest document that reading takes at most."""
WORDS = b"some words of text, and then more " * 30_000

Write = Callable[[Path, int], object]


def write(head: bytes, unit: bytes, tail: bytes, *, packed: bool = False) -> Write:
    """Write a file of some megabytes in one unit after another, compressed if it is packed."""

    def to(path: Path, megabytes: int) -> None:
        with gzip.open(path, "wb", 1) if packed else path.open("wb") as file:
            file.write(head)
            for _ in range(megabytes):
                file.write(unit)
            file.write(tail)

    return to


NEWLINES = b"\n" * (1 << 20)
LINE = {"source": {"sample_by": "line"}}
PARAGRAPH = {"source": {"sample_by": "paragraph"}}
FILES: dict[str, tuple[str, Write, dict[str, Any], bool]] = {
    "newlines by line": ("a.txt", write(b"", NEWLINES, b"end"), LINE, False),
    "newlines by paragraph": ("a.txt", write(b"", NEWLINES, b"end"), PARAGRAPH, False),
    "blank JSON lines": ("a.jsonl", write(b"", NEWLINES, b'{"text": "end"}'), {}, False),
    "blank JSON lines in a bomb": ("a.jsonl.gz", write(b"", NEWLINES, b'{"text": "end"}', packed=True), {}, False),
    "one JSON document": ("a.jsonl", write(b'{"text": "', WORDS, b'"}\n'), {}, True),
    "one text document": ("a.txt", write(b"", WORDS, b""), {}, True),
    "one paragraph": ("a.txt", write(b"", WORDS + b"\n", b""), PARAGRAPH, True),
    "one CSV document": ("a.csv", write(b"text\n", WORDS, b"\n"), {}, True),
}


def read(corpus: Corpus, path: Path) -> tuple[int, int]:
    """Return the number of documents of a file, and the growth of the memory of this process while they are read, in bytes."""
    before = peak()
    count = sum(len(batch.texts) for batch in read_documents(corpus, [local_file(path)]))
    return count, peak() - before


def peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("file", FILES)
def test_memory_of_reading_is_bounded_by_batch_and_longest_document(tmp_path: Path, pytestconfig: pytest.Config, file: str) -> None:
    name, to, keys, is_one_document = FILES[file]
    megabytes = 300 if pytestconfig.getoption("soak") else 12
    if name == "a.csv":
        keys = {**keys, "source": {"delimiter": ";"}}
    to(tmp_path / name, megabytes)
    count, grown = in_fork(read, declare_corpus(tmp_path, "c", name, **keys), tmp_path / name)
    longest = (tmp_path / name).stat().st_size if is_one_document else 0
    assert count > 0
    assert grown < BATCH + FACTOR * longest
