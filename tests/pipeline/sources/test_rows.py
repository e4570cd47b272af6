"""Every format gives the same documents, exactly."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.config import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources import rows
from phyagi_assets.pipeline.sources.files import Span
from phyagi_assets.pipeline.sources.rows import ReadOptions, read_rows
from tests.support import local_file, write_jsonl, write_text

AWKWARD = [
    "plain",
    "",
    " ",
    "a\r\nb\rc\n",
    "nul\x00inside",
    "\ufeffbom",
    "line\u2028and\u2029paragraph\x85",
    "e\u0301 👩‍👩‍👧 🇩🇪 \U0010ffff",
    'quotes " and , and \\ and \t',
    "<|endoftext|>",
    "long " * 5000,
]


def table() -> pa.Table:
    return pa.table({"id": list(range(len(AWKWARD))), "text": AWKWARD})


def write_stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table().schema) as writer:
        writer.write_table(table(), max_chunksize=3)


def write_file(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table(), max_chunksize=3)


WRITERS: dict[str, tuple[Format, Callable[[Path], object]]] = {
    "json": ("json", lambda path: write_jsonl(path, AWKWARD)),
    "csv": ("csv", lambda path: pa.csv.write_csv(table(), path)),
    "parquet": ("parquet", lambda path: pa.parquet.write_table(table(), path, row_group_size=4)),
    "parquet dictionary": ("parquet", lambda path: pa.parquet.write_table(dictionary(), path)),
    "arrow stream": ("arrow", write_stream),
    "arrow file": ("arrow", write_file),
}


def dictionary() -> pa.Table:
    return table().set_column(1, "text", table()["text"].dictionary_encode())


def texts(path: Path, kind: Format, sample_by: str = "document", columns: tuple[str, ...] = ("text",)) -> list[str | None]:
    return [
        text
        for batch in read_rows(Span(file=local_file(path)), kind, ReadOptions(columns=columns, sample_by=sample_by))
        for text in batch.columns[0].to_pylist()
    ]


@pytest.mark.parametrize("writer", WRITERS)
def test_documents_come_back_exactly_and_in_their_places(tmp_path: Path, writer: str) -> None:
    kind, write = WRITERS[writer]
    write(tmp_path / "file")
    read = list(read_rows(Span(file=local_file(tmp_path / "file")), kind, ReadOptions(columns=("text",), sample_by="document")))
    assert [text for batch in read for text in batch.columns[0].to_pylist()] == AWKWARD
    assert [batch.first for batch in read] == [sum(len(before.columns[0]) for before in read[:i]) for i in range(len(read))]
    assert sum(batch.consumed for batch in read) > 0


@pytest.mark.parametrize("document", AWKWARD, ids=range(len(AWKWARD)))
def test_a_text_file_is_its_bytes(tmp_path: Path, document: str) -> None:
    assert texts(write_text(tmp_path / "file", document), "text") == [document]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("sample_by", "content", "expected"),
    [
        ("line", "one\ntwo\r\n\nfour", ["one", "two", "", "four"]),
        ("line", "one\n", ["one"]),
        ("paragraph", "one\nstill one\n\ntwo\n \n\n\nthree\n", ["one\nstill one", "two", "three"]),
        ("paragraph", "one\r\n\r\ntwo", ["one", "two"]),
        ("paragraph", "\n\n", []),
        ("paragraph", "  \n\n   indented\n\n\tas it stands \n\n  ", ["   indented", "\tas it stands "]),
    ],
)
def test_text_is_divided_alike_whatever_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, sample_by: str, content: str, expected: list[str]
) -> None:
    monkeypatch.setattr(rows, "BLOCK", block)
    assert texts(write_text(tmp_path / "file", content), "text", sample_by) == expected


@settings(deadline=None)
@given(content=st.text(st.sampled_from("ab \n\r\t\u2028é")), block=st.integers(1, 12))
def test_paragraphs_are_what_blank_lines_separate(tmp_path_factory: pytest.TempPathFactory, content: str, block: int) -> None:
    groups = itertools.groupby(content.split("\n"), key=lambda line: bool(line.strip(" \t\r")))
    path = write_text(tmp_path_factory.mktemp("text") / "file", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK", block)
        assert texts(path, "text", "paragraph") == ["\n".join(lines).rstrip("\r") for filled, lines in groups if filled]


@settings(deadline=None)
@given(lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), block=st.integers(1, 12))
def test_lines_are_what_newlines_end(tmp_path_factory: pytest.TempPathFactory, lines: list[str], block: int) -> None:
    path = write_text(tmp_path_factory.mktemp("text") / "file", "".join(f"{line}\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK", block)
        assert texts(path, "text", "line") == [line.removesuffix("\r") for line in lines]


@pytest.mark.parametrize(("sample_by", "block"), [("document", 4), ("line", 4), ("paragraph", 1 << 20)])
def test_text_that_is_no_utf8_names_the_line_and_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_by: str, block: int
) -> None:
    monkeypatch.setattr(rows, "BLOCK", block)
    path = write_text(tmp_path / "file", b"first\nsecond\ncaf" + b"\xe9\n")
    with pytest.raises(SourceError, match=rf"{path}:3: is not UTF-8: byte 0xe9"):
        texts(path, "text", sample_by)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path, writer: str) -> None:
    kind, write = WRITERS[writer]
    write(tmp_path / "file")
    with pytest.raises(SourceError, match=r"file: has no column 'body'; .*text"):
        texts(tmp_path / "file", kind, columns=("body",))


def test_a_column_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(table(), tmp_path / "file")
    with pytest.raises(SourceError, match="column 'id' holds int64, not text"):
        texts(tmp_path / "file", "parquet", columns=("id",))


@pytest.mark.parametrize("writer", ["csv", "parquet", "arrow stream", "arrow file"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, writer: str) -> None:
    kind, write = WRITERS[writer]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "table", lambda: pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]))
        write(tmp_path / "file")
    with pytest.raises(SourceError, match="has 2 columns 'text'; rename all but one"):
        texts(tmp_path / "file", kind)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_what_a_file_calls_text_and_is_none_is_a_row_at_fault(tmp_path: Path, kind: pa.DataType) -> None:
    binary = pa.large_binary() if kind == pa.large_string() else pa.binary()
    content = pa.table({"text": pa.array([b"one", b"caf\xe9", None, b"four"], binary).view(kind)})
    pa.parquet.write_table(content, tmp_path / "file")
    (batch,) = read_rows(Span(file=local_file(tmp_path / "file")), "parquet", ReadOptions(columns=("text",), sample_by="document"))
    assert batch.columns[0].to_pylist() == ["one", None, None, "four"]
    assert batch.problems == {1: "'text' is not UTF-8 at byte 3"}


@pytest.mark.parametrize("longest", [1, 20, 2000])
def test_csv_has_rows_of_any_length_and_other_columns_of_any_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    monkeypatch.setattr(rows, "BLOCK", 64)
    expected = [("line\n" * (i % 7 * longest)) + str(i) for i in range(50)]
    numbers = [*range(49), "no number"]
    write_text(tmp_path / "file", "id,text\n" + "".join(f'{n},"{text}"\n' for n, text in zip(numbers, expected, strict=True)))
    read = list(read_rows(Span(file=local_file(tmp_path / "file")), "csv", ReadOptions(columns=("text",), sample_by="document")))
    assert [text for batch in read for text in batch.columns[0].to_pylist()] == expected
    assert [batch.first for batch in read] == [sum(len(before.columns[0]) for before in read[:i]) for i in range(len(read))]


@pytest.mark.parametrize(
    ("content", "message"), [(b"text,b\na\n", "Expected 2 columns, got 1"), (b"text\ncaf\xe9\n", "invalid UTF8"), (b"", "Empty CSV file")]
)
def test_csv_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=f"file: is no csv file, or a damaged one: .*{message}"):
        texts(write_text(tmp_path / "file", content), "csv")


@pytest.mark.parametrize("writer", ["parquet", "arrow stream", "arrow file"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, writer: str, kept: float) -> None:
    kind, write = WRITERS[writer]
    write(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SourceError, match=r"file: .*(damaged|cannot be read)"):
        texts(tmp_path / "file", kind)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone: cannot be read: No such file"):
        texts(tmp_path / "gone", "text")
