"""Reader of the CSV tables in a file."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from phyagi_assets.formatting import counted
from phyagi_assets.sources.columns import TextColumn, find_columns
from phyagi_assets.sources.compression import Opened, UnreadableContentError, contents, plain_suffix
from phyagi_assets.sources.csv_quotes import QuotesChecked
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.rows import BLOCK, ReadOptions, RowProblem, Rows, consecutive, parts_of
from phyagi_assets.sources.signatures import BOM, CONVERT

_TOO_SMALL = re.compile("straddl|out of sync|cannot infer number of columns")
"""Pattern of pyarrow's messages about blocks that end in the middle of a row or of the header."""
_LARGEST_BLOCK = (1 << 31) - 1
"""Largest size of a block that pyarrow takes, in bytes."""


def read_csv(span: Span, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of the CSV tables in a file.

    The file is read again from its beginning, in larger blocks, if a row or the header is longer than a block. It is also read again, more
    slowly, to identify rows with another number of columns than the header. Rows that were yielded before are not repeated.
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
                yield replace(rows, columns=columns, numbers=rows.numbers[new], problems=problems)
            return
        except pa.ArrowInvalid as problem:
            if _TOO_SMALL.search(str(problem)) and block < _LARGEST_BLOCK // 4:
                block *= 4
            elif "Row #" in str(problem) and not tells_broken:
                tells_broken = True
            else:
                raise


def _csv_in_blocks(source: Readable, options: ReadOptions, block: int, *, tells_broken: bool) -> Iterator[Rows]:
    first = 0
    delimiter = options.delimiter or ("\t" if plain_suffix(source.name) == ".tsv" else ",")
    for number, (header, file) in enumerate(zip(contents(source), contents(source), strict=True)):
        if not header.head.removeprefix(BOM).strip():
            continue  # an empty file is a table without rows
        schema = _csv_schema(header, options.columns, delimiter, block)
        place = f"{source}: its member {header.member!r}" if header.member else source
        columns = find_columns(place, schema, options.columns, nested=False)
        table = QuotesChecked(file.content, delimiter, partial(_opened, source, number))
        end = delimiter.encode().join([_END] * len(schema))
        ended = _Ended(table, b"\n" + end + b"\n")
        broken: dict[int, RowProblem] = {}
        told: set[int] = set()

        def note(row: pa.csv.InvalidRow, broken: dict[int, RowProblem] = broken, first: int = first) -> str:
            # pyarrow's number is 1-based and counts the header.
            problem = f"has {counted(row.actual_columns, 'column')}, where the header has {row.expected_columns}"
            broken[first + row.number - 2] = RowProblem(problem)
            return "skip"

        # Read only these columns: pyarrow guesses the types of the others from the first block, and may fail later.
        count = 0
        with _csv_reader(ended, delimiter, block, options.columns, note if tells_broken else None) as reader:
            for batch in _closed(map(_as_written, reader) if tells_broken else reader, broken):
                numbers = _around(np.array(sorted(broken), np.int64) - first, count, batch.num_rows) + first
                count += batch.num_rows
                yield _without_rows(columns, {row: broken[row] for row in sorted(broken.keys() - told) if row <= numbers[-1:]}, file.member)
                told |= {row for row in broken if row <= numbers[-1:]}
                yield from parts_of(batch, [column.located(batch) for column in columns], numbers, file.consumed(), file.member)
        yield _without_rows(columns, {row: broken[row] for row in sorted(broken.keys() - told)}, file.member)
        first += count + len(broken)


@contextmanager
def _opened(source: Readable, number: int) -> Iterator[Opened]:
    """Open one of the tables in a file."""
    with closing(contents(source)) as tables:
        yield next(islice(tables, number, None))


_END = "␃␃␃".encode()
"""Value in all columns of a row that is added to each table. A quoted value without its closing quote contains this row. A delimiter is an
ASCII character, so it is not in the value."""


class _Ended(io.RawIOBase):
    """A table with something added to its end, of which no block ends between CR and LF.

    At the beginning of a block, pyarrow takes LF after CR for the rest of a line end, even inside a quoted value, which would lose it.
    """

    def __init__(self, content: BinaryIO | QuotesChecked, end: bytes) -> None:
        self._content, self._end = content, end
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        block = self._held + self._content.read(size if size < 0 else size - len(self._held))
        left = len(self._end) if size < 0 else size - len(block)  # nothing, unless the content has ended
        added, self._end = self._end[:left], self._end[left:]
        block = block + added if added else block
        self._held = b"\r" if len(block) > 1 and block.endswith(b"\r") else b""
        return block[:-1] if self._held else block


class _Transcoded(io.RawIOBase):
    """A table from Latin-1 to UTF-8, in the same blocks."""

    def __init__(self, content: io.RawIOBase) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        block = self._content.read(size if size < 0 else size // 2) or b""  # a character of Latin-1 has at most two bytes in UTF-8
        return block.decode("latin1").encode()


def _closed(batches: Iterable[pa.RecordBatch], broken: Sized) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a table without the row that was added to its end.

    Raises
    ------
    UnreadableContentError
        The row is not there. pyarrow reads a quoted value without its closing quote to the end of the file, with all rows in it.
    """
    count, last = 0, None
    for batch in batches:
        if batch.num_rows:
            count += batch.num_rows
            if last is not None:
                yield last
            last = batch
    if last is None or last.column(0)[-1].as_py() != _END:
        message = "has no closing quote, so that it goes on to the end of the file; correct it"
        raise UnreadableContentError(f"a quoted value in row {count + len(broken):,} {message}")
    if last.num_rows > 1:
        yield last.slice(0, last.num_rows - 1)


def _without_rows(columns: Sequence[TextColumn], problems: dict[int, RowProblem], member: str) -> Rows:
    texts = [pa.array([], pa.string())] * len(columns)
    return Rows(columns=texts, numbers=np.empty(0, np.int64), problems=problems, member=member)


def _csv_reader(
    table: io.RawIOBase, delimiter: str, block: int, include: Sequence[str], on_invalid: Callable[[pa.csv.InvalidRow], str] | None
) -> pa.csv.CSVStreamingReader:
    # pyarrow passes invalid rows as text, whatever their bytes are. In Latin-1, every byte is a character.
    encoding = "latin1" if on_invalid else "utf8"
    if on_invalid:  # pyarrow would transcode the table in blocks of its own
        table, block = _Transcoded(table), min(2 * block, _LARGEST_BLOCK)
    names = [name.encode().decode(encoding) for name in include]
    return pa.csv.open_csv(
        table,
        read_options=pa.csv.ReadOptions(block_size=block, use_threads=False),  # with threads, rows have no numbers
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=on_invalid),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False, include_columns=names
        ),
    )


def _csv_schema(file: Opened, columns: Sequence[str], delimiter: str, block: int) -> pa.Schema:
    """Return the schema of a table: the columns in its header, the declared ones as binary."""
    ended = _Ended(file.content, b"\n")  # pyarrow refuses a header without the end of its line
    with _csv_reader(ended, delimiter, block, (), lambda _row: "skip") as table:
        try:
            names = [name.encode("latin1").decode() for name in table.schema.names]
        except UnicodeDecodeError as problem:
            raise UnreadableContentError(f"its header is not UTF-8: byte 0x{problem.object[problem.start]:02x}; {CONVERT}") from None
        fields = [pa.field(name, kind) for name, kind in zip(names, table.schema.types, strict=True)]
    declared = {name: pa.field(name, pa.binary()) for name in columns}
    return pa.schema([declared.get(field.name, field) for field in fields])


def _as_written(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch that was read as Latin-1 with the original bytes of the file."""
    columns = [
        pa.array([None if value is None else value.decode().encode("latin1") for value in column.to_pylist()], pa.binary())
        for column in batch.columns
    ]
    names = [name.encode("latin1").decode() for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(columns, names=names)


def _around(missing: npt.NDArray[np.int64], first: int, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of consecutive rows in a table from which some rows are missing.

    Parameters
    ----------
    missing
        Numbers of the missing rows, sorted, 1-D.
    first
        Index of the first row among the rows that are not missing.
    """
    places = consecutive(first, count)
    return places + np.searchsorted(missing - np.arange(len(missing)), places, side="right")
