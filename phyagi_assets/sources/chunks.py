"""The chunks of a partition: spans of its files, about 128 MB in total, that one task reads and encodes.

A large file of lines is cut at the ends of lines, and a large Parquet file between row groups. Files of other formats are not cut, nor are
compressed files, which can be read only from the beginning. Small files are combined. The cuts depend only on the files of the partition,
so that any number of processes builds the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.sources.compression import is_compressed
from phyagi_assets.sources.files import SourceFile, Span, format_of
from phyagi_assets.sources.local_file import error_of_file
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.rows import line_feeds
from phyagi_assets.sources.signatures import compression_of, why_not_text

CHUNK_BYTES = 128 << 20
"""Approximate smallest size of a chunk, in bytes of source; the last one may be smaller. A process takes about as long to encode it as to
start. The size does not enter fingerprints, because the rows are the same however they are cut."""
MAX_CHUNKS = 256
"""Approximate largest number of chunks per partition: each has a file of rows, and ``datasets`` opens all of them with the folder."""
_BLOCK = 1 << 20
_FIRST_READ = 1 << 14
"""Size of the first read in a search for the end of a line, in bytes; each further read is twice as large."""

Spans = tuple[Span, ...]
"""The spans of one chunk, in the order of the partition's files."""


def cut_into_chunks(corpus: Corpus, files: Sequence[Readable], chunk_bytes: int | None = None) -> Iterator[Spans]:
    """Cut the files of a partition into chunks, in order.

    In a large file of lines, the lines before each chunk are counted, so that the chunk knows the numbers of its rows.

    Parameters
    ----------
    chunk_bytes
        Approximate smallest size of a chunk, in bytes of source; by default, `CHUNK_BYTES`.

    Raises
    ------
    SourceError
        A file cannot be read while its lines are counted. The reader of a file reports all other problems.
    """
    sizes = list(map(_size, files))
    target = _target_size(sizes, chunk_bytes)
    chunk: list[Span] = []
    total = 0
    for index, (file, size) in enumerate(zip(files, sizes, strict=True)):
        for span in _spans(corpus, Span(file=file, index=index), size, target):
            chunk.append(span)
            total += size
            if total >= target:
                yield tuple(chunk)
                chunk, total = [], 0
    if chunk:
        yield tuple(chunk)


def chunk_name(chunk: Spans) -> str:
    """Return the name of a chunk for messages: its first file, the row at which it begins (unless that is the first), and its last file."""
    first, last = chunk[0], chunk[-1]
    begins = f"{first.file} from row {first.first + 1:,} on" if first.first else str(first.file)
    return f"{begins} to {last.file}" if len(chunk) > 1 else begins


def most_chunks(corpus: Corpus, files: Sequence[SourceFile], chunk_bytes: int | None = None) -> int:
    """Return an upper bound, at least 1, on the number of chunks that files are cut into."""
    target = _target_size((file.size for file in files), chunk_bytes)
    cut = [file.size >= 2 * target and _cutter_of(corpus, file.name) is not None for file in files]
    spans = sum(file.size // target for file, is_cut in zip(files, cut, strict=True) if is_cut)
    whole = [file.size for file, is_cut in zip(files, cut, strict=True) if not is_cut]
    return max(1, spans + min(len(whole), -(-sum(whole) // target)))


def _target_size(sizes: Iterable[int], chunk_bytes: int | None) -> int:
    return max(CHUNK_BYTES if chunk_bytes is None else chunk_bytes, sum(sizes) // MAX_CHUNKS)


def _size(file: Readable) -> int:
    try:
        return file.size
    except OSError:  # the file is missing, which its reader reports
        return 0


def _cutter_of(corpus: Corpus, name: str) -> Callable[[Span, int, int], Iterator[Span]] | None:
    kind = format_of(corpus, name)
    if is_compressed(name):
        return None
    if kind == "json" or (kind == "text" and corpus.config.source.sample_by == "line"):
        return _spans_of_lines
    return _spans_of_row_groups if kind == "parquet" else None


def _spans(corpus: Corpus, whole: Span, size: int, target: int) -> Iterator[Span]:
    """Yield a whole file, or spans of it that are as even as its rows allow if it is large enough for more than one."""
    count = size // target
    cut = _cutter_of(corpus, whole.file.name) if count > 1 else None
    if cut and _is_cuttable(whole.file):
        yield from cut(whole, size, count)
    else:
        yield whole


def _is_cuttable(file: Readable) -> bool:
    """Return whether a file holds plain text or Parquet, as its name says; its reader handles a file that, for example, is compressed."""
    try:
        head = file.head()
    except OSError:
        return True
    return head.startswith(b"PAR1") or (compression_of(head) is None and why_not_text(head) is None)


def _spans_of_lines(whole: Span, size: int, count: int) -> Iterator[Span]:
    """Yield the spans of a file of lines. Each begins with the first line at or after a multiple of their size in bytes.

    Only the beginnings of the spans of a remote file are read, so the lines before them are not counted.
    """
    file, span, step = whole.file, whole, -(-size // count)
    is_local = file.path is not None
    try:
        for stop in (map if is_local else concurrently)(partial(_beginning_of_line, file, most=step), range(step, size, step)):
            if stop is not None and span.start < stop < size:
                yield replace(span, stop=stop)
                first = span.first + _lines_between(file, span.start, stop) if is_local else stop
                span = replace(span, start=stop, first=first, is_numbered=is_local)
        yield span
    except OSError as problem:
        raise error_of_file(problem, f"{file}: cannot be read: {problem.strerror or problem}") from None


def _beginning_of_line(file: Readable, earliest: int, most: int) -> int | None:
    """Return the offset of the first line at or after `earliest`, or None if it is more than `most` bytes later."""
    start, size, last = earliest - 1, _FIRST_READ, min(earliest + most, file.size)
    while start < last:
        found = file.read_range(start, min(start + size, last)).find(b"\n")
        if found >= 0:
            return start + found + 1
        start, size = start + size, 2 * size
    return None


def numbered(spans: Spans) -> Spans:
    """Return spans with the numbers of their first rows, which are found by counting the lines before the spans."""
    return tuple(span if span.is_numbered else replace(span, first=_lines_before(span), is_numbered=True) for span in spans)


def _lines_before(span: Span) -> int:
    with span.file.reading([(0, span.start)]) as file:
        return _lines_between(file, 0, span.start)


def _lines_between(file: Readable, start: int, stop: int) -> int:
    with file.open() as content:
        content.seek(start)
        lines, left = 0, stop - start
        while block := content.read(max(0, min(_BLOCK, left))):
            lines += line_feeds(block)
            left -= len(block)
        return lines


def _spans_of_row_groups(whole: Span, _size: int, count: int) -> Iterator[Span]:
    """Yield the spans of a Parquet file, each with the fewest row groups that hold its share of the rows."""
    try:
        with whole.file.open_native() as content, pa.parquet.ParquetFile(content) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (OSError, pa.ArrowException):  # the file is damaged, which its reader reports
        yield whole
        return
    span, span_rows = whole, 0
    for group, group_rows in enumerate(rows):
        if span_rows and span_rows * count >= sum(rows):
            yield replace(span, stop=group)
            span, span_rows = replace(span, start=group, first=span.first + span_rows), 0
        span_rows += group_rows
    yield span
