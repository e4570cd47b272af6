"""Prefetch remote files: other threads fetch parts of a file ahead of its reader.

A reader announces the bytes that it will read. They are cut into parts, and as it reads one, the next ones are fetched, several at once,
up to a bound. Bytes that were not announced, such as the footer of a file, are fetched on request. A part is dropped when it
has been read; the first one stays, because readers look at the head of a file before they read it.
"""

import io
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from phyagi_assets.objects.daemon_threads import DaemonThreads, result_of
from phyagi_assets.sources.readable import ByteRange

PART = 4 << 20
"""Size of a part, in bytes."""
AHEAD = 32 << 20
"""Largest size of the parts that are fetched or held ahead of a reader, in bytes."""
_SMALLEST = 1 << 16
"""Smallest number of bytes that are fetched without having been announced."""

Fetch = Callable[[int, int], bytes]
"""Function that returns a part of the file, given its first byte and the byte after its last one."""


class _Part:
    """A part of a file: not fetched yet, being fetched, or held."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.future: Future[bytes] | None = None
        self.read = 0
        """Number of bytes that were read, counting repeated reads."""
        self.is_read_to_its_end = False


class Prefetcher:
    """Fetches the parts of one file ahead of its reader, one reader at a time."""

    def __init__(self, fetch: Fetch, size: int, threads: DaemonThreads) -> None:
        self._fetch, self._size, self._threads = fetch, size, threads
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._lock = threading.RLock()

    def expect(self, ranges: Sequence[ByteRange]) -> None:
        """Announce the bytes that will be read, in order, in place of those announced before, and fetch the first part."""
        with self._lock:
            kept = [part for part in self._parts if part.future]
            planned: list[_Part] = []
            for start, stop in _without(_joined(ranges, self._size), [(part.start, part.stop) for part in kept]):
                planned += [_Part(begin, min(begin + PART, stop)) for begin in range(start, stop, PART)]
            self._parts = sorted(kept + planned, key=lambda part: part.start)
            self._starts = [part.start for part in self._parts]
            if planned:
                self._begin(planned[0])

    def read(self, start: int, most: int) -> memoryview:
        """Return bytes from an offset on: at least one unless the file ends there, and at most `most`, all of one part."""
        if start >= self._size or most <= 0:
            return memoryview(b"")
        with self._lock:
            index = self._at(start, most)
            part = self._parts[index]
            self._fetch_ahead(index)
            assert part.future
            try:
                content = memoryview(result_of(part.future))[start - part.start : start - part.start + most]
            except CancelledError:
                raise OSError("was closed while it was read") from None
            part.read += len(content)
            part.is_read_to_its_end |= start + len(content) == part.stop
            if part.start > 0 and part.is_read_to_its_end and part.read >= part.stop - part.start:
                self._drop(part)
            return content

    def close(self) -> None:
        """Forget all parts."""
        with self._lock:
            for part in self._parts:
                self._drop(part)

    def _at(self, start: int, most: int) -> int:
        """Return the index of the part at an offset, which is added if it was not announced."""
        index = bisect_right(self._starts, start) - 1
        if index >= 0 and start < self._parts[index].stop:
            return index
        index += 1
        stop = min(start + max(min(most, PART), _SMALLEST), self._size)
        if index < len(self._parts):
            stop = min(stop, self._parts[index].start)
        self._parts.insert(index, _Part(start, stop))
        self._starts.insert(index, start)
        return index

    def _fetch_ahead(self, index: int) -> None:
        """Fetch a part, and the next ones as far as the bound allows."""
        fetched = sum(part.stop - part.start for part in self._parts if part.future)
        if fetched > 2 * AHEAD:  # earlier parts were read only in part
            for part in self._parts[:index]:
                if part.start > 0:
                    self._drop(part)
            fetched = sum(part.stop - part.start for part in self._parts if part.future)
        for part in self._parts[index:]:
            if part.future is None:
                if fetched >= AHEAD and part is not self._parts[index]:
                    return
                self._begin(part)
                fetched += part.stop - part.start

    def _begin(self, part: _Part) -> None:
        part.future = self._threads.submit(self._fetch, part.start, part.stop)

    def _drop(self, part: _Part) -> None:
        if part.future:
            part.future.cancel()
        part.future, part.read, part.is_read_to_its_end = None, 0, False


class PrefetchedFile(io.RawIOBase):
    """A file whose content comes from a prefetcher."""

    def __init__(self, prefetcher: Prefetcher, size: int) -> None:
        self._prefetcher, self._size, self._offset = prefetcher, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        content = self._prefetcher.read(self._offset, len(view))
        view[: len(content)] = content
        self._offset += len(content)
        return len(content)

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, or fewer if the file ends before."""
        left = self._size - self._offset if size is None or size < 0 else size
        parts: list[memoryview] = []
        while left and (content := self._prefetcher.read(self._offset, left)):
            parts.append(content)
            self._offset += len(content)
            left -= len(content)
        return b"".join(parts)


def _joined(ranges: Sequence[ByteRange], size: int) -> list[ByteRange]:
    """Sort ranges, cut them at the end of the file, and join those that touch."""
    joined: list[ByteRange] = []
    for start, stop in sorted((max(0, start), min(stop, size)) for start, stop in ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        elif start < stop:
            joined.append((start, stop))
    return joined


def _without(ranges: Sequence[ByteRange], others: Sequence[ByteRange]) -> list[ByteRange]:
    """Return the parts of ranges that are not in others; both lists are sorted and without overlaps."""
    left: list[ByteRange] = []
    for begin, stop in ranges:
        start = begin
        for other_start, other_stop in others:
            if other_stop <= start or other_start >= stop:
                continue
            if other_start > start:
                left.append((start, other_start))
            start = max(start, other_stop)
        if start < stop:
            left.append((start, stop))
    return left
