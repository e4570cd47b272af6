"""Read damaged variants of source files, many in one process.

A variant is right if the documents are what another reader of the format finds in the damaged bytes, or if it is an error that names the
file.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError, SourceError
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import readable
from tests.robustness.variants import damaged, texts
from tests.support import declare_corpus, list_partitions

Oracle = Callable[[bytes], list[str | None]]
"""Independent implementation that returns the texts of a file; None for a row without text."""

TEXTS = list(texts())


@dataclass(frozen=True, kw_only=True)
class Original:
    """A file in one of the formats, with an independent reader."""

    name: str
    content: bytes
    oracle: Oracle
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the declaration."""


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def unzstd(content: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as file:
        return file.read()


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    lines = content.splitlines(keepends=True)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in (("a", lines[:50]), ("b", lines[50:])):
            archive.writestr(name, b"".join(part))
    return packed.getvalue()


def unzipped(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return b"\n".join(archive.read(member).removesuffix(b"\n") for member in archive.infolist() if not member.is_dir())


COMPRESSIONS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (bytes, bytes),
    ".gz": (lambda content: gzip.compress(content, mtime=0), gzip.decompress),
    ".zst": (zstd, unzstd),
    ".xz": (lzma.compress, lzma.decompress),
    ".bz2": (bz2.compress, bz2.decompress),
    ".zip": (zipped, unzipped),
}


def json_texts(name: str) -> Oracle:
    def read(content: bytes) -> list[str | None]:
        found: list[str | None] = []
        for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            if line.strip():
                try:
                    row = json.loads(line.decode())
                    value = row[name] if name in row and row[name] is not None else row["meta"]["text"]
                    value.encode()
                    found.append(value)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    found.append(None)
        return found

    return read


def csv_texts(delimiter: str) -> Oracle:
    def read(content: bytes) -> list[str | None]:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
        at = rows[0].index("text") if rows else 0
        return [row[at] if len(row) == len(rows[0]) and row[at].isprintable() | _is_text(row[at]) else None for row in rows[1:]]

    return read


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def text_parts(sample_by: str) -> Oracle:
    def read(content: bytes) -> list[str | None]:
        text = content.decode().removeprefix("\ufeff")
        if sample_by == "document":
            return [text]
        lines = text.split("\n")
        if sample_by == "line":
            return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
        parts = re.split(r"\n(?:[ \t\r]*\n)+", f"\n\n{text}\n\n")
        return [part.rstrip("\r") for part in parts if part.strip(" \t\r\n")]

    return read


def table_texts(column: pa.ChunkedArray) -> list[str | None]:
    return [_text(value) for chunk in column.chunks for value in _bytes(chunk)]


def _bytes(chunk: pa.Array) -> list[bytes | None]:
    chunk.validate()
    if pa.types.is_struct(chunk.type):
        inside = _bytes(chunk.field("text"))
        return [value if valid else None for value, valid in zip(inside, chunk.is_valid().to_pylist(), strict=True)]
    if pa.types.is_dictionary(chunk.type):
        chunk.indices.validate(full=True)
        values = _bytes(chunk.dictionary)
        return [None if index is None else values[index] for index in chunk.indices.to_pylist()]
    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    chunk = chunk.view(as_bytes.get(chunk.type, chunk.type))
    chunk.validate(full=True)
    return list(chunk.to_pylist())


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def parquet_texts(content: bytes) -> list[str | None]:
    return table_texts(
        pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(columns=["text", "meta.text"]).column(0)
    )


def arrow_texts(content: bytes) -> list[str | None]:
    first = pa.ipc.IpcReadOptions(included_fields=[0])
    opened = pa.ipc.open_file(content, options=first) if content.startswith(b"ARROW1") else pa.ipc.open_stream(content, options=first)
    return table_texts(opened.read_all().select([0]).column(0))


KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())]


def columns() -> Iterator[tuple[str, pa.Array]]:
    """Yield the texts in columns of every supported type, and in a list column, which is an error."""
    values = pa.array([*TEXTS[:60], None, *TEXTS[60:]])
    for kind in KINDS:
        yield "text", values.dictionary_encode() if pa.types.is_dictionary(kind) else values.cast(kind)
    yield "meta.text", pa.StructArray.from_arrays([values, pa.array(range(len(values)))], names=["text", "n"])
    yield "meta.text", pa.StructArray.from_arrays([values.dictionary_encode()], names=["text"])
    yield "text", pa.array([[text] for text in TEXTS])


def originals() -> list[Original]:
    """Return files in every format, with every compression and every type of column."""
    made: list[Original] = []
    lines = "".join(
        json.dumps({"id": i, "text": text, "more": [1, {"a": None}]}, ensure_ascii=bool(i % 2)) + "\n" for i, text in enumerate(TEXTS)
    )
    nested = "".join(json.dumps({"meta": {"text": text}}) + "\n" for text in TEXTS)
    for suffix, (pack, unpack) in COMPRESSIONS.items():
        for name, content, column in (("a", lines, "text"), ("nested", nested, "meta.text")):
            oracle = json_texts(column)
            made.append(
                Original(
                    name=f"{name}.jsonl{suffix}",
                    content=pack(content.encode()),
                    oracle=lambda content, oracle=oracle, unpack=unpack: oracle(unpack(content)),  # type: ignore[misc]
                    keys={"columns": [column]},
                )
            )
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t"), (".csv.gz", ",")):
        table = io.StringIO(newline="")
        writer = csv.writer(table, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL)
        writer.writerows([["id", "text"], *([i, text] for i, text in enumerate(TEXTS))])
        pack, unpack = COMPRESSIONS[".gz" if suffix.endswith(".gz") else ""]
        oracle = csv_texts(delimiter)
        made.append(
            Original(
                name=f"a{suffix}",
                content=pack(table.getvalue().encode()),
                oracle=lambda content, oracle=oracle, unpack=unpack: oracle(unpack(content)),  # type: ignore[misc]
            )
        )
    for sample_by in ("document", "line", "paragraph"):
        for suffix in ("", ".gz", ".bz2"):
            pack, unpack = COMPRESSIONS[suffix]
            oracle = text_parts(sample_by)
            made.append(
                Original(
                    name=f"{sample_by}.txt{suffix}",
                    content=pack("\n\n".join(TEXTS).encode()),
                    oracle=lambda content, oracle=oracle, unpack=unpack: oracle(unpack(content)),  # type: ignore[misc]
                    keys={"source": {"sample_by": sample_by}},
                )
            )
    for name, column in columns():
        for options in PARQUET:
            content = io.BytesIO()
            try:
                pq.write_table(pa.table({name.partition(".")[0]: column, "n": range(len(column))}), content, row_group_size=50, **options)
            except (pa.ArrowException, OSError):  # not every encoding takes every type
                continue
            made.append(Original(name="a.parquet", content=content.getvalue(), oracle=parquet_texts, keys={"columns": [name]}))
        for is_file in (True, False):
            for codec in (None, "lz4", "zstd"):
                sink = pa.BufferOutputStream()
                table = pa.table({name.partition(".")[0]: column, "n": range(len(column))})
                open_writer = pa.ipc.new_file if is_file else pa.ipc.new_stream
                with open_writer(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as written:
                    written.write_table(table, max_chunksize=50)
                content_bytes = sink.getvalue().to_pybytes()
                made.append(Original(name="a.arrow", content=content_bytes, oracle=arrow_texts, keys={"columns": [name]}))
    return made


PARQUET: list[dict[str, Any]] = [
    {},
    {"compression": "none", "use_dictionary": False},
    {"compression": "zstd", "data_page_version": "2.0", "use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"},
    {"compression": "gzip", "use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
    {"compression": "none", "write_page_checksum": True},
    {"compression": "lz4", "data_page_size": 500, "store_schema": False},
]


def saved(folder: Path) -> dict[str, bytes]:
    """Yield the files of a folder written by ``datasets.save_to_disk``."""
    from datasets import Dataset

    Dataset.from_dict({"text": TEXTS}).save_to_disk(str(folder / "saved"))
    return {path.name: path.read_bytes() for path in sorted((folder / "saved").iterdir())}


class Sources:
    """Damages source files and reads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._originals = originals()
        self._saved = saved(folder / "original")

    def __call__(self, number: int) -> tuple[str, str]:
        """Read one variant; return its description and its outcome."""
        draw = random.Random(number)
        data = self._folder / "data"
        if number % 20 == 0:
            return self._read_saved(data, draw)
        original = self._originals[number % len(self._originals)]
        damage, content = damaged(original.content, draw)
        (data / "raw").mkdir(parents=True, exist_ok=True)
        path = data / "raw" / original.name
        path.write_bytes(content)
        skips = draw.random() < 0.75
        corpus = declare_corpus(data, "c", f"raw/{original.name}", on_invalid="skip" if skips else "error", **original.keys)
        what = f"{original.name} ({', '.join(original.keys.get('columns', []))}): {damage}"
        try:
            return what, self._outcome(corpus, data, path, lambda: original.oracle(content), skips=skips)
        finally:
            path.unlink()

    def _read_saved(self, data: Path, draw: random.Random) -> tuple[str, str]:
        name = draw.choice([name for name in self._saved for _ in range(1 + 3 * name.endswith(".arrow"))])
        damage, content = damaged(self._saved[name], draw)
        (data / "saved").mkdir(parents=True, exist_ok=True)
        for other, whole in self._saved.items():
            (data / "saved" / other).write_bytes(content if other == name else whole)
        corpus = declare_corpus(data, "c", "saved")
        oracle = (lambda: arrow_texts(content)) if name.endswith(".arrow") else (lambda: list(TEXTS))
        return f"saved/{name}: {damage}", self._outcome(corpus, data, data / "saved", oracle, skips=False)

    def _outcome(self, corpus: Corpus, data: Path, path: Path, oracle: Callable[[], list[str | None]], *, skips: bool) -> str:
        try:
            (partition,) = list_partitions(corpus, data).values()
            read = [text for batch in read_documents(corpus, readable(partition)) for text in batch.texts.to_pylist()]
        except (SourceError, DeclarationError) as problem:
            return "error" if str(path) in str(problem) else f"unnamed: {problem}"
        if read == TEXTS:
            return "right: whole"
        try:
            expected = oracle()
        except Exception as problem:
            return f"wrong: read {len(read)} documents of a file that is {problem!r}"
        if None in expected and not skips:
            return f"wrong: {expected.count(None)} rows without text were read"
        if read != [text for text in expected if text is not None]:
            return f"wrong: {len(read)} documents are not the {len(expected)} that are there"
        return "right: as its bytes say"
