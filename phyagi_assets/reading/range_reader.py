"""Reading of byte ranges of arrays in a bucket, in an order that is known.

A reader is told the ranges of the reads to come. It fetches them ahead, as blocks into a cache or one by one into memory, up to a number of
bytes. A range that is not there when it is needed is fetched then.
"""

import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.fetching import FetchingProcess, PartRequest
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.array_maps import maps_allowed
from phyagi_assets.reading.block_cache import BlockCache, NotReserved
from phyagi_assets.reading.block_uses import BlockUses
from phyagi_assets.reading.byte_ranges import Block, BlockKey, Ranges, RemoteArray
from phyagi_assets.reading.caller_pace import JUDGED, CallerPace
from phyagi_assets.reading.early_blocks import LARGEST_TOGETHER, EarlyBlocks
from phyagi_assets.reading.whole_arrays import WholeArrays, block_request
from phyagi_assets.settings import CACHE_BYTES_VARIABLE

_AHEAD = 64 << 20
"""Number of bytes to fetch ahead, at most."""
_AHEAD_AT_FIRST = 8 << 20
"""Number of bytes to fetch ahead, at most, until 1/_OF_READ of what was read is more."""
_OF_READ = 16
"""1/_OF_READ of what was read is fetched ahead, so that little was fetched in vain when reading ends."""
_AHEAD_OF_WHOLE = 1 << 20
"""Number of bytes to fetch ahead, at most, while whole arrays are fetched in the background."""
_OPEN_FILES = 2048
"""Largest number of block files that a reader keeps open: a window has some hundred blocks per corpus."""
_BYTES_PER_SINGLE = 2 << 20
"""Size of whole arrays, in bytes, for each request for a single range while they are on their way. A request for this much takes a server
hardly longer than one for some kilobytes, so reading begins at once, and the arrays are delayed by their own time at most."""
_WORTH_WAITING = 8
"""A slow caller waits for a block on its way if it needs 1/_WORTH_WAITING of it or more; fewer bytes are fetched on their own."""
_GAP = 512
"""Largest number of unused bytes between two ranges that are fetched together."""
_TO_ARRIVE = 1.0
"""Time to wait for a block that another process fetches, in seconds."""
_NO_BLOCK = -1 << 40
"""Number of the block of a range that is in none."""


_Piece = tuple[int, int, int, int, int]
"""Part of a range in one block: array, first byte, end, number of the block, and place in the read."""


class RangeReader:
    """A reader of byte ranges of arrays in a bucket.

    Parameters
    ----------
    sample_bytes
        Number of bytes per sample.
    """

    def __init__(
        self,
        arrays: Sequence[RemoteArray],
        fetching: FetchingProcess,
        cache: BlockCache,
        uses: BlockUses,
        sample_bytes: int,
    ) -> None:
        self._arrays, self._fetching, self._cache, self._uses = list(arrays), fetching, cache, uses
        self._sample_bytes = sample_bytes
        self._in_blocks = any(array.block and not array.is_whole for array in arrays)
        cache.keep(array.digest for array in arrays if array.is_whole)
        columns = [[getattr(array, name) for array in arrays] for name in ("block", "phase", "overlap", "size")]
        self._block, self._phase, self._overlap, self._size = np.array(columns, dtype=np.int64).reshape(4, -1)
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._files: OrderedDict[tuple[int, int], tuple[int, int]] = OrderedDict()
        """Open files of blocks, each with the first byte of its block."""
        self._most_files = maps_allowed(_OPEN_FILES)
        self._coming: dict[tuple[int, int], Future[bytes] | None] = {}
        """Blocks on their way, with the future of the request; None if another process or thread is fetching it."""
        self._parts: dict[tuple[int, int, int], tuple[Future[bytes], int]] = {}
        """Ranges that are fetched into memory, each with the part of the object that it comes with, and its place in that part."""
        self._future: Iterator[tuple[int, Ranges]] = iter(())
        self._ahead: deque[Ranges] = deque()
        self._ahead_bytes, self._read_bytes = 0, 0
        """Number of bytes of the reads ahead, and of those that were read."""
        self._position, self._last = 0, 0
        """First positions of the current read, and of the last read ahead."""
        self._pace = CallerPace()
        """Pace of the caller: only a slow one gets ranges one by one until all blocks are there, so that nothing delays them."""
        self._serial = 0
        self._done: deque[tuple[Sequence[BlockKey], Sequence[tuple[Block, Path]], Future[bytes]]] = deque()
        """Requests for blocks that were answered or failed: the blocks, with their drafts, and the future."""
        self._early = EarlyBlocks(self._arrays, self._uses)
        self._filler: WholeArrays | None = None
        self._single = min(JUDGED, -(-sum(array.size for array in self._arrays if array.is_whole) // _BYTES_PER_SINGLE))
        """Number of single ranges of whole arrays that may still be requested for a fast caller."""

    def __reduce__(self) -> tuple[type["RangeReader"], tuple[Any, ...]]:
        return RangeReader, (self._arrays, self._fetching, self._cache, self._uses, self._sample_bytes)

    @property
    def expects(self) -> bool:
        """Whether reads to come are known."""
        return bool(self._ahead)

    def expect(self, future: Iterator[tuple[int, Ranges]]) -> None:
        """Fetch ahead for reads to come, in place of those that were expected before.

        Parameters
        ----------
        future
            Their first positions and their ranges, in order.
        """
        with self._locked():
            self._forget()
            self._future = future

    def _forget(self) -> None:
        self._parts.clear()
        self._ahead.clear()
        self._ahead_bytes = 0
        self._future = iter(())

    def _locked(self) -> Any:
        if self._owner != os.getpid():  # forked; what is on its way comes to the parent
            self._close()
            self._reset()
        return self._lock

    def _close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1][0])

    def __del__(self) -> None:
        if "_files" in self.__dict__:
            self._close()
        if self.__dict__.get("_filler"):
            self._filler.is_ended = True  # type: ignore[union-attr]

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
        if ranges.size > self._cache.bound:
            raise StoreError(
                f"cache_bytes: is {self._cache.bound:,}, and one read needs {ranges.size:,} bytes; set a larger cache_bytes or "
                f"${CACHE_BYTES_VARIABLE}, or read smaller batches"
            )
        with self._locked():
            if self._filler is None and any(array.is_whole for array in self._arrays):
                self._filler = WholeArrays(self._arrays, self._fetching, self._cache, self._next_uses)
            self._position = position
            self._pace.begin_read(len(ranges.begin))
            if not any(ranges.same_as(of) for of in list(self._ahead)[:2]):
                if self._ahead:  # another read than was expected
                    self._forget()
                first = next(self._future, None)
                if first is not None and not first[1].same_as(ranges):
                    self._future = iter(())
                self._append(position, ranges)
            while not self._ahead[0].same_as(ranges):
                self._ahead_bytes -= self._ahead.popleft().size
            self._advance()
            try:
                return self._gathered(ranges)
            finally:
                self._ahead_bytes -= self._ahead.popleft().size
                self._read_bytes += ranges.size
                self._advance()
                self._pace.end_read()

    def _advance(self) -> None:
        """Fetch ahead, up to the limit, and at least one read."""
        most = _AHEAD_OF_WHOLE if self._filler else min(_AHEAD, max(_AHEAD_AT_FIRST, self._read_bytes // _OF_READ))
        share = self._cache.bound // 16
        while len(self._ahead) < 2 or (self._ahead_bytes < min(most, share) and self._span < share):
            following = next(self._future, None)
            if following is None:
                break
            self._append(*following)

    @property
    def _span(self) -> int:
        """Size of all samples up to the last read ahead, in bytes: other readers, which read between its samples, share the window."""
        return (self._last - self._position) * self._sample_bytes if self._in_blocks else 0

    def _append(self, position: int, ranges: Ranges) -> None:
        self._serial += 1
        self._last = position
        self._ahead.append(ranges)
        self._ahead_bytes += ranges.size
        array, begin, end, block, _ = self._pieces(ranges)
        one_by_one = block == _NO_BLOCK
        in_blocks = np.flatnonzero(~one_by_one)
        keys = list(zip(array[in_blocks].tolist(), block[in_blocks].tolist(), strict=True))
        coming = self._request_blocks(list(dict.fromkeys(keys)), position)
        one_by_one[in_blocks] = [key not in coming for key in keys]
        chosen = np.flatnonzero(one_by_one)
        self._single -= len(chosen)
        self._request_parts(array[chosen], begin[chosen], end[chosen])

    def _pieces(self, ranges: Ranges) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Cut ranges into pieces that do not cross blocks: array, first byte, end, block, and place in the read."""
        array, begin, end = ranges.array, ranges.begin, ranges.end
        size = end - begin
        place = np.cumsum(size) - size
        found = []
        while True:
            block, phase = self._block[array], self._phase[array]
            number = np.where(block > 0, (begin - phase) // np.maximum(block, 1), _NO_BLOCK)
            stop = np.where(block > 0, phase + (number + 1) * block + self._overlap[array], end)
            over = end > stop
            found.append((array, begin, np.minimum(end, stop), number, place))
            if not over.any():
                break
            array, place, end, begin = array[over], (place + stop - begin)[over], end[over], stop[over]
        if len(found) == 1:
            return found[0]
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]

    def _block_of(self, key: tuple[int, int]) -> Block:
        return self._arrays[key[0]].block_at(key[1])

    def _is_here(self, key: tuple[int, int]) -> bool:
        """Return whether a block is in the cache. Blocks of whole arrays are hardly ever evicted; reading notices it."""
        file = self._files.get(key)
        if file is not None and not self._arrays[key[0]].is_whole and not os.fstat(file[0]).st_nlink:  # it was evicted
            os.close(self._files.pop(key)[0])
            file = None
        return file is not None or self._cache.has(self._block_of(key))

    def _is_coming(self, key: tuple[int, int]) -> bool:
        """Return whether a block is in the cache or being fetched by this process. Another process that fetches it may have died."""
        if self._coming.get(key) is not None:
            return True
        is_here = self._is_here(key)
        if is_here:
            self._coming.pop(key, None)
        return is_here

    def _request_blocks(self, keys: Sequence[tuple[int, int]], position: int) -> set[tuple[int, int]]:
        """Start fetching the blocks that are worth caching and fit; return those that are cached or being fetched."""
        coming, wanted, to_judge = set(), [], []
        self._early.note_used(keys, self._is_coming)
        for key in keys:
            if self._is_coming(key):
                coming.add(key)
            elif not self._arrays[key[0]].is_whole:
                to_judge.append(key)
            elif self._filler is None or self._filler.is_ended or (self._single <= 0 and not self._pace.is_slow):
                wanted.append(key)  # otherwise it comes in the background
        wanted += [key for key, is_worth in zip(to_judge, self._uses.are_worth(to_judge, position), strict=True) if is_worth]
        drafts = self._reserved(wanted, position)
        coming |= drafts.keys()
        self._coming.update(dict.fromkeys(drafts))
        own = {key: draft for key, draft in drafts.items() if isinstance(draft, Path)}
        is_urgent = len(self._ahead) == 1
        if beside := {} if is_urgent else self._early.beside(own, position, self._is_coming):
            found = self._reserved(list(beside), max(beside.values()))
            self._early.note_fetched(found, beside)
            own |= {key: draft for key, draft in found.items() if isinstance(draft, Path)}
        self._request(own)
        return coming

    def _reserved(self, keys: Sequence[BlockKey], position: int) -> dict[BlockKey, Path | NotReserved]:
        """Reserve room for blocks as `BlockCache.reserve` does, and leave out the blocks that do not fit."""
        drafts = self._cache.reserve([self._block_of(key) for key in keys], position, self._next_uses)
        return {key: draft for key, draft in zip(keys, drafts, strict=True) if draft is not NotReserved.FULL}

    def _request(self, drafts: Mapping[BlockKey, Path]) -> None:
        """Fetch blocks to their drafts. One request fetches consecutive small blocks."""
        runs: list[list[BlockKey]] = []
        for key in sorted(drafts):
            is_next = bool(runs) and runs[-1][-1] == (key[0], key[1] - 1)
            if is_next and self._block_of(key).stop - self._block_of(runs[-1][0]).start <= LARGEST_TOGETHER:
                runs[-1].append(key)
            else:
                runs.append([key])
        blocks = [[(self._block_of(key), drafts[key]) for key in run] for run in runs]
        requests = [block_request(self._cache, self._arrays[run[0][0]], of, self._serial) for run, of in zip(runs, blocks, strict=True)]
        for run, of, future in zip(runs, blocks, self._fetching.submit(requests) if requests else [], strict=True):
            self._coming.update(dict.fromkeys(run, future))
            future.add_done_callback(lambda done, run=run, of=of: self._done.append((run, of, done)))  # type: ignore[misc]

    def _collect(self) -> None:
        """Take note of the blocks that have arrived."""
        while self._done:
            run, blocks, done = self._done.popleft()
            for key in run:
                self._coming.pop(key, None)
            if problem := done.exception():
                for block, draft in blocks:
                    self._cache.release(block, draft, problem)
        if self._filler and self._filler.problem:
            raise self._filler.problem

    def _next_uses(self, cached: Sequence[Block]) -> Sequence[int]:
        return self._uses.next_uses(cached, self._position)

    def _request_parts(self, array: Ints, begin: Ints, end: Ints) -> None:
        """Fetch ranges into memory, together where they are close to each other."""
        order = np.lexsort((begin, array))
        requests: list[PartRequest] = []
        ranges: list[list[tuple[int, int, int]]] = []
        last = -1
        for number, first, stop in zip(array[order].tolist(), begin[order].tolist(), end[order].tolist(), strict=True):
            if (number, first, stop) in self._parts:
                continue
            of = self._arrays[number]
            if last == number and first <= requests[-1].stop + _GAP and stop - requests[-1].start <= LARGEST_TOGETHER:
                requests[-1] = replace(requests[-1], stop=max(stop, requests[-1].stop))
                ranges[-1].append((number, first, stop))
            else:
                requests.append(PartRequest(key=of.key, start=first, stop=stop, size=of.size, urgency=self._serial))
                ranges.append([(number, first, stop)])
            last = number
        if requests:
            for request, content, of_request in zip(requests, self._fetching.submit(requests), ranges, strict=True):
                for key in of_request:
                    self._parts[key] = content, key[1] - request.start

    def _gathered(self, ranges: Ranges) -> npt.NDArray[np.uint8]:
        self._collect()
        joined = np.empty(ranges.size, np.uint8)
        view = joined.data
        missing = self._read_blocks(zip(*(column.tolist() for column in self._pieces(ranges)), strict=True), view)
        if missing:
            self._fetch_missing(missing, view)
        return joined

    def _read_blocks(self, pieces: Iterable[_Piece], view: memoryview) -> list[_Piece]:
        """Read pieces from blocks that are in the cache, and return the others."""
        files, used, read = self._files, self._files.move_to_end, os.preadv
        missing = []
        for piece in pieces:
            array, begin, end, number, place = piece
            key = array, number
            file = files.get(key) or self._opened(key)
            if file is None:
                missing.append(piece)
            elif read(file[0], [view[place : place + end - begin]], begin - file[1]) == end - begin:
                used(key)
            else:  # it was evicted
                os.close(files.pop(key)[0])
                missing.append(piece)
        return missing

    def _opened(self, key: tuple[int, int]) -> tuple[int, int] | None:
        """Open the file of a block, and return it with the block's first byte; None if the block is not in the cache."""
        if key[1] == _NO_BLOCK:
            return None
        block = self._block_of(key)
        try:
            file = self._files[key] = os.open(self._cache.path(block), os.O_RDONLY), block.start
        except OSError:
            return None
        if len(self._files) > self._most_files:
            os.close(self._files.popitem(last=False)[1][0])
        return file

    def _fetch_missing(self, pieces: Sequence[_Piece], view: memoryview) -> None:
        """Fetch pieces that are in no block of the cache, and wait for them."""
        needed: Counter[tuple[int, int]] = Counter()
        for array, begin, end, number, _ in pieces:
            needed[array, number] += end - begin
        alone = []
        for piece in pieces:
            array, begin, end, number, _ = piece
            is_worth = not self._pace.is_slow or needed[array, number] * _WORTH_WAITING >= self._arrays[array].block
            is_awaited = is_worth and (array, number) in self._coming
            if (array, begin, end) not in self._parts and not is_awaited:
                alone.append((array, begin, end))
        if alone:
            serial, self._serial = self._serial, 0
            self._request_parts(*np.array(alone, dtype=np.int64).T)
            self._serial = serial
        late: list[_Piece] = []
        for piece in pieces:
            array, begin, end, number, place = piece
            part = self._parts.pop((array, begin, end), None)
            if part is not None:
                content, offset = part
                view[place : place + end - begin] = memoryview(content.result())[offset : offset + end - begin]
            else:
                self._wait((array, number))
                late += self._read_blocks([piece], view)
        self._collect()
        if late:
            self._request_parts(*np.array([piece[:3] for piece in late], dtype=np.int64).T)
            self._fetch_missing(late, view)

    def _wait(self, key: tuple[int, int]) -> None:
        """Wait for a block that is on its way; if another process fetches it, only for a while, because that process may have died."""
        if key not in self._coming:
            return
        if block := self._coming[key]:
            wait([block])
            return
        path, until = self._cache.path(self._block_of(key)), time.monotonic() + _TO_ARRIVE
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        del self._coming[key]
