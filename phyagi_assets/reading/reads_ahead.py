"""Future reads, in order, and how far ahead they are fetched."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from phyagi_assets.reading.byte_ranges import ArrayBlocks, Piece, Ranges

_AHEAD = 64 << 20
"""Largest number of bytes to fetch ahead."""
_AHEAD_AT_FIRST = 8 << 20
"""Largest number of bytes to fetch ahead until 1/_OF_READ of the bytes read exceeds it."""
_OF_READ = 16
"""As much as 1/_OF_READ of the bytes read is fetched ahead, so that little is wasted when reading ends."""
_AHEAD_OF_WHOLE = 1 << 20
"""Largest number of bytes to fetch ahead while whole arrays are fetched in the background."""
_OF_CACHE = 16
"""Data that is fetched ahead takes at most 1/_OF_CACHE of the cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """Ranges that are read together."""

    position: int
    """First position in the order of training for which they are read."""
    ranges: Ranges
    pieces: list[Piece]
    """The ranges, cut at the ends of blocks."""
    urgency: int
    """Urgency of the requests of the read; it grows from read to read."""


class ReadsAhead:
    """The current read, and the expected reads that are fetched ahead of it.

    Parameters
    ----------
    bound
        Size of the cache, in bytes.
    sample_bytes
        Number of bytes per sample.
    """

    def __init__(self, blocks: ArrayBlocks, bound: int, sample_bytes: int) -> None:
        self._blocks, self._room = blocks, bound // _OF_CACHE
        self._sample_bytes = sample_bytes if any(array.block and not array.is_whole for array in blocks.arrays) else 0
        self._has_whole = any(array.is_whole for array in blocks.arrays)
        self._expected: Iterator[tuple[int, Ranges]] = iter(())
        self._reads: deque[Read] = deque()
        self._size, self._bytes_read, self._count = 0, 0, 0
        """Number of bytes of these reads, number of bytes of ended reads, and number of both."""
        self.position = 0
        """First position of the current read."""

    def __len__(self) -> int:
        return len(self._reads)

    def expect(self, reads: Iterator[tuple[int, Ranges]]) -> None:
        """Expect reads, given the first position and the ranges of each, in place of those that were expected before."""
        self._expected = reads
        self._reads.clear()
        self._size = 0

    def begin(self, position: int, ranges: Ranges) -> bool:
        """Begin a read, and return whether it was fetched ahead. An unexpected read cancels the expected ones."""
        self.position = position
        if any(read.ranges.same_as(ranges) for read in islice(self._reads, 2)):
            while not self._reads[0].ranges.same_as(ranges):
                self._remove_first()
            return True
        if self._reads or ((first := next(self._expected, None)) and not first[1].same_as(ranges)):
            self.expect(iter(()))
        return False

    @property
    def current(self) -> Read:
        """The current read."""
        return self._reads[0]

    def end(self) -> None:
        """End the current read."""
        self._bytes_read += self.current.ranges.size
        self._remove_first()

    def _remove_first(self) -> None:
        self._size -= self._reads.popleft().ranges.size

    def add(self, position: int, ranges: Ranges) -> Read:
        """Add a read after the others."""
        self._count += 1
        read = Read(position=position, ranges=ranges, pieces=self._blocks.pieces(ranges), urgency=self._count)
        self._reads.append(read)
        self._size += ranges.size
        return read

    def next_ahead(self) -> Read | None:
        """Add and return the next expected read; None if there is none, or if enough is fetched ahead: at least one read."""
        most = _AHEAD_OF_WHOLE if self._has_whole else min(_AHEAD, max(_AHEAD_AT_FIRST, self._bytes_read // _OF_READ))
        is_enough = len(self._reads) >= 2 and (self._size >= min(most, self._room) or self._span >= self._room)
        following = None if is_enough else next(self._expected, None)
        return self.add(*following) if following else None

    @property
    def _span(self) -> int:
        """Size of all samples up to the last read ahead, in bytes: other readers, which read between these samples, share the window."""
        return (self._reads[-1].position - self.position) * self._sample_bytes
