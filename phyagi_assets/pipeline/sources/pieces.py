"""The pieces of a partition: spans of its files, of some 128 MB together, that are read, encoded and kept on their own.

A large file of lines is cut at the ends of lines, a large Parquet file between row groups. Other formats have no place where reading
may begin without what comes before, nor have compressed files; each is read in one go. Small files are put together. Where a
partition is cut depends on nothing but its files, so that it is built to the same bytes by however many processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import LocalFile, Span, format_of
from phyagi_assets.pipeline.sources.opening import is_compressed, opened

PIECE = 128 << 20
"""Bytes of source that a piece has at least, but for the last one: what a process takes as long for as for its start."""
MOST = 256
"""Pieces of a partition, at most, or nearly so: each has a file of rows, and who opens the folder with ``datasets`` opens them all."""
_BLOCK = 1 << 20

Piece = tuple[Span, ...]


def pieces(corpus: Corpus, files: Sequence[LocalFile]) -> Iterator[Piece]:
    """Cut a partition's files up, in their order.

    Of a large file of lines, those that come before a piece are counted, so that it knows the numbers of its rows.

    Raises
    ------
    SourceError
        A file cannot be read while its lines are counted. Whatever else is wrong with one, its reader tells.
    """
    sizes = list(map(_size, files))
    wanted = max(PIECE, sum(sizes) // MOST)
    piece: list[Span] = []
    held = 0
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        for span in _spans(corpus, file, index, size, wanted):
            piece.append(span)
            held += size
            if held >= wanted:
                yield tuple(piece)
                piece, held = [], 0
    if piece:
        yield tuple(piece)


def _size(file: LocalFile) -> int:
    try:
        return file.size
    except OSError:  # it is not there, which its reader tells
        return 0


def _spans(corpus: Corpus, file: LocalFile, index: int, size: int, wanted: int) -> Iterator[Span]:
    """The file, or spans of it if it is larger than a piece."""
    kind = format_of(corpus, file.name)
    whole = Span(file=file, index=index)
    if size <= wanted or is_compressed(file.path):
        yield whole
    elif kind == "json" or (kind == "text" and corpus.config.source.sample_by == "line"):
        yield from _spans_of_lines(whole, size, wanted)
    elif kind == "parquet":
        yield from _spans_of_row_groups(whole, size, wanted)
    else:
        yield whole


def _spans_of_lines(whole: Span, size: int, wanted: int) -> Iterator[Span]:
    """Spans that begin with the first line at or after each multiple of a piece's size."""
    try:
        with opened(whole.file.path) as file:
            span = whole
            for earliest in range(wanted, size, wanted):
                file.content.seek(earliest - 1)
                file.content.readline()
                stop = file.content.tell()
                if span.start < stop < size:
                    yield replace(span, stop=stop)
                    file.content.seek(span.start)
                    span = replace(span, start=stop, first=span.first + _count_lines(file.content, stop - span.start))
            yield span
    except OSError as problem:
        raise SourceError(f"{whole.file}: cannot be read: {problem.strerror or problem}") from None


def _count_lines(content: BinaryIO, size: int) -> int:
    lines = 0
    while block := content.read(max(0, min(_BLOCK, size))):
        lines += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))  # half the time of bytes.count
        size -= len(block)
    return lines


def _spans_of_row_groups(whole: Span, size: int, wanted: int) -> Iterator[Span]:
    """Spans of as few row groups as have a piece's share of the rows."""
    try:
        with pa.parquet.ParquetFile(whole.file.path) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (OSError, pa.ArrowException):  # it is damaged, which its reader tells
        yield whole
        return
    span, held = whole, 0
    for group, count in enumerate(rows):
        if held * size >= wanted * sum(rows) and held:
            yield replace(span, stop=group)
            span, held = replace(span, start=group, first=span.first + held), 0
        held += count
    yield span
