"""The reads to come, in their order, and how far ahead they are fetched."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from phyagi_assets.reading.byte_ranges import ArrayBlocks, Piece, Ranges

_AHEAD = 64 << 20
"""Number of bytes to fetch ahead, at most."""
_AHEAD_AT_FIRST = 8 << 20
"""Number of bytes to fetch ahead, at most, until 1/_OF_READ of what was read is more."""
_OF_READ = 16
"""1/_OF_READ of what was read is fetched ahead, so that little was fetched in vain when reading ends."""
_AHEAD_OF_WHOLE = 1 << 20
"""Number of bytes to fetch ahead, at most, while whole arrays are fetched in the background."""
_OF_CACHE = 16
"""1/_OF_CACHE of the cache, at most, is taken by what is fetched ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """Ranges that are read together."""

    position: int
    """First position in the order of training for which they are read."""
    ranges: Ranges
    pieces: list[Piece]
    """The ranges, cut at the ends of blocks."""
    urgency: int
    """Urgency of requests for it; it grows from read to read."""


class ReadsAhead:
    """The current read and those that are fetched ahead of it, out of the reads that are expected.

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
        """Number of bytes of these reads, and of those that have ended; and number of both together."""
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
        """Begin a read, and return whether it was fetched ahead. If it is not the one that was expected, no further ones are."""
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
        """Add the next of the expected reads, and return it; None if enough is fetched ahead, which is at least one read."""
        most = _AHEAD_OF_WHOLE if self._has_whole else min(_AHEAD, max(_AHEAD_AT_FIRST, self._bytes_read // _OF_READ))
        is_enough = len(self._reads) >= 2 and (self._size >= min(most, self._room) or self._span >= self._room)
        following = None if is_enough else next(self._expected, None)
        return self.add(*following) if following else None

    @property
    def _span(self) -> int:
        """Size of all samples up to the last read ahead, in bytes: other readers, which read between its samples, share the window."""
        return (self._reads[-1].position - self.position) * self._sample_bytes
