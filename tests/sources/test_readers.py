"""Every format gives exactly the same documents."""

import gzip
import itertools
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow.parquet.encryption import CryptoFactory, EncryptionConfiguration, KmsClient, KmsConnectionConfig

from phyagi_assets.declare.corpus_schema import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.local_file import LocalFile
from phyagi_assets.sources.readable import ByteRange
from phyagi_assets.sources.rows import ReadOptions, RowProblem
from tests.support import local_file, read_rows, small_blocks, write_jsonl, write_text

AWKWARD = [
    "plain",
    "",
    " ",
    "a\r\nb\rc\n",
    "nul\x00inside",
    "in\ufeffside",
    "line\u2028and\u2029paragraph\x85",
    "e\u0301 👩‍👩‍👧 🇩🇪 \U0010ffff",
    'quotes " and , and \\ and \t',
    "<|endoftext|>",
    "long " * 5000,
]


def table() -> pa.Table:
    return pa.table({"id": list(range(len(AWKWARD))), "text": AWKWARD})


def write_stream(content: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=3)


def write_file(content: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=3)


TABLE_WRITERS: dict[str, tuple[Format, Callable[[pa.Table, Path], object]]] = {
    "csv": ("csv", pa.csv.write_csv),
    "parquet": ("parquet", lambda content, path: pa.parquet.write_table(content, path, row_group_size=4)),
    "arrow stream": ("arrow", write_stream),
    "arrow file": ("arrow", write_file),
}


def _write_all(write: Callable[[pa.Table, Path], object], path: Path) -> object:
    return write(table(), path)


WRITERS: dict[str, tuple[Format, Callable[[Path], object]]] = {
    "json": ("json", lambda path: write_jsonl(path, AWKWARD)),
    "parquet dictionary": ("parquet", lambda path: pa.parquet.write_table(dictionary(), path)),
    **{name: (kind, partial(_write_all, write)) for name, (kind, write) in TABLE_WRITERS.items()},
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
def test_documents_round_trip_with_their_rows(tmp_path: Path, writer: str) -> None:
    kind, write = WRITERS[writer]
    write(tmp_path / "file")
    read = list(read_rows(Span(file=local_file(tmp_path / "file")), kind, ReadOptions(columns=("text",), sample_by="document")))
    assert [text for batch in read for text in batch.columns[0].to_pylist()] == AWKWARD
    assert [number for batch in read for number in batch.numbers.tolist()] == list(range(len(AWKWARD)))
    assert sum(batch.consumed for batch in read) > 0


@pytest.mark.parametrize("document", AWKWARD, ids=range(len(AWKWARD)))
def test_text_file_is_read_byte_for_byte(tmp_path: Path, document: str) -> None:
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
def test_text_is_divided_the_same_for_any_block_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, sample_by: str, content: str, expected: list[str]
) -> None:
    small_blocks(monkeypatch, block)
    assert texts(write_text(tmp_path / "file", content), "text", sample_by) == expected


@settings(deadline=None)
@given(content=st.text(st.sampled_from("ab \n\r\t\u2028é")), block=st.integers(1, 12))
def test_paragraphs_are_separated_by_blank_lines(tmp_path_factory: pytest.TempPathFactory, content: str, block: int) -> None:
    assume("\n" in content or content.count("\r") < 2)
    groups = itertools.groupby(content.split("\n"), key=lambda line: bool(line.strip(" \t\r")))
    path = write_text(tmp_path_factory.mktemp("text") / "file", content)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, block)
        assert texts(path, "text", "paragraph") == ["\n".join(lines).rstrip("\r") for filled, lines in groups if filled]


@settings(deadline=None)
@given(lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), block=st.integers(1, 12))
def test_lines_end_at_newlines(tmp_path_factory: pytest.TempPathFactory, lines: list[str], block: int) -> None:
    path = write_text(tmp_path_factory.mktemp("text") / "file", "".join(f"{line}\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, block)
        assert texts(path, "text", "line") == [line.removesuffix("\r") for line in lines]


@pytest.mark.parametrize(("sample_by", "block"), [("document", 4), ("line", 4), ("paragraph", 1 << 20)])
def test_invalid_utf8_is_named_with_line_and_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_by: str, block: int) -> None:
    small_blocks(monkeypatch, block)
    path = write_text(tmp_path / "file", b"first\nsecond\ncaf" + b"\xe9\n")
    with pytest.raises(SourceError, match=rf"{path}:3: is not UTF-8: byte 0xe9"):
        texts(path, "text", sample_by)


@pytest.mark.parametrize("sample_by", ["line", "paragraph"])
def test_lines_that_end_in_carriage_returns_are_refused(tmp_path: Path, sample_by: str) -> None:
    with pytest.raises(SourceError, match=r"file: has lines that end in a carriage return \(CR\) alone.*tr '\\r' '\\n'"):
        texts(write_text(tmp_path / "file", "one\rtwo\r\rthree\r"), "text", sample_by)
    assert texts(write_text(tmp_path / "file", "one\r"), "text", sample_by) == ["one"]


@pytest.mark.parametrize("writer", WRITERS)
def test_missing_column_error_lists_the_columns(tmp_path: Path, writer: str) -> None:
    kind, write = WRITERS[writer]
    write(tmp_path / "file")
    with pytest.raises(SourceError, match=r"file: has no column 'body'; .*text"):
        texts(tmp_path / "file", kind, columns=("body",))


def test_non_text_column_is_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(table(), tmp_path / "file")
    with pytest.raises(SourceError, match="column 'id' holds int64, not text"):
        texts(tmp_path / "file", "parquet", columns=("id",))


@pytest.mark.parametrize("writer", TABLE_WRITERS)
def test_column_that_occurs_twice_is_refused(tmp_path: Path, writer: str) -> None:
    kind, write = TABLE_WRITERS[writer]
    write(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "file")
    with pytest.raises(SourceError, match="has 2 columns 'text'; rename all but one"):
        texts(tmp_path / "file", kind)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_invalid_utf8_in_a_text_column_is_an_invalid_row(tmp_path: Path, kind: pa.DataType) -> None:
    binary = pa.large_binary() if kind == pa.large_string() else pa.binary()
    content = pa.table({"text": pa.array([b"one", b"caf\xe9", None, b"four"], binary).view(kind)})
    pa.parquet.write_table(content, tmp_path / "file")
    (batch,) = read_rows(Span(file=local_file(tmp_path / "file")), "parquet", ReadOptions(columns=("text",), sample_by="document"))
    assert batch.columns[0].to_pylist() == ["one", None, None, "four"]
    assert batch.problems == {1: RowProblem("'text' is not UTF-8 at byte 3", is_of_encoding=True)}


@pytest.mark.parametrize("longest", [1, 20, 2000])
def test_csv_may_have_rows_of_any_length_and_other_columns_of_any_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    small_blocks(monkeypatch, 64)
    expected = [("line\n" * (i % 7 * longest)) + str(i) for i in range(50)]
    numbers = [*range(49), "no number"]
    write_text(tmp_path / "file", "id,text\n" + "".join(f'{n},"{text}"\n' for n, text in zip(numbers, expected, strict=True)))
    read = list(read_rows(Span(file=local_file(tmp_path / "file")), "csv", ReadOptions(columns=("text",), sample_by="document")))
    assert [text for batch in read for text in batch.columns[0].to_pylist()] == expected
    assert [number for batch in read for number in batch.numbers.tolist()] == list(range(len(expected)))


@pytest.mark.parametrize(
    ("content", "expected", "problems"),
    [
        (b"id,text\n1,a\n2\n3,c\n4,d,e\n", {0: "a", 2: "c"}, {1: "has 1 column, where the header has 2", 3: "has 3 columns, .*"}),
        (b"text\na\ncaf\xe9\nc\n", {0: "a", 1: None, 2: "c"}, {1: "'text' is not UTF-8 at byte 3"}),
        (b"id,text\n", {}, {}),
        (b"id,text", {}, {}),
        (b"id,text\n1\n", {}, {0: "has 1 column, where the header has 2"}),
        (b"", {}, {}),
        (b"\n", {}, {}),
        (b"\xef\xbb\xbftext\na\n", {0: "a"}, {}),
    ],
)
def test_invalid_csv_row_is_named_by_its_number(
    tmp_path: Path, content: bytes, expected: dict[int, str | None], problems: dict[int, str]
) -> None:
    read = list(
        read_rows(
            Span(file=local_file(write_text(tmp_path / "file", content))), "csv", ReadOptions(columns=("text",), sample_by="document")
        )
    )
    assert {
        number: text for batch in read for number, text in zip(batch.numbers.tolist(), batch.columns[0].to_pylist(), strict=True)
    } == expected
    found = {row: problem.found for batch in read for row, problem in batch.problems.items()}
    assert found.keys() == problems.keys()
    assert all(re.fullmatch(problems[row], found[row]) for row in found), found


def test_columns_with_spaces_around_their_names_are_shown_in_quotes(tmp_path: Path) -> None:
    path = write_text(tmp_path / "file", b"id, text\n1, a\n")
    with pytest.raises(SourceError, match="has no column 'text'; it has id, ' text'; name"):
        list(read_rows(Span(file=local_file(path)), "csv", ReadOptions(columns=("text",), sample_by="document")))


def csv_texts(path: Path, content: str, delimiter: str | None = None) -> list[str | None]:
    options = ReadOptions(columns=("text",), sample_by="document", delimiter=delimiter)
    return [
        text for rows in read_rows(Span(file=local_file(write_text(path, content))), "csv", options) for text in rows.columns[0].to_pylist()
    ]


@pytest.mark.parametrize("block", [1 << 20, 64, 63, 62])
@pytest.mark.parametrize("value", ['"He said \\"hi\\" to me"', '"Hello" she said', '"a" '])
def test_quoted_value_with_text_after_its_closing_quote_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, block: int
) -> None:
    small_blocks(monkeypatch, block)
    for delimiter in (None, "\t"):
        table = 'text,id\n"a ""x"" é",1\n\nb "c" d,2\n' + value + ",3\nfine,4\n"
        with pytest.raises(SourceError, match="file: a quoted value in row 3 goes on after its closing quote; write a quote inside"):
            csv_texts(tmp_path / "file", table.replace(",", delimiter or ","), delimiter)


def test_quotes_inside_values_are_read_as_they_are(tmp_path: Path) -> None:
    long = "x" * 200_000
    table = f'text,id\n"a ""x"" é",1\nb "c" d,2\n "e",3\n"C:\\dir\\",4\n"{long}",5\n"""f""",6\n'
    assert csv_texts(tmp_path / "file", table) == ['a "x" é', 'b "c" d', ' "e"', "C:\\dir\\", long, '"f"']


@pytest.mark.parametrize("table", ['text\na\n"b\nc\nd\n', 'text,id\na,1\nb,"2\nc,3\n', 'id,text\n1,a\n"2,b\n3,c'])
def test_quote_without_an_end_does_not_swallow_the_rest_of_a_table(tmp_path: Path, table: str) -> None:
    with pytest.raises(SourceError, match=r"file: a quoted value in row 2 has no closing quote"):
        texts(write_text(tmp_path / "file", table), "csv")


def test_quote_without_an_end_before_a_quoted_value_is_not_skipped_as_an_invalid_row(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"file: a quoted value in row 2 goes on after its closing quote"):
        texts(write_text(tmp_path / "file", 'text,id\na,1\n",2\n"x,y",3\nb,4\n'), "csv")


def test_quote_without_an_end_in_the_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="file: a quoted value in the header has no closing quote"):
        texts(write_text(tmp_path / "file", 'text,"id\na,1\n'), "csv")


@pytest.mark.parametrize("row", ['5" disk,1', "a"])
def test_part_of_a_table_that_was_not_written_is_refused_after_a_row_that_pyarrow_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    small_blocks(monkeypatch, 64)
    with pytest.raises(SourceError, match="file: contains a run of NUL bytes"):
        csv_texts(tmp_path / "file", f"text,id\n{row}\n" + "b,2\n" * 100 + "\0" * 4096 + ",3\n")


@pytest.mark.parametrize("broken", ["", "a,b\r\n"])
def test_csv_value_keeps_its_line_ends_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    small_blocks(monkeypatch, 32)
    expected = [f"{'x' * n}\r\ny" for n in range(16)]
    content = "text\r\n" + broken + "".join(f'"{text}"\r\n' for text in expected)
    assert texts(write_text(tmp_path / "file", content), "csv") == expected


@pytest.mark.parametrize("extra", [0, 20])
def test_csv_header_may_be_as_long_as_a_block_and_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    content = "text," + "c" * (24 + extra) + "\na,b\nc,d,e\n"
    small_blocks(monkeypatch, 32)
    assert texts(write_text(tmp_path / "file", content), "csv") == ["a"]


def test_csv_header_that_is_not_utf8_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"file: its header is not UTF-8: byte 0xe9; convert the file"):
        texts(write_text(tmp_path / "file", b"text,\xe9\na,b\n"), "csv")


@pytest.mark.parametrize(
    ("name", "delimiter", "content", "expected"),
    [
        ("a.tsv", None, "id\ttext\n1\ta, b\n", ["a, b"]),
        ("a.tsv.gz", None, "id\ttext\n1\ta, b\n", ["a, b"]),
        ("a.csv", ";", 'id;text\n1;"a;b"\n', ["a;b"]),
        ("a.tsv", ",", "id,text\n1,a\tb\n", ["a\tb"]),
        ("a.csv", " ", 'id text\n1 "a b"\n', ["a b"]),
    ],
)
def test_delimiter_is_declared_or_taken_from_the_suffix(
    tmp_path: Path, name: str, delimiter: str | None, content: str, expected: list[str]
) -> None:
    path = write_text(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    options = ReadOptions(columns=("text",), sample_by="document", delimiter=delimiter)
    assert [text for batch in read_rows(Span(file=local_file(path)), "csv", options) for text in batch.columns[0].to_pylist()] == expected


def test_table_with_another_delimiter_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no column 'text'; .*if ';' separates the columns, declare it as source\.delimiter"):
        texts(write_text(tmp_path / "file", "id;text\n1;a\n"), "csv")


def write_nested(path: Path, kind: Format, values: pa.Array, literal: pa.Array | None = None) -> None:
    columns = {"id": pa.array(range(len(values))), "meta": values} | ({} if literal is None else {"meta.text": literal})
    content = pa.table(columns)
    if kind == "parquet":
        pa.parquet.write_table(content, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema) as writer:
            writer.write_table(content, max_chunksize=2)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_dotted_name_selects_struct_fields_after_the_exact_column(tmp_path: Path, kind: Format) -> None:
    values = pa.array([{"n": 1, "text": "a"}, None, {"n": 3, "text": None}, {"n": 4, "text": "d"}, {"n": 5, "text": "e"}])
    write_nested(tmp_path / "file", kind, values)
    assert texts(tmp_path / "file", kind, columns=("meta.text",)) == ["a", None, None, "d", "e"]
    with pytest.raises(SourceError, match=r"has no column 'meta\.body'; it has id, meta\.n, meta\.text"):
        texts(tmp_path / "file", kind, columns=("meta.body",))
    with pytest.raises(SourceError, match=r"column 'meta' holds struct<.*>, not text; .* as in meta\.n"):
        texts(tmp_path / "file", kind, columns=("meta",))
    write_nested(tmp_path / "both", kind, values, pa.array(["A", "B", "C", "D", "E"]))
    assert texts(tmp_path / "both", kind, columns=("meta.text",)) == ["A", "B", "C", "D", "E"]


@pytest.mark.parametrize("is_nested", [True, False])
def test_column_of_a_parquet_file_is_announced_before_it_is_read(tmp_path: Path, is_nested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[ByteRange] = []
    monkeypatch.setattr(LocalFile, "expect", lambda _, ranges: told.extend(ranges))
    values = pa.array(["a", "b"])
    nested = pa.StructArray.from_arrays([values, pa.array([1, 2])], names=["text" if is_nested else "body", "n"])
    write_nested(tmp_path / "file", "parquet", nested, None if is_nested else values)
    assert texts(tmp_path / "file", "parquet", columns=("meta.text",)) == ["a", "b"]
    group = pa.parquet.read_metadata(tmp_path / "file").row_group(0)
    (column,) = (of for of in map(group.column, range(group.num_columns)) if of.path_in_schema == "meta.text")
    assert told == [(column.dictionary_page_offset, column.dictionary_page_offset + column.total_compressed_size)]


KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
KINDS += [pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_binary())]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("column", KINDS, ids=str)
def test_text_is_read_from_every_text_column_type(tmp_path: Path, kind: Format, column: pa.DataType) -> None:
    values = pa.array([b"one", None, "zw\u00f6lf and more".encode(), b""])
    if pa.types.is_dictionary(column):
        indices = pa.array([0, None, 1, 2], column.index_type)
        values = pa.DictionaryArray.from_arrays(indices, values.drop_null().cast(column.value_type))
    else:
        values = values.cast(column)
    nested = pa.StructArray.from_arrays([values], names=["text"])
    write_nested(tmp_path / "file", kind, nested, nested.field(0))
    assert texts(tmp_path / "file", kind, columns=("meta.text",)) == ["one", None, "zw\u00f6lf and more", ""]
    write_nested(tmp_path / "nested", kind, nested)
    assert texts(tmp_path / "nested", kind, columns=("meta.text",)) == ["one", None, "zw\u00f6lf and more", ""]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("values", [[], [None, None]])
def test_column_without_a_type_has_no_text(tmp_path: Path, kind: Format, values: list[None]) -> None:
    nested = pa.StructArray.from_arrays([pa.array(values, pa.null())], names=["text"])  # as pandas writes a column without values
    write_nested(tmp_path / "file", kind, nested, nested.field(0))
    assert texts(tmp_path / "file", kind, columns=("meta.text",)) == values
    options = ReadOptions(columns=(), sample_by="document", messages="meta.text")
    read = list(read_rows(Span(file=local_file(tmp_path / "file")), kind, options))
    assert [text for rows in read for text in rows.columns[0].to_pylist()] == values


@pytest.mark.parametrize("writer", ["parquet", "arrow stream", "arrow file"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_truncated_file_is_refused(tmp_path: Path, writer: str, kept: float) -> None:
    kind, write = WRITERS[writer]
    write(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SourceError, match=r"file: .*(damaged|cannot be read)"):
        texts(tmp_path / "file", kind)


def test_missing_file_raises_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone: cannot be read: No such file"):
        texts(tmp_path / "gone", "text")


class _OpenKms(KmsClient):
    """A key service that does not wrap keys."""

    def __init__(self, _config: KmsConnectionConfig) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        del master_key_identifier
        return key_bytes


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("column", ["text", "other"])
def test_parquet_file_with_encrypted_columns_is_refused(tmp_path: Path, is_plain: bool, column: str) -> None:
    table = pa.table({"text": ["a", "b"], "other": ["c", "d"]})
    keys = EncryptionConfiguration(footer_key="key", column_keys={"key": [column]}, plaintext_footer=is_plain)
    encryption = CryptoFactory(_OpenKms).file_encryption_properties(KmsConnectionConfig(), keys)
    with pa.parquet.ParquetWriter(tmp_path / "file", table.schema, encryption_properties=encryption) as writer:
        writer.write_table(table)
    with pytest.raises(SourceError, match=r"file: is an encrypted Parquet file; write it without encryption"):
        texts(tmp_path / "file", "parquet")


@pytest.mark.parametrize("has_index", [True, False])
def test_parquet_files_that_were_joined_are_refused(tmp_path: Path, has_index: bool) -> None:
    parts = []
    for values in (["a", "b"], ["c", "d"]):
        pa.parquet.write_table(pa.table({"text": values}), tmp_path / "part", write_page_index=has_index)
        parts.append((tmp_path / "part").read_bytes())
        assert texts(tmp_path / "part", "parquet") == values
    with pytest.raises(SourceError, match=r"file: is several Parquet files that were joined, .*; keep them apart"):
        texts(write_text(tmp_path / "file", b"".join(parts)), "parquet")


@pytest.mark.parametrize("text", ["PAR1PAR1", "aaaaPAR1PAR1"])
def test_parquet_values_may_contain_the_boundary_of_two_files(tmp_path: Path, text: str) -> None:
    pa.parquet.write_table(pa.table({"text": [text]}), tmp_path / "file", write_page_index=True)
    assert texts(tmp_path / "file", "parquet") == [text]
