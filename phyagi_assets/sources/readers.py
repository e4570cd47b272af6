"""Read the rows of one file as Arrow text. Files of lines are read here; tables have their own readers.

Each reader streams: it yields :class:`Rows` of a few megabytes, and holds no more than that or the longest row in memory. Each row has
its number in the file, regardless of errors in the rows before it. A row without text is null, or is missing from the rows, and the reason
is in their problems; :mod:`~phyagi_assets.sources.documents` decides what to do about it.

Files are read with pyarrow and not through ``datasets``, whose text reader turns CRLF into LF, and whose readers report neither the file
nor the row that a document came from. Files are not mapped into memory, because a process dies if another one truncates a file that it
has mapped.
"""

import errno
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from phyagi_assets.declare.corpus_schema import Format
from phyagi_assets.errors import SourceError
from phyagi_assets.formatting import one_line
from phyagi_assets.sources.compression import Opened, UnreadableContentError, contents, is_compressed, refuse
from phyagi_assets.sources.conversations import parse_conversations
from phyagi_assets.sources.csv_reader import read_csv
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.jsonlines import parse_lines
from phyagi_assets.sources.local_file import error_of_file
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.rows import BLOCK, MOST_ROWS, ReadOptions, Rows, consecutive, line_feeds
from phyagi_assets.sources.signatures import BOM, CONVERT, why_not_whole
from phyagi_assets.sources.table_readers import read_arrow, read_parquet

LONGEST = (1 << 31) - (1 << 21)
"""Longest row that is read, in bytes: Arrow's offsets in a text column have 31 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A part of a file that has been read, and may not be parsed yet. Any thread may parse it."""

    size: int
    """Size of the content in memory, in bytes."""
    rows: Callable[[], Iterable[Rows]]
    """Returns the rows of the part; raises the same errors as `read_blocks`."""


def read_blocks(span: Span, kind: Format, options: ReadOptions) -> Iterator[Block]:
    """Stream a file or a span of it in blocks; parsing JSON is left to the caller, because it takes longer than reading.

    Raises
    ------
    SourceError
        The file cannot be read or does not have its format, or a column is missing or does not hold text.
    """
    source = span.file
    if kind in ("parquet", "arrow") and is_compressed(source.name):
        message = f"is a compressed {kind} file; these are compressed inside, and read as they are: decompress it"
        raise SourceError(f"{source}: {message}")
    if options.messages is not None and kind in ("text", "csv"):
        raise SourceError(
            f"{source}: is {_NOUNS[kind]} file, which holds no messages; use JSON Lines, Parquet or Arrow, or name columns of text"
        )
    with _named_errors(source, kind):
        if kind == "json":
            yield from _json_blocks(span, options)
        else:
            for rows in _READERS[kind](span, options):
                yield Block(size=sum(column.nbytes for column in rows.columns), rows=partial(iter, (rows,)))


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
        raise error_of_file(problem, f"{source}: cannot be read: {one_line(problem.strerror or str(problem), 300)}") from None
    except pa.ArrowCapacityError:
        raise SourceError(f"{source}: has a row of more than 2 GB; divide it") from None
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as problem:
        raise SourceError(f"{source}: is not {_NOUNS[kind]} file, or a damaged one: {one_line(problem, 300)}") from None


def _out_of_memory(source: Readable, problem: str) -> str:
    found = f" ({one_line(problem, 300)})" if problem else ""
    return f"{source}: cannot be read: it needs more memory than this process may use{found}; raise the limit, or check for damage"


def _blocks(file: Opened, left: int = sys.maxsize) -> Iterator[bytes]:
    """Yield blocks of whole lines until about `left` bytes are read."""
    while block := file.content.read(max(0, min(BLOCK, left))):
        if not block.endswith(b"\n"):
            block += file.content.readline(LONGEST)
            if len(block) > LONGEST:
                raise UnreadableContentError("has a line of more than 2 GB; divide it")
        refuse(why_not_whole(block))
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
            yield Rows(
                columns=[texts], numbers=consecutive(number, len(texts)), consumed=file.consumed(), lines=len(texts), member=file.member
            )
            number += len(texts)


def _texts(source: Readable, file: Opened, before: int = 0, left: int = sys.maxsize) -> Iterator[str]:
    """Yield blocks of whole lines as text until about `left` bytes are read, given the number of lines before them in the file."""
    for block in _blocks(file, left):
        if before == 0:
            _refuse_cr_ends(block)
        yield _decoded(source, block, before, file.member)
        before += line_feeds(block)


def _whole(source: Readable, file: Opened) -> pa.Array:
    """Read the whole content as one document, without copying the bytes into Arrow."""
    content = file.content.read(LONGEST)
    refuse(why_not_whole(content))
    if len(content) == LONGEST and file.content.read(1):
        raise UnreadableContentError("is a document of more than 2 GB; divide it, or say what a document is with source.sample_by")
    text = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(content)], np.int32)), pa.py_buffer(content))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        _decoded(source, content, 0, file.member)
        raise
    return text


def _lines(source: Readable, file: Opened, span: Span) -> Iterator[pa.Array]:
    for text in _texts(source, file, span.first, _bytes_left(span, file)):
        lines = text.removesuffix("\n").split("\n")
        for start in range(0, len(lines), MOST_ROWS):
            yield pa.array([line.removesuffix("\r") for line in lines[start : start + MOST_ROWS]], pa.string())


def _paragraphs(source: Readable, file: Opened) -> Iterator[pa.Array]:
    carried = [""]
    for text in _texts(source, file):
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


def _refuse_cr_ends(block: bytes) -> None:
    """Refuse a file of lines that end in CR, given its first block: the file would be read as one line."""
    if b"\n" not in block and block.rstrip(b"\r").count(b"\r") > 1:
        raise UnreadableContentError(
            "has lines that end in a carriage return (CR) alone, and here a line ends in a line feed (LF); convert the file, as with "
            "tr '\\r' '\\n'"
        )


def _decoded(source: Readable, content: bytes, lines_before: int, member: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        line = lines_before + content.count(b"\n", 0, problem.start) + 1
        found = content[problem.start : problem.start + 1].hex()
        place = f"{source}: its member {member!r}, line {line}:" if member else f"{source}:{line}:"
        raise SourceError(f"{place} is not UTF-8: byte 0x{found} ({problem.reason}); {CONVERT}") from None


def _json_blocks(span: Span, options: ReadOptions) -> Iterator[Block]:
    first = span.first
    for file in contents(span.file, span.start):
        for block in _blocks(file, _bytes_left(span, file)):
            lines = line_feeds(block) + (not block.endswith(b"\n"))
            rows = partial(_json, span.file, block, options, first, lines, consumed=file.consumed(), member=file.member)
            yield Block(size=len(block), rows=rows)
            first += lines


def _json(source: Readable, block: bytes, options: ReadOptions, first: int, lines: int, *, consumed: int, member: str) -> Iterator[Rows]:
    """Parse a block of whole lines, given the 0-based number of the first one."""
    with _named_errors(source, "json"):
        if options.messages is None:
            parsed = parse_lines(str(source), block, options.columns, first)
        else:
            parsed = parse_conversations(str(source), block, options.messages, first)
        for rows in parsed:
            yield replace(rows, consumed=consumed, lines=lines, member=member)
            consumed = lines = 0


_NOUNS: dict[Format, str] = {"text": "a text", "json": "a JSON Lines", "csv": "a CSV", "parquet": "a Parquet", "arrow": "an Arrow"}
"""Beginnings of nouns for files of each format, for messages."""

_READERS: dict[Format, Callable[[Span, ReadOptions], Iterator[Rows]]] = {
    "text": _text,
    "csv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
}
