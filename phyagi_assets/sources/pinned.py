"""Objects that are read in their bucket, pinned by their ETag.

Every request states the pinned ETag, or the time of writing if the server has none, so that an object that was replaced is noticed
whenever a part of it is read.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pyarrow as pa

from phyagi_assets.sources.object_store import Buckets
from phyagi_assets.sources.prefetch import PrefetchedFile, Prefetcher
from phyagi_assets.sources.readable import ByteRange, Stamp
from phyagi_assets.sources.signatures import HEAD

_BUFFER = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedObject:
    """An object to read in its bucket. See `Readable` for its methods."""

    name: str
    """Name of the source file, see `SourceFile.name`."""
    origin: str
    """URI of the object."""
    size: int
    """Size in bytes."""
    pin: Stamp
    """Stamp that the object must have."""
    bucket: Buckets = field(repr=False)
    is_small: bool = False
    """Whether the whole object is fetched when a part of it is read."""
    prefetcher: Prefetcher | None = field(default=None, repr=False, compare=False)
    """Prefetcher of the object while it is read; if None, each part is fetched on request."""

    @property
    def path(self) -> None:
        return None

    def __str__(self) -> str:
        return self.origin

    def stamp(self) -> Stamp:
        return self.pin

    def head(self) -> bytes:
        return self.read_range(0, min(HEAD, self.size))

    def read_range(self, start: int, stop: int) -> bytes:
        if self.prefetcher is None:
            stop = min(stop, self.size)
            if self.is_small:
                return self.bucket.small.read(self.origin, self.pin, (start, stop), self.size, self._fetch)
            return self._fetch(start, stop)
        file = PrefetchedFile(self.prefetcher, self.size)
        file.seek(start)
        return file.read(stop - start)

    def _fetch(self, start: int, stop: int) -> bytes:
        return self.bucket.read_part(self.origin, self.pin, start, stop)

    def open(self) -> io.BufferedReader:
        return io.BufferedReader(self._file(), _BUFFER)

    def open_native(self) -> pa.NativeFile:
        return pa.PythonFile(self._file(), mode="r")

    @contextmanager
    def reading(self, ranges: Sequence[ByteRange] | None = None) -> "Iterator[PinnedObject]":
        read = self if self.prefetcher else replace(self, prefetcher=self._new_prefetcher())
        try:
            read.expect([(0, self.size)] if ranges is None else ranges)
            yield read
        finally:
            if read.prefetcher and read is not self:
                read.prefetcher.close()

    def expect(self, ranges: Sequence[ByteRange]) -> None:
        if self.prefetcher:
            self.prefetcher.expect(ranges)

    def _file(self) -> PrefetchedFile:
        return PrefetchedFile(self.prefetcher or self._new_prefetcher(), self.size)

    def _new_prefetcher(self) -> Prefetcher:
        return Prefetcher(self.read_range, self.size, self.bucket.threads)
