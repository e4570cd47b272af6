"""Rows of one file as Arrow text, as every reader yields them, and the part of a declaration that readers need."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BLOCK = 1 << 20
"""Number of bytes to read at once; a row that is longer is read whole."""
MOST_ROWS = 1 << 16
"""Largest number of rows that the readers cut from a block at once."""


@dataclass(frozen=True, slots=True)
class RowProblem:
    """The reason why a row has no text."""

    found: str
    """The problem, as the rest of a sentence that begins with the name of the row, such as ``is not an object``."""
    is_of_encoding: bool = False
    """Whether the row is not UTF-8: then the whole file has to be converted, and correcting the row is not enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Consecutive rows of one file."""

    columns: list[pa.Array]
    """Text columns (string), null where a row has no text."""
    numbers: npt.NDArray[np.int64]
    """0-based number of each row in the file, 1-D: of its line in a JSON Lines file, of its record in other formats."""
    consumed: int = 0
    """Bytes of the file that were read for these rows."""
    problems: dict[int, RowProblem] = field(default_factory=dict)
    """Problem by number of the row. It covers null rows if the reason is known, and rows that are missing from `columns` because they
    cannot be read."""
    lines: int = 0
    """Number of lines that were read for these rows, in a file of lines."""
    member: str = ""
    """Name of the member of a zip archive that the rows are from; empty if the file is not an archive."""


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


ReadPart = Callable[[slice, npt.NDArray[np.int64], dict[int, RowProblem]], pa.Array]
"""Function that returns the text of some rows of a batch, null where a row has none, and adds the problems of these rows.

It is given the slice of the batch that selects the rows, their 0-based numbers in the file, and the problems by number of the row."""


def parts_of(
    batch: pa.RecordBatch, columns: Sequence[ReadPart], numbers: npt.NDArray[np.int64], consumed: int, member: str = ""
) -> Iterator[Rows]:
    """Cut a batch into rows of about `BLOCK` bytes: the writer of the file determines the size of its batches."""
    step = min(MOST_ROWS, max(1, batch.num_rows * BLOCK // max(batch.get_total_buffer_size(), 1)))
    for start in range(0, batch.num_rows, step):
        part = slice(start, start + step)
        problems: dict[int, RowProblem] = {}
        texts = [read(part, numbers[part], problems) for read in columns]
        yield Rows(columns=texts, numbers=numbers[part], consumed=consumed if start == 0 else 0, problems=problems, member=member)


def line_feeds(block: bytes) -> int:
    """Return the number of line feeds in a block, in a third of the time of `bytes.count`, which also holds the interpreter's lock."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))


def consecutive(first: int, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of consecutive rows."""
    return np.arange(first, first + count, dtype=np.int64)
