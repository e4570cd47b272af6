"""Quoted values of CSV tables that go on after their closing quote, as in ``"He said \\"hi\\" to me"``.

pyarrow reads such a value as another text. Whether a value is quoted is known only from the beginning of the table, so a fast search in its
bytes looks for quotes inside a value, and only a table that has one is read by the module `csv`.
"""

import csv
import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO

from phyagi_assets.sources.compression import Opened, UnreadableContentError, refuse
from phyagi_assets.sources.signatures import why_not_whole

Reopen = Callable[[], AbstractContextManager[Opened]]
"""Function that opens the table at its beginning."""
_LONGEST = (1 << 31) - 1
"""Largest number of characters in a value, beyond which the module `csv` raises an error; it is that of the whole process."""


class QuotesChecked(io.RawIOBase):
    """A table whose content is checked as it is read.

    Raises
    ------
    UnreadableContentError
        While reading: a quoted value goes on after its closing quote, or a part of the table was not written.
    """

    def __init__(self, content: BinaryIO, delimiter: str, reopen: Reopen) -> None:
        self._content, self._delimiter, self._reopen = content, delimiter, reopen
        outside = rb'[^"\r\n' + re.escape(delimiter.encode()) + rb"]"
        self._inside_a_value = re.compile(rb'"(?<=' + outside + rb'")' + outside)
        self._before = b""
        self._is_checked = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        block = self._content.read(size)
        refuse(why_not_whole(block))
        if not self._is_checked:
            self._check(block)
        return block

    def _check(self, block: bytes) -> None:
        seam = self._before + block[:2]
        self._before = (self._before + block)[-2:] if len(block) < 2 else block[-2:]
        if self._inside_a_value.search(block) or self._inside_a_value.search(seam):
            self._is_checked = True
            with self._reopen() as opened:
                if row := _first_broken_row(opened.content, self._delimiter):
                    raise UnreadableContentError(
                        f"a quoted value in row {row:,} goes on after its closing quote; write a quote inside a quoted value as two quotes"
                    )


def _first_broken_row(content: BinaryIO, delimiter: str) -> int | None:
    """Return the 1-based number of the first row with such a value, where the header is row 0; None if there is none."""
    csv.field_size_limit(_LONGEST)
    row = 0
    with io.TextIOWrapper(content, encoding="latin1", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        while True:
            try:
                row += bool(next(rows))
            except StopIteration:
                return None
            except csv.Error as problem:
                return row if "expected after" in str(problem) else None
