"""Read CSV tables record by record with the module `csv`, which is slower than pyarrow, but reports what is wrong with a record."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.formatting import counted
from phyagi_assets.sources.compression import UnreadableContentError, refuse
from phyagi_assets.sources.rows import BLOCK, MOST_ROWS, RowProblem
from phyagi_assets.sources.signatures import CONVERT, why_not_whole

_LONGEST = (1 << 31) - 1
"""Largest number of characters in a value; the module `csv` applies it to the whole process."""
_WITHOUT_END = "has no closing quote, so it extends to the end of the file; close it"
_PAST_ITS_END = "goes on after its closing quote; write a quote inside a quoted value as two quotes"

Batches = Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], dict[int, RowProblem]]]
"""Batches of a table: columns as bytes that need not be UTF-8, the number of each row in the table, from 0, and the problems of rows with
another number of columns than the header, which are left out, by number of the row."""


def header_of(content: BinaryIO, delimiter: str) -> list[str]:
    """Return the names of the columns of a table.

    Raises
    ------
    UnreadableContentError
        The header is not UTF-8, or a quoted value in it has no end.
    """
    try:
        return [name.encode("latin1").decode() for name in next(_records(content, delimiter))]
    except UnicodeDecodeError as problem:
        raise UnreadableContentError(f"its header is not UTF-8: byte 0x{problem.object[problem.start]:02x}; {CONVERT}") from None


def batches_of_records(content: BinaryIO, delimiter: str, header: Sequence[str], columns: Sequence[str]) -> Batches:
    """Read some columns of a table, each of which is in the header once.

    Raises
    ------
    UnreadableContentError
        A quoted value has no closing quote, or text follows its closing quote, or a part of the table was not written.
    """
    rows = enumerate(islice(_records(content, delimiter), 1, None))
    places = [header.index(name) for name in columns]
    while True:
        numbers: list[int] = []
        values: list[list[bytes]] = [[] for _ in columns]
        problems: dict[int, RowProblem] = {}
        size = 0
        for number, record in rows:
            if len(record) != len(header):
                problems[number] = RowProblem(f"has {counted(len(record), 'column')}, where the header has {len(header)}")
            else:
                numbers.append(number)
                for column, place in zip(values, places, strict=True):
                    column.append(record[place].encode("latin1"))
                    size += len(record[place])
            if size >= BLOCK or len(numbers) + len(problems) >= MOST_ROWS:
                break
        if not numbers and not problems:
            return
        arrays = [pa.array(column, pa.binary()) for column in values]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns)), np.array(numbers, np.int64), problems


def _records(content: BinaryIO, delimiter: str) -> Iterator[list[str]]:
    """Yield the header and the rows of a table, without blank lines. In Latin-1, every byte is a character."""
    csv.field_size_limit(_LONGEST)
    text = io.TextIOWrapper(content, encoding="latin1", newline="")
    row = 0
    try:
        for record in filter(None, csv.reader(map(_checked, text), delimiter=delimiter, strict=True)):
            yield record
            row += 1
    except csv.Error as problem:
        fault = _PAST_ITS_END if "expected after" in str(problem) else _WITHOUT_END
        raise UnreadableContentError(f"a quoted value in {f'row {row:,}' if row else 'the header'} {fault}") from None
    finally:
        text.detach()  # it would close the content


def _checked(line: str) -> str:
    refuse(why_not_whole(line.encode("latin1")))
    return line
