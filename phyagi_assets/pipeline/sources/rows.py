"""The rows of one file, format by format, as Arrow text.

Each reader streams: it yields :class:`Rows` of a few megabytes and holds no more than that. Rows that have no text keep their place
as nulls with the reason beside them, so that the number of a row is its place in the file whatever was wrong before it; what to do
about them is decided in :mod:`~phyagi_assets.pipeline.sources.documents`.

Files are read with pyarrow and not through ``datasets``, whose text reader turns CRLF into LF, and whose readers tell neither the
file nor the row that a document came from.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from phyagi_assets.config import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.columns import require_text, valid_text
from phyagi_assets.pipeline.sources.files import LocalFile, Span
from phyagi_assets.pipeline.sources.jsonlines import parse_block
from phyagi_assets.pipeline.sources.opening import Opened, is_compressed, opened

BLOCK = 1 << 20
"""Bytes of a file that are read at once; a row that is longer is read whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Consecutive rows of one file."""

    columns: list[pa.Array]
    """The text columns (string), null where a row has no text."""
    first: int
    """0-based number of the first row: the line of a JSON Lines file, the record of the others."""
    consumed: int
    """Bytes of the file that these rows stand for."""
    problems: dict[int, str] = field(default_factory=dict)
    """What is wrong with a row, by its number, where more is known than that it is null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """What of the declaration the readers need."""

    columns: tuple[str, ...]
    sample_by: str


def read_rows(span: Span, kind: Format, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of a file, or of a span of it.

    Raises
    ------
    SourceError
        The file cannot be read, is not of its format, has no such column, or the column is no text.
    """
    source = span.file
    if kind in ("parquet", "arrow") and is_compressed(source.path):
        raise SourceError(f"{source}: is a compressed {kind} file; these are compressed inside, and read as they are: decompress it")
    try:
        yield from _READERS[kind](span, options)
    except OSError as problem:
        raise SourceError(f"{source}: cannot be read: {problem.strerror or problem}") from None
    except pa.ArrowException as problem:
        raise SourceError(f"{source}: is no {kind} file, or a damaged one: {problem}") from None


def _blocks(file: Opened, span: Span) -> Iterator[bytes]:
    """The lines of a span, whole ones, some at a time."""
    left = sys.maxsize if span.stop is None else span.stop - span.start
    while block := file.content.read(max(0, min(BLOCK, left))):
        if not block.endswith(b"\n"):
            block += file.content.readline()
        left -= len(block)
        yield block


def _text(span: Span, options: ReadOptions) -> Iterator[Rows]:
    source = span.file
    if options.columns != ("text",):
        raise SourceError(f"{source}: a text file has one column, 'text'; columns says {', '.join(options.columns)}")
    if options.sample_by == "document":
        with opened(source.path) as file:
            content = file.content.read()
        yield Rows(columns=[_strings([_decoded(source, content, 0)])], first=0, consumed=source.size)
        return
    first = lines = span.first  # a span is cut of lines alone, where each is a row
    carried = ""
    with opened(source.path, span.start) as file:
        for block in _blocks(file, span):
            text = carried + _decoded(source, block, lines)
            lines += block.count(b"\n")
            if options.sample_by == "line":
                texts, carried = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")], ""
            else:
                *texts, carried = _BLANK_LINES.split(text)
                texts = list(filter(None, map(_trimmed, texts)))
            yield Rows(columns=[_strings(texts)], first=first, consumed=file.consumed())
            first += len(texts)
    if last := _trimmed(carried):
        yield Rows(columns=[_strings([last])], first=first, consumed=0)


_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")
_BLANK_ENDS = re.compile(r"\A(?:[ \t\r]*\n)*[ \t\r]*\Z|\A(?:[ \t\r]*\n)+|\n[ \t\r]*\Z")


def _trimmed(paragraph: str) -> str:
    """Without the blank lines that may be left at its ends where a block began or ended between paragraphs."""
    return _BLANK_ENDS.sub("", paragraph).rstrip("\r")


def _decoded(source: LocalFile, content: bytes, lines_before: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        line = lines_before + content.count(b"\n", 0, problem.start) + 1
        found = content[problem.start : problem.start + 1].hex()
        raise SourceError(
            f"{source}:{line}: is not UTF-8: byte 0x{found} ({problem.reason}); convert the file, as with iconv -t UTF-8"
        ) from None


def _json(span: Span, options: ReadOptions) -> Iterator[Rows]:
    first = span.first
    with opened(span.file.path, span.start) as file:
        for block in _blocks(file, span):
            parsed = parse_block(str(span.file), block, options.columns, first)
            yield Rows(columns=parsed.columns, first=first, consumed=file.consumed(), problems=parsed.problems)
            first += parsed.lines


def _csv(span: Span, options: ReadOptions) -> Iterator[Rows]:
    block, done = BLOCK, 0
    while True:
        try:
            for rows in _csv_in_blocks(span.file, options, block):
                new = max(0, done - rows.first)
                columns = [column[new:] for column in rows.columns]
                if len(columns[0]):
                    yield replace(rows, columns=columns, first=rows.first + new)
                    done = rows.first + new + len(columns[0])
            return
        except pa.ArrowInvalid as problem:
            if "straddl" not in str(problem) or block > 1 << 29:  # pyarrow counts to 2 GB
                raise
            block *= 4  # a row is longer than a block


def _csv_in_blocks(source: LocalFile, options: ReadOptions, block: int) -> Iterator[Rows]:
    def reader_of(content: BinaryIO, include: tuple[str, ...]) -> pa.csv.CSVStreamingReader:
        return pa.csv.open_csv(
            content,
            read_options=pa.csv.ReadOptions(block_size=block),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(options.columns, pa.string()), strings_can_be_null=False, include_columns=include
            ),
        )

    with opened(source.path) as file, reader_of(file.content, ()) as header:
        require_text(source, header.schema, options.columns)
    # These columns alone: the type of another one is guessed from the first block, and may not hold.
    with opened(source.path) as file, reader_of(file.content, options.columns) as reader:
        yield from _batches(source, reader.schema, reader, options, source.size)


def _parquet(span: Span, options: ReadOptions) -> Iterator[Rows]:
    source = span.file
    with pa.parquet.ParquetFile(source.path) as file:
        require_text(source, file.schema_arrow, options.columns)
        metadata = file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        rows = max(1, min(8192, BLOCK * metadata.num_rows // max(size, 1)))
        groups = range(metadata.num_row_groups)[span.start : span.stop]
        batches = file.iter_batches(batch_size=rows, row_groups=list(groups), columns=list(options.columns))
        of_a_row = source.size // max(metadata.num_rows, 1)
        yield from _batches(source, file.schema_arrow, batches, options, of_a_row, per_row=True, first=span.first)


def _arrow(span: Span, options: ReadOptions) -> Iterator[Rows]:
    source = span.file
    with pa.memory_map(str(source.path)) as mapped:
        if mapped.read(6) == b"ARROW1":
            file = pa.ipc.open_file(mapped)
            yield from _batches(source, file.schema, map(file.get_batch, range(file.num_record_batches)), options, source.size)
        else:
            mapped.seek(0)
            stream = pa.ipc.open_stream(mapped)
            yield from _batches(source, stream.schema, stream, options, source.size)


def _batches(
    source: LocalFile,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    options: ReadOptions,
    size: int,
    *,
    per_row: bool = False,
    first: int = 0,
) -> Iterator[Rows]:
    require_text(source, schema, options.columns)
    left = size
    for batch in batches:
        problems: dict[int, str] = {}
        columns = [valid_text(batch.column(name).cast(pa.string()), name, first, problems) for name in options.columns]
        consumed = size * batch.num_rows if per_row else min(left, batch.nbytes)
        left -= consumed
        yield Rows(columns=columns, first=first, consumed=consumed, problems=problems)
        first += batch.num_rows


def _strings(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.string())


_READERS: dict[Format, Callable[[Span, ReadOptions], Iterator[Rows]]] = {
    "text": _text,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "arrow": _arrow,
}
