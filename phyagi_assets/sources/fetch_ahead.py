"""Fetch the files of the next spans while one is read, so that a reader does not wait for many small remote files one by one."""

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, ExitStack

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.sources.compression import is_compressed
from phyagi_assets.sources.files import Span, format_of
from phyagi_assets.sources.prefetch import AHEAD, PART
from phyagi_assets.sources.readable import ByteRange, Readable

_MOST_FILES = 64
"""Largest number of files whose beginnings are fetched ahead."""
_FOOTER = 1 << 16
"""Number of bytes that are read at the end of a Parquet file to open it."""


def fetched_ahead(corpus: Corpus, spans: Iterable[Span]) -> Generator[tuple[Span, Readable], None, None]:
    """Yield each span with its file for reading; up to `AHEAD` bytes of the next files are fetched in the meantime."""
    waiting: deque[tuple[Span, Readable, ExitStack]] = deque()
    left, ahead = iter(spans), 0
    try:
        while True:
            while len(waiting) <= _MOST_FILES and ahead < AHEAD and (span := next(left, None)):
                stack = ExitStack()
                waiting.append((span, stack.enter_context(_reading(corpus, span)), stack))
                ahead += _bytes_ahead(span)
            if not waiting:
                return
            span, file, stack = waiting.popleft()
            ahead -= _bytes_ahead(span)
            with stack:
                yield span, file
    finally:
        for _, _, stack in waiting:
            stack.close()


def _bytes_ahead(span: Span) -> int:
    """Return the number of bytes that are fetched before the span is read."""
    return 0 if span.file.path else min(PART, span.file.size)


def _reading(corpus: Corpus, span: Span) -> AbstractContextManager[Readable]:
    """Return a context manager for reading a span of a file."""
    if span.file.path:
        return span.file.reading()
    ranges: list[ByteRange] | None = None
    if format_of(corpus, span.file.name) == "parquet" and not is_compressed(span.file.name):
        if span.file.size > PART or span.start or span.stop is not None:  # its reader announces the columns when it has read the footer
            ranges = [(span.file.size - _FOOTER, span.file.size)]
    else:
        ranges = [(span.start, span.file.size if span.stop is None else span.stop)]
    return span.file.reading(ranges)
