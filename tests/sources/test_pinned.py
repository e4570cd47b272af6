"""Objects that are prefetched: the content of the object, every byte fetched once, and nothing that is not needed."""

import io
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import SourceError
from phyagi_assets.objects.daemon_threads import DaemonThreads
from phyagi_assets.sources import prefetch
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.pinned import PinnedObject
from phyagi_assets.sources.prefetch import AHEAD, PART, PrefetchedFile, Prefetcher
from phyagi_assets.sources.readable import Stamp
from tests.support import declare_corpus


@dataclass(kw_only=True)
class Bucket:
    """Objects in memory, and the parts that were read."""

    objects: dict[str, bytes]
    parts: list[tuple[str, int, int]] = field(default_factory=list)
    threads: DaemonThreads = field(default_factory=lambda: DaemonThreads(4))

    def read_part(self, origin: str, stamp: Stamp, start: int, stop: int) -> bytes:
        if stamp != (str(len(self.objects[origin])), len(self.objects[origin])):
            raise SourceError(f"{origin}: has changed")
        self.parts.append((origin, start, stop))
        return self.objects[origin][start:stop]

    def pinned(self, name: str) -> PinnedObject:
        size = len(self.objects[name])
        return PinnedObject(name=name, origin=name, size=size, pin=(str(size), size), bucket=self)

    @property
    def fetched(self) -> int:
        return sum(stop - start for _, start, stop in self.parts)


@given(
    size=st.integers(0, 3000),
    ranges=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=4),
    reads=st.lists(st.tuples(st.integers(0, 3200), st.integers(0, 700)), max_size=20),
)
def test_reads_return_the_content_regardless_of_announcements(
    size: int, ranges: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    content = np.random.default_rng(size).bytes(size)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PART": 256, "AHEAD": 600, "_SMALLEST": 100}.items():
            patch.setattr(prefetch, name, value)
        parts = Prefetcher(lambda start, stop: content[start:stop], size, THREADS)
        parts.expect(ranges)
        file = PrefetchedFile(parts, size)
        for start, count in reads:
            file.seek(start)
            assert file.read(count) == content[start : start + count]
        with closing(io.BufferedReader(PrefetchedFile(parts, size), 64)) as buffered:
            assert buffered.read() == content


THREADS = DaemonThreads(4)


def test_sequential_reading_fetches_every_byte_once_and_stays_within_its_bound() -> None:
    size = 3 * AHEAD + 5
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        fetched.append((start, stop))
        return bytes(stop - start)

    parts = Prefetcher(fetch, size, THREADS)
    parts.expect([(0, size)])
    file = PrefetchedFile(parts, size)
    while len(file.read(1 << 20)):
        assert sum(stop - start for start, stop in fetched) <= file.tell() + AHEAD + 2 * PART
    assert sorted(fetched) == [(start, min(start + PART, size)) for start in range(0, size, PART)]


def test_columns_without_text_are_not_fetched(data: Path) -> None:
    noise = [np.random.default_rng(i).bytes(60_000) for i in range(200)]
    made = io.BytesIO()
    pq.write_table(pa.table({"noise": noise, "text": [f"text {i}" for i in range(200)]}), made, row_group_size=50)
    bucket = Bucket(objects={"a.parquet": made.getvalue()})
    corpus = declare_corpus(data, "corpus", "s3://bucket/a.parquet")
    texts = [text for batch in read_documents(corpus, [bucket.pinned("a.parquet")]) for text in batch.texts.to_pylist()]
    assert texts == [f"text {i}" for i in range(200)]
    assert bucket.fetched < 400_000 < len(made.getvalue())


def test_many_small_objects_are_fetched_ahead_in_one_request_each(data: Path) -> None:
    bucket = Bucket(objects={f"{i}.jsonl": b'{"text": "Text %d."}\n' % i for i in range(300)})
    corpus = declare_corpus(data, "corpus", "s3://bucket/*.jsonl")
    files = [bucket.pinned(name) for name in bucket.objects]
    assert sum(len(batch.texts) for batch in read_documents(corpus, files)) == 300
    assert len(bucket.parts) == 300


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow", "a.csv", "a.txt", "a.jsonl.gz", "a.jsonl.zip"])
def test_error_of_an_object_passes_through_every_reader(name: str, data: Path) -> None:
    bucket = Bucket(objects={name: b"any content"})
    file = bucket.pinned(name)
    bucket.objects[name] = b"another"
    with pytest.raises(SourceError, match=f"^{name}: has changed$"):
        list(read_documents(declare_corpus(data, "corpus", f"s3://bucket/{name}"), [file]))
