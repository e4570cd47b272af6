"""Documents in batches: all of them, in order, each with its origin."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.errors import SourceError
from phyagi_assets.sources import documents
from phyagi_assets.sources.documents import Documents, read_documents
from phyagi_assets.sources.files import readable
from tests.support import declare_corpus, list_partitions, small_blocks, write_jsonl, write_text


def read(data: Path, path: str = "raw/*", **keys: object) -> list[Documents]:
    corpus = declare_corpus(data, "corpus", path, **keys)
    (partition,) = list_partitions(corpus, data).values()
    return list(read_documents(corpus, readable(partition)))


def flat(batches: list[Documents]) -> list[tuple[str, int, int]]:
    """Text, file and row of every document."""
    return [found for batch in batches for found in zip(batch.texts.to_pylist(), batch.files.tolist(), batch.rows.tolist(), strict=True)]


@settings(deadline=None)
@given(files=st.lists(st.lists(st.text(max_size=30), min_size=1, max_size=12), min_size=1, max_size=4), size=st.integers(1, 200))
def test_documents_are_read_once_in_order_for_any_batch_size(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], size: int
) -> None:
    data = tmp_path_factory.mktemp("data")
    for i, texts in enumerate(files):
        write_jsonl(data / "raw" / f"{i}.jsonl", texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BATCH_BYTES", size)
        small_blocks(patch, 2 * size)
        found = flat(read(data))
    assert found == [(text, file, row) for file, texts in enumerate(files) for row, text in enumerate(texts)]


def test_batches_have_bounded_size(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BATCH_BYTES", 1000)
    small_blocks(monkeypatch, 1000)
    write_jsonl(data / "raw" / "a.jsonl", ["x" * 100] * 200 + ["y" * 5000] + ["z" * 100] * 10)
    sizes = [batch.text_bytes for batch in read(data)]
    assert max(sizes) < 5000 + 2 * 1000 + 400
    assert sum(sizes) == 200 * 100 + 5000 + 10 * 100


def test_small_files_are_combined_into_batches(data: Path) -> None:
    for i in range(1_000):
        write_text(data / "raw" / f"{i:05}.txt", f"document {i}")
    (batch,) = read(data)
    assert flat([batch]) == [(f"document {i}", i, 0) for i in range(1_000)]
    assert batch.consumed == sum(path.stat().st_size for path in (data / "raw").iterdir())


def test_row_without_text_is_refused_or_skipped_and_counted(data: Path) -> None:
    write_jsonl(data / "raw" / "a.jsonl", ["zero", None, "two", {"text": 3}, {"other": 1}, "five"])
    with pytest.raises(SourceError, match=r"a.jsonl: row 2: 'text' is null; .*on_invalid: skip"):
        read(data)
    found = read(data, on_invalid="skip")
    assert flat(found) == [("zero", 0, 0), ("two", 0, 2), ("five", 0, 5)]
    assert sum(batch.invalid for batch in found) == 3


@pytest.mark.parametrize("block", [1, 60, 1 << 20])
def test_skipped_rows_do_not_depend_on_the_batch_size(data: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    small_blocks(monkeypatch, block)
    write_jsonl(data / "raw" / "a.jsonl", ["zero", {"other": 1}, "two", {"other": 2}])
    found = read(data, on_invalid="skip")
    assert flat(found) == [("zero", 0, 0), ("two", 0, 2)]
    assert sum(batch.invalid for batch in found) == 2


def test_blank_lines_are_skipped_and_count_in_row_numbers(data: Path) -> None:
    write_text(data / "raw" / "a.jsonl", '{"text": "one"}\n\n  \n{"text": "four"}\n')
    found = read(data)
    assert flat(found) == [("one", 0, 0), ("four", 0, 3)]
    assert sum(batch.invalid for batch in found) == 0


def test_several_columns_are_joined(data: Path) -> None:
    write_jsonl(data / "raw" / "a.jsonl", [{"title": "T", "body": "B"}, {"title": "", "body": "B"}])
    assert [text for text, _, _ in flat(read(data, columns=["title", "body"], separator=": "))] == ["T: B", ": B"]
    write_jsonl(data / "raw" / "a.jsonl", [{"title": "T", "body": None}, {"title": "", "body": "B"}])
    with pytest.raises(SourceError, match="row 1: 'body' is null"):
        read(data, columns=["title", "body"])
