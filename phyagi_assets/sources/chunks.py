"""The pieces of a partition: spans of its files, of some 128 MB together, that are read, encoded and kept on their own.

A large file of lines is cut at the ends of lines, a large Parquet file between row groups. Files of other formats are read in one go,
and so are compressed ones, which have no place to begin at but the beginning. Small files are put together. Where a partition is cut
depends on nothing but its files, so that it is built to the same bytes by however many processes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.compression import head_of, is_compressed
from phyagi_assets.sources.files import LocalFile, SourceFile, Span, format_of
from phyagi_assets.sources.signatures import compression_of, why_not_text

PIECE = 128 << 20
"""Bytes of source that a piece has, or somewhat more: what a process takes as long for as for its start. It is no part of what an
artifact is called after: its rows are the same, however they are cut."""
MOST = 256
"""Pieces of a partition, or somewhat more: each has a file of rows, and who opens the folder with ``datasets`` opens them all."""
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
    wanted = _wanted(sizes)
    piece: list[Span] = []
    held = 0
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        for span in _spans(corpus, Span(file=file, index=index), size, wanted):
            piece.append(span)
            held += size
            if held >= wanted:
                yield tuple(piece)
                piece, held = [], 0
    if piece:
        yield tuple(piece)


def piece_name(piece: Piece) -> str:
    """Return what messages call a piece: its first file, the row that it begins with unless that is the first, and its last file."""
    first, last = piece[0], piece[-1]
    begins = f"{first.file} from row {first.first + 1:,} on" if first.first else str(first.file)
    return f"{begins} to {last.file}" if len(piece) > 1 else begins


def most_pieces(corpus: Corpus, files: Sequence[SourceFile]) -> int:
    """How many pieces files can be cut into, one at least; they may turn out to be fewer."""
    wanted = _wanted(file.size for file in files)
    cut = [file.size >= 2 * wanted and _way_to_cut(corpus, file.name) is not None for file in files]
    spans = sum(file.size // wanted for file, is_cut in zip(files, cut, strict=True) if is_cut)
    whole = [file.size for file, is_cut in zip(files, cut, strict=True) if not is_cut]
    return max(1, spans + min(len(whole), -(-sum(whole) // wanted)))


def _wanted(sizes: Iterable[int]) -> int:
    return max(PIECE, sum(sizes) // MOST)


def _size(file: LocalFile) -> int:
    try:
        return file.size
    except OSError:  # it is not there, which its reader tells
        return 0


def _way_to_cut(corpus: Corpus, name: str) -> Callable[[Span, int, int], Iterator[Span]] | None:
    kind = format_of(corpus, name)
    if is_compressed(PurePosixPath(name)):
        return None
    if kind == "json" or (kind == "text" and corpus.config.source.sample_by == "line"):
        return _spans_of_lines
    return _spans_of_row_groups if kind == "parquet" else None


def _spans(corpus: Corpus, whole: Span, size: int, wanted: int) -> Iterator[Span]:
    """The file, or spans of it, as even as its rows allow, if it is large enough for more than one."""
    count = size // wanted
    cut = _way_to_cut(corpus, whole.file.name) if count > 1 else None
    if cut and _is_as_named(whole.file):
        yield from cut(whole, size, count)
    else:
        yield whole


def _is_as_named(file: LocalFile) -> bool:
    """Whether the content of a file is not something else than its name says, such as compressed; its reader deals with that."""
    try:
        head = head_of(file.path)
    except OSError:
        return True
    return head.startswith(b"PAR1") or (compression_of(head) is None and why_not_text(head) is None)


def _spans_of_lines(whole: Span, size: int, count: int) -> Iterator[Span]:
    """Spans that begin with the first line at or after each multiple of their size."""
    step = -(-size // count)
    try:
        with whole.file.path.open("rb") as file:
            span, stop = whole, 0
            for earliest in range(step, size, step):
                if earliest <= stop:  # inside of a long line, whose end is known
                    continue
                file.seek(earliest - 1)
                file.readline()
                stop = file.tell()
                if stop >= size:
                    break
                yield replace(span, stop=stop)
                file.seek(span.start)
                span = replace(span, start=stop, first=span.first + _count_lines(file, stop - span.start))
            yield span
    except OSError as problem:
        raise SourceError(f"{whole.file}: cannot be read: {problem.strerror or problem}") from None


def _count_lines(content: BinaryIO, size: int) -> int:
    lines = 0
    while block := content.read(max(0, min(_BLOCK, size))):
        lines += int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))  # half the time of bytes.count
        size -= len(block)
    return lines


def _spans_of_row_groups(whole: Span, _size: int, count: int) -> Iterator[Span]:
    """Spans of as few row groups as have their share of the rows."""
    try:
        with pa.parquet.ParquetFile(whole.file.path) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (OSError, pa.ArrowException):  # it is damaged, which its reader tells
        yield whole
        return
    span, held = whole, 0
    for group, of_group in enumerate(rows):
        if held and held * count >= sum(rows):
            yield replace(span, stop=group)
            span, held = replace(span, start=group, first=span.first + held), 0
        held += of_group
    yield span
