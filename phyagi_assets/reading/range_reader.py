"""Reading of byte ranges of arrays in a bucket, in a known order.

A reader is given the ranges of future reads. It fetches them ahead, as blocks into a cache or one by one into memory, up to a number of
bytes. A range that was not fetched ahead is fetched when it is needed.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.fetching import FetchingProcess
from phyagi_assets.reading.block_cache import BlockCache
from phyagi_assets.reading.block_files import BlockFiles
from phyagi_assets.reading.block_requests import BlockRequests
from phyagi_assets.reading.block_uses import BlockUses
from phyagi_assets.reading.byte_ranges import NO_BLOCK, ArrayBlocks, Block, BlockKey, Piece, Ranges, RemoteArray
from phyagi_assets.reading.caller_pace import JUDGED, CallerPace
from phyagi_assets.reading.reads_ahead import Read, ReadsAhead
from phyagi_assets.reading.single_ranges import SingleRanges
from phyagi_assets.reading.whole_arrays import WholeArrays
from phyagi_assets.settings import CACHE_BYTES_VARIABLE

_BYTES_PER_SINGLE = 2 << 20
"""Number of bytes of whole arrays per single range that may be requested while they are being fetched. A request for so many bytes takes a
server hardly longer than one for some kilobytes, so reading begins at once, and the arrays take at most twice as long."""
_WORTH_WAITING = 8
"""A slow caller waits for a block that is being fetched if it needs 1/_WORTH_WAITING of it or more; fewer bytes are fetched singly."""


class RangeReader:
    """A reader of byte ranges of arrays in a bucket, for threads and for processes that are forked.

    Parameters
    ----------
    sample_bytes
        Number of bytes per sample.
    """

    def __init__(
        self, arrays: Sequence[RemoteArray], fetching: FetchingProcess, cache: BlockCache, uses: BlockUses, sample_bytes: int
    ) -> None:
        self._given = arrays, fetching, cache, uses, sample_bytes
        cache.keep(array.digest for array in arrays if array.is_whole)
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._reading: _Reading | None = None

    def __reduce__(self) -> tuple[type["RangeReader"], tuple[Any, ...]]:
        return RangeReader, self._given

    def __del__(self) -> None:
        if self.__dict__.get("_reading"):
            self._reading.close()  # type: ignore[union-attr]

    @contextmanager
    def _locked(self) -> "Iterator[_Reading]":
        if self._owner != os.getpid():  # forked: answers go to the parent, where another thread may have held the lock
            if self._reading:
                self._reading.close()
            self._owner, self._lock, self._reading = os.getpid(), threading.RLock(), None
        with self._lock:
            if self._reading is None:
                self._reading = _Reading(*self._given)
            yield self._reading

    @property
    def expects(self) -> bool:
        """Whether future reads are known."""
        with self._locked() as reading:
            return len(reading.reads) > 0

    def expect(self, future: Iterator[tuple[int, Ranges]]) -> None:
        """Fetch ahead for future reads, in place of those that were expected before.

        Parameters
        ----------
        future
            Their first positions and their ranges, in order.
        """
        with self._locked() as reading:
            reading.expect(future)

    def read(self, ranges: Ranges, position: int) -> npt.NDArray[np.uint8]:
        """Return the bytes of ranges, one after another.

        Parameters
        ----------
        position
            First position in the order of training for which they are read.

        Raises
        ------
        StoreError
            An array does not exist, has another size, or cannot be read, or the cache cannot be written to.
        """
        with self._locked() as reading:
            return reading.read(ranges, position)


class _Reading:
    """The reading of one process."""

    def __init__(
        self, arrays: Sequence[RemoteArray], fetching: FetchingProcess, cache: BlockCache, uses: BlockUses, sample_bytes: int
    ) -> None:
        self._cache, self._uses = cache, uses
        self._blocks = blocks = ArrayBlocks(arrays)
        self.reads = ReadsAhead(blocks, cache.bound, sample_bytes)
        """Current and future reads."""
        self._files = BlockFiles(blocks, cache)
        self._singles = SingleRanges(arrays, fetching)
        self._pace = CallerPace()
        """Pace of the caller. A fast one gets few single ranges before all blocks have arrived, because many would delay them."""
        self._requests = BlockRequests(blocks, self._files, fetching, cache, uses, self._next_uses)
        whole = [array for array in arrays if array.is_whole]
        self._whole = WholeArrays(whole, fetching, cache, self._next_uses) if whole else None
        self._singles_left = min(JUDGED, -(-sum(array.size for array in whole) // _BYTES_PER_SINGLE))
        """Number of single ranges of whole arrays that may still be requested for a fast caller."""

    def _next_uses(self, cached: Sequence[Block]) -> Sequence[int]:
        return self._uses.next_uses(cached, self.reads.position, *self._cache.others(self._uses.order))

    def close(self) -> None:
        self._files.close()
        if self._whole:
            self._whole.is_ended = True

    def expect(self, future: Iterator[tuple[int, Ranges]]) -> None:
        self._singles.clear()
        self.reads.expect(future)

    def read(self, ranges: Ranges, position: int) -> npt.NDArray[np.uint8]:
        if ranges.size > self._cache.bound:
            raise StoreError(
                f"cache_bytes: is {self._cache.bound:,}, and one read needs {ranges.size:,} bytes; set a larger cache_bytes or "
                f"${CACHE_BYTES_VARIABLE}, or read smaller batches"
            )
        if self._uses.arrays:
            self._cache.note_position(self._uses.order, position, self._uses.arrays)
        self._pace.begin_read(len(ranges.begin))
        if not self.reads.begin(position, ranges):
            self._singles.clear()
            self._request(self.reads.add(position, ranges))
        self._fetch_ahead()
        try:
            return self._gathered(self.reads.current)
        finally:
            self.reads.end()
            self._fetch_ahead()
            self._pace.end_read()

    def _fetch_ahead(self) -> None:
        while read := self.reads.next_ahead():
            self._request(read)

    def _request(self, read: Read) -> None:
        """Fetch the blocks of a read that are worth caching and fit, and its other ranges one by one."""
        keys = [(piece[0], piece[3]) for piece in read.pieces]
        in_blocks = [key for key in dict.fromkeys(keys) if key[1] != NO_BLOCK]
        in_background = self._whole and not self._whole.is_ended and (self._singles_left > 0 or self._pace.is_slow)
        coming = self._requests.request(in_blocks, read, of_whole=not in_background, with_early=len(self.reads) > 1)
        single = [piece[:3] for piece, key in zip(read.pieces, keys, strict=True) if key not in coming]
        self._singles_left -= len(single)
        self._singles.request(single, read.urgency)

    def _gathered(self, read: Read) -> npt.NDArray[np.uint8]:
        self._collect()
        joined = np.empty(read.ranges.size, np.uint8)
        missing = self._files.read(read.pieces, joined.data)
        while missing:
            missing = self._fetched(missing, joined.data)
        return joined

    def _collect(self) -> None:
        self._requests.collect()
        if self._whole and self._whole.problem:
            raise self._whole.problem

    def _fetched(self, pieces: Sequence[Piece], view: memoryview) -> list[Piece]:
        """Wait for pieces that are not cached, and return those whose block did not arrive, which are then fetched singly."""
        needed: Counter[BlockKey] = Counter()
        for array, begin, end, number, _ in pieces:
            needed[array, number] += end - begin

        def is_awaited(key: BlockKey) -> bool:
            is_worth = not self._pace.is_slow or needed[key] * _WORTH_WAITING >= self._blocks.arrays[key[0]].block
            return is_worth and key in self._requests

        self._singles.request([piece[:3] for piece in pieces if not is_awaited((piece[0], piece[3]))], urgency=0)
        late: list[Piece] = []
        for piece in pieces:
            array, begin, end, number, place = piece
            part = self._singles.take((array, begin, end))
            if part is not None:
                view[place : place + end - begin] = part
            else:
                self._requests.wait((array, number))
                late += self._files.read([piece], view)
        self._collect()
        self._singles.request([piece[:3] for piece in late], urgency=0)
        return late
