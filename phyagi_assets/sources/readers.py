"""Readers of the rows of one file as Arrow text, one reader per format.

Each reader streams: it yields :class:`Rows` of a few megabytes, and holds no more than that or the longest row in memory. Each row has
its number in the file, whatever is wrong with the rows before it. A row without text is null, or is missing from the rows, and the reason
is in their problems; :mod:`~phyagi_assets.sources.documents` decides what to do about it.

Files are read with pyarrow and not through ``datasets``, whose text reader turns CRLF into LF, and whose readers report neither the file
nor the row that a document came from. Files are not mapped into memory, because a process dies if another one truncates a file that it
has mapped.
"""

import errno
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from phyagi_assets.declare.schema import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.columns import TextColumn, find_columns
from phyagi_assets.sources.compression import Opened, UnreadableContentError, contents, is_compressed, plain_name
from phyagi_assets.sources.conversations import ConversationColumn, find_conversations, parse_conversations
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.jsonlines import parse_lines
from phyagi_assets.sources.readable import ByteRange, Readable
from phyagi_assets.sources.signatures import BOM, described

BLOCK = 1 << 20
"""Number of bytes to read at once; a row that is longer is read whole."""
LONGEST = (1 << 31) - (1 << 21)
"""Longest row that is read, in bytes: Arrow's offsets in a text column have 31 bits."""
MOST_ROWS = 1 << 16
"""Largest number of rows that the readers cut from a block at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Consecutive rows of one file."""

    columns: list[pa.Array]
    """Text columns (string), null where a row has no text."""
    numbers: npt.NDArray[np.int64]
    """0-based number of each row in the file, 1-D: of its line in a JSON Lines file, of its record in other formats."""
    consumed: int
    """Bytes of the file that were read for these rows."""
    problems: dict[int, str] = field(default_factory=dict)
    """Problem by number of the row. It covers null rows if the reason is known, and rows that are missing from `columns` because they
    cannot be read."""
    lines: int = 0
    """Number of lines that were read for these rows, in a file of lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """The part of a declaration that the readers need."""

    columns: tuple[str, ...]
    """Names of the columns that hold the text."""
    sample_by: str
    """Unit that is one document in text files: ``document``, ``paragraph`` or ``line``."""
    delimiter: str | None = None
    """Character between the columns of CSV files; None means a tab in ``.tsv`` files and a comma in others."""
    messages: str | None = None
    """Name of the column that holds conversations; None if documents are text."""

    def find(self, source: Readable, schema: pa.Schema) -> "Sequence[TextColumn] | Sequence[ConversationColumn]":
        """Find the declared columns in a table."""
        return find_columns(source, schema, self.columns) if self.messages is None else [find_conversations(source, schema, self.messages)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A part of a file that has been read, and may not be parsed yet. Any thread may parse it."""

    size: int
    """Size of the content in memory, in bytes."""
    rows: Callable[[], Iterable[Rows]]
    """Returns the rows of the part; raises the same errors as `read_rows`."""


def read_rows(span: Span, kind: Format, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of a file or of a span of it.

    Parameters
    ----------
    span
        The span. Only files of lines and Parquet files can be read in part.
    options
        Columns and other options of the declaration.

    Raises
    ------
    SourceError
        The file cannot be read or does not have its format, or a column is missing or does not hold text.
    """
    for block in read_blocks(span, kind, options):
        yield from block.rows()


def read_blocks(span: Span, kind: Format, options: ReadOptions) -> Iterator[Block]:
    """Stream a file or a span of it in blocks; parsing JSON is left to the caller, because it takes longer than reading.

    The parameters and errors are those of `read_rows`.
    """
    source = span.file
    if kind in ("parquet", "arrow") and is_compressed(source.name):
        message = f"is a compressed {kind} file; these are compressed inside, and read as they are: decompress it"
        raise SourceError(f"{source}: {message}")
    if options.messages is not None and kind in ("text", "csv"):
        raise SourceError(
            f"{source}: is {_A[kind]} file, which holds no messages; use JSON Lines, Parquet or Arrow, or name columns of text"
        )
    with _named_errors(source, kind):
        if kind == "json":
            yield from _json_blocks(span, options)
        else:
            for rows in _READERS[kind](span, options):
                yield Block(size=sum(column.nbytes for column in rows.columns), rows=partial(_just, rows))


def _just(rows: Rows) -> tuple[Rows]:
    return (rows,)


@contextmanager
def _named_errors(source: Readable, kind: Format) -> Iterator[None]:
    """Turn the errors of reading and parsing into errors that name the file."""
    try:
        yield
    except UnreadableContentError as problem:
        raise SourceError(f"{source}: {problem}") from None
    except MemoryError as problem:
        raise SourceError(_out_of_memory(source, str(problem))) from None
    except OSError as problem:
        if problem.errno == errno.ENOMEM:
            raise SourceError(_out_of_memory(source, problem.strerror or "")) from None
        raise SourceError(f"{source}: cannot be read: {problem.strerror or problem}") from None
    except pa.ArrowCapacityError:
        raise SourceError(f"{source}: has a row of more than 2 GB; divide it") from None
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as problem:
        raise SourceError(f"{source}: is not {_A[kind]} file, or a damaged one: {_of_one_line(problem)}") from None


def _out_of_memory(source: Readable, problem: str) -> str:
    found = f" ({_of_one_line(problem)})" if problem else ""
    return f"{source}: cannot be read: it needs more memory than this process may use{found}; raise the limit, or check for damage"


def _of_one_line(problem: object) -> str:
    return " ".join(str(problem).split())[:300]


def _blocks(file: Opened, left: int = sys.maxsize) -> Iterator[bytes]:
    """Yield blocks of whole lines until about `left` bytes are read."""
    while block := file.content.read(max(0, min(BLOCK, left))):
        if not block.endswith(b"\n"):
            block += file.content.readline(LONGEST)
            if len(block) > LONGEST:
                raise UnreadableContentError("has a line of more than 2 GB; divide it")
        left -= len(block)
        yield block


def _bytes_left(span: Span, file: Opened) -> int:
    """Return the number of bytes in a span without a byte order mark; the largest int if the span has no end."""
    return sys.maxsize if span.stop is None else span.stop - span.start - len(BOM) * file.head.startswith(BOM)


def _text(span: Span, options: ReadOptions) -> Iterator[Rows]:
    source = span.file
    if options.columns != ("text",):
        raise SourceError(f"{source}: a text file has one column, 'text'; columns says {', '.join(options.columns)}")
    number = span.first  # only text files in which each line is a row are cut into spans
    for file in contents(source, span.start):
        if options.sample_by == "document":
            parts = iter([_whole(source, file)])
        elif options.sample_by == "line":
            parts = _lines(source, file, span)
        else:
            parts = _paragraphs(source, file)
        for texts in parts:
            yield Rows(columns=[texts], numbers=_numbers(number, len(texts)), consumed=file.consumed(), lines=len(texts))
            number += len(texts)


def _whole(source: Readable, file: Opened) -> pa.Array:
    """Read the whole content as one document, without copying the bytes into Arrow."""
    content = file.content.read(LONGEST)
    if len(content) == LONGEST and file.content.read(1):
        raise UnreadableContentError("is a document of more than 2 GB; divide it, or say what a document is with source.sample_by")
    text = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(content)], np.int32)), pa.py_buffer(content))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        _decoded(source, content, 0)
        raise
    return text


def _lines(source: Readable, file: Opened, span: Span) -> Iterator[pa.Array]:
    before = span.first
    for block in _blocks(file, _bytes_left(span, file)):
        lines = _decoded(source, block, before).removesuffix("\n").split("\n")
        before += len(lines)
        for start in range(0, len(lines), MOST_ROWS):
            yield pa.array([line.removesuffix("\r") for line in lines[start : start + MOST_ROWS]], pa.string())


def _paragraphs(source: Readable, file: Opened) -> Iterator[pa.Array]:
    before, carried = 0, [""]
    for block in _blocks(file):
        text = _decoded(source, block, before)
        before += block.count(b"\n")
        if not text.strip(" \t\r\n"):  # a block of nothing but blank lines separates paragraphs too
            if last := _trimmed("".join(carried)):
                yield pa.array([last], pa.string())
            carried = [""]
            continue
        if len(carried) > 1 and not _BLANK_LINES.search(f"\n{text}"):  # the paragraph continues in the next block
            carried.append(text)
            continue
        *texts, last = _BLANK_LINES.split("".join([*carried, text]))
        carried = [last, ""]
        yield pa.array(filter(None, map(_trimmed, texts)), pa.string())
    if last := _trimmed("".join(carried)):
        yield pa.array([last], pa.string())


_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")
_BLANK_ENDS = re.compile(r"\A(?:[ \t\r]*\n)*[ \t\r]*\Z|\A(?:[ \t\r]*\n)+|\n[ \t\r]*\Z")


def _trimmed(paragraph: str) -> str:
    """Return a paragraph without the blank lines that remain at its ends if a block began or ended between paragraphs."""
    return _BLANK_ENDS.sub("", paragraph).rstrip("\r")


def _decoded(source: Readable, content: bytes, lines_before: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        line = lines_before + content.count(b"\n", 0, problem.start) + 1
        found = content[problem.start : problem.start + 1].hex()
        raise SourceError(
            f"{source}:{line}: is not UTF-8: byte 0x{found} ({problem.reason}); convert the file, as with iconv -t UTF-8"
        ) from None


def _json_blocks(span: Span, options: ReadOptions) -> Iterator[Block]:
    first = span.first
    for file in contents(span.file, span.start):
        for block in _blocks(file, _bytes_left(span, file)):
            lines = block.count(b"\n") + (not block.endswith(b"\n"))
            yield Block(size=len(block), rows=partial(_json, span.file, block, options, first, lines, file.consumed()))
            first += lines


def _json(source: Readable, block: bytes, options: ReadOptions, first: int, lines: int, consumed: int) -> Iterator[Rows]:
    """Parse a block of whole lines, given the number of its first line, of its lines, and of the bytes that were read for it."""
    with _named_errors(source, "json"):
        if options.messages is None:
            blocks = parse_lines(str(source), block, options.columns, first)
        else:
            blocks = parse_conversations(str(source), block, options.messages, first)
        for parsed in blocks:
            yield Rows(columns=parsed.columns, numbers=parsed.numbers, consumed=consumed, problems=parsed.problems, lines=lines)
            consumed = lines = 0


def _csv(span: Span, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of the CSV tables in a file.

    The file is read again from its beginning, in larger blocks, if a row is longer than a block. It is also read again, more slowly, to
    identify rows with another number of columns than the header. Rows that were yielded before are not repeated.
    """
    block, done, tells_broken = BLOCK, -1, False
    while True:
        before = done
        try:
            for rows in _csv_in_blocks(span.file, options, block, tells_broken=tells_broken):
                new = rows.numbers > before
                problems = {row: problem for row, problem in rows.problems.items() if row > before}
                columns = rows.columns if new.all() else [column.filter(pa.array(new)) for column in rows.columns]
                done = max([done, *rows.numbers[-1:].tolist(), *problems])
                yield Rows(columns=columns, numbers=rows.numbers[new], consumed=rows.consumed, problems=problems)
            return
        except pa.ArrowInvalid as problem:
            if "straddl" in str(problem) and block < 1 << 29:  # pyarrow's limit is 2 GB
                block *= 4
            elif "Row #" in str(problem) and not tells_broken:
                tells_broken = True
            else:
                raise


def _csv_in_blocks(source: Readable, options: ReadOptions, block: int, *, tells_broken: bool) -> Iterator[Rows]:
    first = 0
    for header, file in zip(contents(source), contents(source), strict=True):
        if not header.head.strip():
            continue  # an empty file is a table without rows
        columns = find_columns(source, _csv_schema(source, header, options, block), options.columns, nested=False)
        broken: dict[int, str] = {}
        told: set[int] = set()

        def note(row: pa.csv.InvalidRow, broken: dict[int, str] = broken, first: int = first) -> str:
            # pyarrow's number is 1-based and counts the header.
            broken[first + row.number - 2] = f"has {row.actual_columns} columns, where the header has {row.expected_columns}"
            return "skip"

        # Read only these columns: pyarrow guesses the types of the others from the first block, and may fail later.
        count = 0
        with _csv_reader(source, file, options, block, options.columns, note if tells_broken else None) as reader:
            for batch in map(_as_written, reader) if tells_broken else reader:
                numbers = _around(np.array(sorted(broken), np.int64) - first, count, batch.num_rows) + first
                count += batch.num_rows
                yield _without_rows(columns, {row: broken[row] for row in sorted(broken.keys() - told) if row <= numbers[-1:]})
                told |= {row for row in broken if row <= numbers[-1:]}
                yield from _parts(batch, columns, numbers, file.consumed())
        yield _without_rows(columns, {row: broken[row] for row in sorted(broken.keys() - told)})
        first += count + len(broken)


def _without_rows(columns: Sequence[TextColumn], problems: dict[int, str]) -> Rows:
    return Rows(columns=[pa.array([], pa.string())] * len(columns), numbers=np.empty(0, np.int64), consumed=0, problems=problems)


def _csv_reader(
    source: Readable,
    file: Opened,
    options: ReadOptions,
    block: int,
    include: Sequence[str],
    on_invalid: Callable[[pa.csv.InvalidRow], str] | None,
) -> pa.csv.CSVStreamingReader:
    # pyarrow passes invalid rows as text, whatever their bytes are. In Latin-1, every byte is a character.
    encoding = "latin1" if on_invalid else "utf8"
    names = [name.encode().decode(encoding) for name in include]
    return pa.csv.open_csv(
        file.content,
        read_options=pa.csv.ReadOptions(block_size=block, use_threads=False, encoding=encoding),  # with threads, rows have no numbers
        parse_options=pa.csv.ParseOptions(
            delimiter=options.delimiter or _delimiter_of(source.name), newlines_in_values=True, invalid_row_handler=on_invalid
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False, include_columns=names
        ),
    )


def _csv_schema(source: Readable, file: Opened, options: ReadOptions, block: int) -> pa.Schema:
    """Return the schema of a table: the columns in its header, the declared ones as binary."""
    with _csv_reader(source, file, options, block, (), lambda _row: "skip") as table:
        fields = [pa.field(name.encode("latin1").decode(), kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)]
    declared = {name: pa.field(name, pa.binary()) for name in options.columns}
    return pa.schema([declared.get(field.name, field) for field in fields])


def _as_written(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch that was read as Latin-1 with the original bytes of the file."""
    columns = [
        pa.array([None if value is None else value.decode().encode("latin1") for value in column.to_pylist()], pa.binary())
        for column in batch.columns
    ]
    names = [name.encode("latin1").decode() for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(columns, names=names)


def _delimiter_of(name: str) -> str:
    return "\t" if plain_name(name).lower().endswith(".tsv") else ","


def _around(missing: npt.NDArray[np.int64], first: int, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of consecutive rows in a table from which some rows are missing.

    Parameters
    ----------
    missing
        Numbers of the missing rows, sorted, 1-D.
    first
        Index of the first row among the rows that are not missing.
    count
        Number of rows.
    """
    places = np.arange(first, first + count, dtype=np.int64)
    return places + np.searchsorted(missing - np.arange(len(missing)), places, side="right")


def _parquet(span: Span, options: ReadOptions) -> Iterator[Rows]:
    source = span.file
    _require_start(source, b"PAR1", "a Parquet file")
    with source.open_native() as content, pa.parquet.ParquetFile(content, buffer_size=BLOCK, page_checksum_verification=True) as file:
        columns = options.find(source, file.schema_arrow)
        metadata = file.metadata
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        rows = max(1, min(8192, BLOCK * metadata.num_rows // max(size, 1)))
        groups = list(range(metadata.num_row_groups)[span.start : span.stop])
        nested = any(len(column.path) > 1 for column in columns)  # pyarrow cannot join nested dictionaries of several groups
        of_a_row = source.size / max(metadata.num_rows, 1)
        first = span.first
        source.expect(_ranges_of_columns(metadata, groups, {name.partition(".")[0] for name in _in_parquet(columns)}))
        for some in [[group] for group in groups] if nested else [groups]:
            for batch in file.iter_batches(batch_size=rows, row_groups=some, columns=_in_parquet(columns)):
                yield from _parts(batch, columns, _numbers(first, batch.num_rows), int(of_a_row * batch.num_rows))
                first += batch.num_rows


def _ranges_of_columns(metadata: pa.parquet.FileMetaData, groups: Sequence[int], names: Collection[str]) -> list[ByteRange]:
    """Return the places of columns in some row groups of a Parquet file, given their names at the top of the schema."""
    ranges = []
    for group in map(metadata.row_group, groups):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in names:
                dictionary = column.dictionary_page_offset if column.has_dictionary_page else None
                start = min(column.data_page_offset, dictionary or column.data_page_offset)
                ranges.append((start, start + column.total_compressed_size))
    return ranges


def _in_parquet(columns: Sequence[TextColumn] | Sequence[ConversationColumn]) -> list[str]:
    """Return the names of the columns to read from a Parquet file: with dots for nested text, whole for conversations."""
    return [name for column in columns for name in ([column.dotted] if isinstance(column, TextColumn) else column.tables_columns)]


def _arrow(span: Span, options: ReadOptions) -> Iterator[Rows]:
    source, first = span.file, span.first
    with source.open_native() as file:
        is_stream = file.read(6) != b"ARROW1"
        before = 0
        for batch in _record_batches(source, file, options, is_stream=is_stream):
            now = file.tell()
            yield from _parts(
                batch,
                options.find(source, batch.schema),
                _numbers(first, batch.num_rows),
                max(0, now - before) if is_stream else batch.get_total_buffer_size(),
            )
            first, before = first + batch.num_rows, now


def _record_batches(source: Readable, file: pa.NativeFile, declared: ReadOptions, *, is_stream: bool) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of an Arrow file or stream, with only the columns that hold the documents."""
    file.seek(0)
    schema = (pa.ipc.open_stream(file) if is_stream else pa.ipc.open_file(file)).schema
    found = declared.find(source, schema)
    wanted = {name for column in found for name in ([column.path[0]] if isinstance(column, TextColumn) else column.tables_columns)}
    file.seek(0)
    options = pa.ipc.IpcReadOptions(included_fields=[i for i, name in enumerate(schema.names) if name in wanted], use_threads=False)
    if is_stream:
        yield from pa.ipc.open_stream(file, options=options)
        _require_end(file)
    else:
        opened = pa.ipc.open_file(file, options=options)
        yield from map(opened.get_batch, range(opened.num_record_batches))


def _require_end(file: pa.NativeFile) -> None:
    """Refuse a stream that is not complete: damage can look like its end, and its writer may have been stopped."""
    end = file.tell()
    if end != file.size():
        raise UnreadableContentError(f"is a damaged Arrow stream: {file.size() - end:,} bytes follow its end at byte {end:,}")
    file.seek(max(0, end - 8))
    if not file.read(8).endswith(bytes(4)):
        raise UnreadableContentError("is an Arrow stream without its end marker: it was not written whole; write it again")


def _require_start(source: Readable, start: bytes, kind: str) -> None:
    head = source.head()
    if head and not head.startswith(start):
        raise UnreadableContentError(f"is not {kind}: it {described(head)}; name its format in source.format, or give it its own suffix")


def _parts(
    batch: pa.RecordBatch, columns: Sequence[TextColumn] | Sequence[ConversationColumn], numbers: npt.NDArray[np.int64], consumed: int
) -> Iterator[Rows]:
    """Cut a batch into rows of about `BLOCK` bytes: the writer of the file determines the size of its batches."""
    found = [column.located(batch) for column in columns]
    step = min(MOST_ROWS, max(1, batch.num_rows * BLOCK // max(batch.get_total_buffer_size(), 1)))
    for start in range(0, batch.num_rows, step):
        part = slice(start, start + step)
        problems: dict[int, str] = {}
        texts = [text.read(part, numbers[part], problems) for text in found]
        yield Rows(columns=texts, numbers=numbers[part], consumed=consumed if start == 0 else 0, problems=problems)


def _numbers(first: int, count: int) -> npt.NDArray[np.int64]:
    return np.arange(first, first + count, dtype=np.int64)


_A: dict[Format, str] = {"text": "a text", "json": "a JSON Lines", "csv": "a CSV", "parquet": "a Parquet", "arrow": "an Arrow"}

_READERS: dict[Format, Callable[[Span, ReadOptions], Iterator[Rows]]] = {
    "text": _text,
    "csv": _csv,
    "parquet": _parquet,
    "arrow": _arrow,
}
