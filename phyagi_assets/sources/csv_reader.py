"""Reader of the CSV tables in a file.

pyarrow reads a table in blocks. It refuses a table in which a row and the header differ in their number of columns, and may misread a
table with text after a closing quote, as in ``"He said \\"hi\\" to me"``, or without a closing quote. Only a parse from the beginning of
the table shows whether a value is quoted, so a fast search looks for any quote inside a value. The module `csv` reads such tables.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from phyagi_assets.sources.columns import find_columns
from phyagi_assets.sources.compression import contents, plain_suffix, refuse
from phyagi_assets.sources.csv_records import Batches, batches_of_records, header_of
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.rows import BLOCK, ReadOptions, Rows, consecutive, parts_of
from phyagi_assets.sources.signatures import BOM, why_not_whole

_TOO_SMALL = re.compile("straddl|out of sync|cannot infer number of columns")
"""Pattern of pyarrow's messages about blocks that end in the middle of a row or of the header."""
_LARGEST_BLOCK = (1 << 31) - 1
"""Largest size of a block that pyarrow takes, in bytes."""


class _MisreadError(Exception):
    """pyarrow may misread a table."""


def read_csv(span: Span, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of the CSV tables in a file.

    The file is read again from its beginning, in larger blocks, if a row or the header is longer than a block, and record by record if
    pyarrow cannot read it. Rows that were yielded before are not repeated.
    """
    block, done = BLOCK, -1
    while True:
        before = done
        try:
            for rows in _rows(span.file, options, block):
                new = rows.numbers > before
                problems = {row: problem for row, problem in rows.problems.items() if row > before}
                columns = rows.columns if new.all() else [column.filter(pa.array(new)) for column in rows.columns]
                done = max([done, *rows.numbers[-1:].tolist(), *problems])
                yield replace(rows, columns=columns, numbers=rows.numbers[new], problems=problems)
            return
        except (pa.ArrowInvalid, _MisreadError) as problem:
            if _TOO_SMALL.search(str(problem)) and 0 < block < _LARGEST_BLOCK // 4:
                block *= 4
            elif block and (isinstance(problem, _MisreadError) or "Row #" in str(problem)):
                block = 0
            else:
                raise


def _rows(source: Readable, options: ReadOptions, block: int) -> Iterator[Rows]:
    """Read the tables in a file in blocks of a size, or record by record if it is 0."""
    first = 0
    delimiter = options.delimiter or ("\t" if plain_suffix(source.name) == ".tsv" else ",")
    for start, file in zip(contents(source), contents(source), strict=True):
        if not start.head.removeprefix(BOM).strip():
            continue  # an empty file is a table without rows
        header = header_of(start.content, delimiter)
        place = f"{source}: its member {start.member!r}" if start.member else source
        columns = find_columns(place, pa.schema([(name, pa.binary()) for name in header]), options.columns, nested=False)
        if block:
            batches = _in_blocks(file.content, delimiter, len(header), options.columns, block)
        else:
            batches = batches_of_records(file.content, delimiter, header, options.columns)
        last = -1
        for batch, numbers, problems in batches:
            last = max([*numbers[-1:].tolist(), *problems])
            in_file = {first + row: problem for row, problem in problems.items()}
            yield Rows(columns=[pa.array([], pa.string())] * len(columns), numbers=numbers[:0], problems=in_file, member=file.member)
            yield from parts_of(batch, [column.reader(batch) for column in columns], first + numbers, file.consumed(), file.member)
        first += last + 1


def _in_blocks(content: BinaryIO, delimiter: str, width: int, columns: Sequence[str], block: int) -> Batches:
    """Read some columns of a table with pyarrow, given the number of its columns."""
    end = delimiter.encode().join([_END] * width)
    count = 0
    with pa.csv.open_csv(
        _Table(content, delimiter, b"\n" + end + b"\n"),
        read_options=pa.csv.ReadOptions(block_size=block, use_threads=False),  # with threads, rows have no numbers
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        # Only these columns: pyarrow guesses the types of the others from the first block, and may fail later.
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.binary()), strings_can_be_null=False, include_columns=columns
        ),
    ) as reader:
        for batch in _without_end(reader):
            yield batch, consecutive(count, batch.num_rows), {}
            count += batch.num_rows


_END = "␃␃␃".encode()
"""Value in all columns of a row that is added to each table. A quoted value without its closing quote contains this row. A delimiter is an
ASCII character, so it is not in the value."""


class _Table(io.RawIOBase):
    """A table with a row added to its end, read in blocks that never end between CR and LF.

    pyarrow drops an LF at the beginning of a block after a CR, even inside a quoted value.

    Raises
    ------
    _MisreadError
        While reading: a quote is inside a value.
    UnreadableContentError
        While reading: a part of the table was not written.
    """

    def __init__(self, content: BinaryIO, delimiter: str, end: bytes) -> None:
        self._content, self._end = content, end
        outside = rb'[^"\r\n' + re.escape(delimiter.encode()) + rb"]"
        self._inside_a_value = re.compile(rb'"(?<=' + outside + rb'")' + outside)
        self._before = self._pending = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = self._content.read(size if size < 0 else size - len(self._pending))
        refuse(why_not_whole(content))
        if self._inside_a_value.search(content) or self._inside_a_value.search(self._before + content[:2]):
            raise _MisreadError
        self._before = (self._before + content[-2:])[-2:]
        block = self._pending + content
        left = len(self._end) if size < 0 else size - len(block)  # nothing, unless the content has ended
        added, self._end = self._end[:left], self._end[left:]
        block = block + added if added else block
        self._pending = b"\r" if len(block) > 1 and block.endswith(b"\r") else b""
        return block[:-1] if self._pending else block


def _without_end(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a table without the row that was added to its end.

    Raises
    ------
    _MisreadError
        The row is missing. pyarrow reads a quoted value without its closing quote to the end of the file, with all rows in it.
    """
    last = None
    for batch in batches:
        if batch.num_rows:
            if last is not None:
                yield last
            last = batch
    if last is None or last.column(0)[-1].as_py() != _END:
        raise _MisreadError
    if last.num_rows > 1:
        yield last.slice(0, last.num_rows - 1)
