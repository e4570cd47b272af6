"""Cutting a partition into chunks, and reading each chunk on its own."""

import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources import chunks, documents
from phyagi_assets.sources.chunks import Spans
from phyagi_assets.sources.documents import Documents, read_documents, read_spans
from phyagi_assets.sources.files import Span, readable
from phyagi_assets.sources.local_file import LocalFile
from tests.support import declare_corpus, list_partitions, local_file, small_blocks, write_jsonl, write_text

Held = list[tuple[str, int, int]]
"""Text, file and row of every document."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 100 bytes."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 100)


def opened(data: Path, path: str = "raw/*", **keys: Any) -> tuple[Corpus, list[LocalFile]]:
    corpus = declare_corpus(data, "corpus", path, **keys)
    (partition,) = list_partitions(corpus, data).values()
    return corpus, readable(partition)


def held(batches: Iterator[Documents]) -> Held:
    return [found for batch in batches for found in zip(batch.texts.to_pylist(), batch.files.tolist(), batch.rows.tolist(), strict=True)]


def cut(corpus: Corpus, files: Sequence[LocalFile]) -> list[Spans]:
    return list(chunks.cut_into_chunks(corpus, files))


def check(corpus: Corpus, files: Sequence[LocalFile], wanted: Held) -> int:
    """Assert that the documents are as expected, read at once and chunk by chunk, and return the number of chunks."""
    parts = cut(corpus, files)
    assert held(read_documents(corpus, files)) == wanted
    assert [document for part in parts for document in held(read_spans(corpus, part))] == wanted
    return len(parts)


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)


@given(
    files=st.lists(st.lists(words, min_size=1, max_size=12), min_size=1, max_size=4),
    chunk=st.integers(1, 300),
    batch=st.integers(1, 200),
    block=st.integers(1, 200),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    kind=st.sampled_from(["jsonl", "txt"]),
)
def test_chunks_hold_the_documents_of_the_partition(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], chunk: int, batch: int, block: int, end: str, last: bool, kind: str
) -> None:
    data = tmp_path_factory.mktemp("data")
    for i, texts in enumerate(files):
        path = write_jsonl(data / "raw" / f"{i}.{kind}", texts)
        lines = path.read_text(encoding="utf-8").splitlines() if kind == "jsonl" else texts
        write_text(path, end.join(lines) + (end if last else ""))
        if kind == "txt" and not last and not texts[-1]:
            texts.pop()  # an empty rest after the last line end is not a line
    wanted = [(text, file, row) for file, texts in enumerate(files) for row, text in enumerate(texts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", chunk)
        patch.setattr(documents, "BATCH_BYTES", batch)
        small_blocks(patch, block)
        corpus, found = opened(data, source={"sample_by": "line"} if kind == "txt" else {})
        check(corpus, found, wanted)


@settings(deadline=None)
@given(texts=st.lists(words, min_size=1, max_size=60), group=st.integers(1, 20), chunk=st.integers(1, 3000))
def test_chunks_of_a_parquet_file_begin_at_row_groups(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], group: int, chunk: int
) -> None:
    data = tmp_path_factory.mktemp("data")
    (data / "raw").mkdir()
    pq.write_table(pa.table({"text": texts}), data / "raw" / "a.parquet", row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", chunk)
        corpus, files = opened(data)
        count = check(corpus, files, [(text, 0, row) for row, text in enumerate(texts)])
    groups = -(-len(texts) // group)
    assert count == 1 if files[0].size <= chunk else 1 <= count <= groups


@pytest.mark.usefixtures("small")
def test_chunks_have_the_size_asked_for(data: Path) -> None:
    write_jsonl(data / "raw" / "a.jsonl", ["x" * 10] * 100)  # 23 bytes per line, 2,300 in all
    spans = [span for chunk in cut(*opened(data)) for span in chunk]
    assert [span.start for span in spans[:4]] == [0, 115, 207, 322]  # the first end of a line at or after each hundred
    assert [span.first for span in spans[:4]] == [0, 5, 9, 14]
    assert len(spans) == 23
    assert [span.stop for span in spans] == [*(span.start for span in spans[1:]), None]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("lines", "count"), [(8, 1), (9, 2), (13, 2), (14, 3)])
def test_chunks_are_of_even_size(data: Path, lines: int, count: int) -> None:
    write_jsonl(data / "raw" / "a.jsonl", ["x" * 10] * lines)
    sizes = [(span.stop or 23 * lines) - span.start for chunk in cut(*opened(data)) for span in chunk]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 2 * 23


@pytest.mark.usefixtures("small")
def test_most_chunks_is_computed_from_names_and_sizes(data: Path) -> None:
    for name, size in (("large.jsonl", 1000), ("large.csv", 1000), ("large.jsonl.gz", 1000), ("small1.jsonl", 50), ("small2.jsonl", 60)):
        write_text(data / "raw" / name, "x" * size)
    corpus = declare_corpus(data, "corpus", "raw/*")
    (partition,) = list_partitions(corpus, data).values()
    assert chunks.most_chunks(corpus, partition.files) == 10 + 2 + 2
    write_text(data / "raw" / "empty.jsonl", "")
    for name in ("large.jsonl.gz", "empty.jsonl"):
        corpus = declare_corpus(data, "corpus", f"raw/{name}")
        (partition,) = list_partitions(corpus, data).values()
        assert chunks.most_chunks(corpus, partition.files) == 1


@pytest.mark.usefixtures("small")
def test_line_longer_than_a_chunk_is_not_cut(data: Path) -> None:
    texts = ["short", "long" * 200, "short", "short"]
    write_jsonl(data / "raw" / "a.jsonl", texts)
    assert check(*opened(data), [(text, 0, row) for row, text in enumerate(texts)]) == 2


@pytest.mark.usefixtures("small")
def test_long_line_is_read_once_to_find_its_end(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(data / "raw" / "a.jsonl", '{"text": "' + "x" * 100_000 + '"}\n{"text": "short"}\n')
    read: list[int] = []

    class Watched(io.BufferedReader):
        def readline(self, size: int | None = -1, /) -> bytes:
            read.append(len(line := super().readline(size)))
            return line

    path_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", **keys: Watched(io.FileIO(path)) if mode == "rb" else path_open(path, mode, **keys)
    )
    assert len(cut(*opened(data))) == 2
    assert sum(read) < 100_100


def test_small_row_groups_are_combined_into_chunks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{row} {'word ' * 20}" for row in range(1000)]
    (data / "raw").mkdir()
    path = data / "raw" / "a.parquet"
    pq.write_table(pa.table({"text": texts}), path, row_group_size=100, compression="none")
    for size, count in ((path.stat().st_size // 10, 10), (path.stat().st_size // 4, 4), (path.stat().st_size, 1)):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", size)
        assert check(*opened(data), [(text, 0, row) for row, text in enumerate(texts)]) == count


@pytest.mark.usefixtures("small")
def test_small_files_are_combined_into_chunks(data: Path) -> None:
    for i in range(100):
        write_text(data / "raw" / f"{i:03}.txt", "twenty bytes of text")
    corpus, files = opened(data)
    assert [len(chunk) for chunk in cut(corpus, files)] == [5] * 20
    check(corpus, files, [("twenty bytes of text", i, 0) for i in range(100)])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "content", "sample_by"),
    [
        ("a.jsonl.gz", gzip.compress(b'{"text": "one"}\n' * 100, 0), "document"),
        ("a.csv", b"text\n" + b'"over\ntwo lines"\n' * 100, "document"),
        ("a.txt", b"one paragraph\n\n" * 100, "paragraph"),
        ("a.txt", b"one document\n" * 100, "document"),
    ],
)
def test_file_readable_only_from_its_beginning_is_one_chunk(data: Path, name: str, content: bytes, sample_by: str) -> None:
    write_text(data / "raw" / name, content)
    corpus, files = opened(data, source={"sample_by": sample_by})
    assert cut(corpus, files) == [(Span(file=files[0]),)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "source", "content", "refusal"),
    [
        ("a.jsonl", {}, b'{"text": "one"}\n' * 50 + b'{"text": null}\n' + b'{"text": "one"}\n' * 5, r"a\.jsonl: row 51: 'text' is null"),
        ("a.txt", {"sample_by": "line"}, b"ten bytes\n" * 50 + b"\xff\n", r"a\.txt:51: is not UTF-8"),
    ],
)
def test_invalid_row_is_named_by_its_number_in_the_file(
    data: Path, name: str, source: dict[str, str], content: bytes, refusal: str
) -> None:
    write_text(data / "raw" / name, content)
    corpus, files = opened(data, source=source)
    with pytest.raises(SourceError, match=refusal):
        list(read_spans(corpus, cut(corpus, files)[-1]))


@pytest.mark.usefixtures("small")
def test_blank_lines_count_as_rows(data: Path) -> None:
    write_text(data / "raw" / "a.jsonl", '{"text": "one"}\n\n' * 50)
    assert check(*opened(data), [("one", 0, 2 * row) for row in range(50)]) == 8


@pytest.mark.usefixtures("small")
def test_unreadable_file_is_one_chunk_and_is_reported_by_its_reader(data: Path) -> None:
    write_text(data / "raw" / "a.parquet", b"no Parquet file " * 100)
    corpus, files = opened(data)
    gone = local_file(data / "raw" / "gone.jsonl")
    assert cut(corpus, [*files, gone]) == [(Span(file=files[0]),), (Span(file=gone, index=1),)]


@pytest.mark.usefixtures("small")
def test_chunks_of_a_large_partition_are_larger_and_not_more(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNKS", 5)
    write_jsonl(data / "raw" / "a.jsonl", ["x" * 10] * 100)
    assert check(*opened(data), [("x" * 10, 0, row) for row in range(100)]) == 5


@pytest.mark.usefixtures("small")
def test_file_whose_lines_cannot_be_counted_is_named_in_the_error(data: Path) -> None:
    corpus, _ = opened(data, str(write_jsonl(data / "raw" / "a.jsonl", ["one"])))
    for number in range(20):  # the size of a folder in memory depends on its entries
        (data / "raw" / "b.jsonl" / f"{number}").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"b\.jsonl: cannot be read: Is a directory"):
        cut(corpus, [local_file(data / "raw" / "b.jsonl")])
