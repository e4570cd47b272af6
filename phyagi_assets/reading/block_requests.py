"""Requests for blocks, from the reservation of their room in the cache to their arrival."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from itertools import compress
from pathlib import Path

from phyagi_assets.objects.fetching import FetchingProcess, FilePart, PartRequest
from phyagi_assets.reading.block_cache import BlockCache, NextUses, NotReserved
from phyagi_assets.reading.block_files import BlockFiles
from phyagi_assets.reading.block_uses import BlockUses
from phyagi_assets.reading.byte_ranges import LARGEST_TOGETHER, ArrayBlocks, Block, BlockKey, RemoteArray
from phyagi_assets.reading.early_blocks import EarlyBlocks
from phyagi_assets.reading.reads_ahead import Read

_TO_ARRIVE = 1.0
"""Time to wait for a block that another process fetches, in seconds."""


def block_request(cache: BlockCache, array: RemoteArray, blocks: Sequence[tuple[Block, Path]], urgency: int) -> PartRequest:
    """Return the request for consecutive blocks of an array, each with its draft."""
    files = [FilePart(start=block.start, stop=block.stop, draft=str(draft), path=str(cache.path(block))) for block, draft in blocks]
    start, stop = files[0].start, files[-1].stop
    return PartRequest(key=array.key, start=start, stop=stop, size=array.size, urgency=urgency, files=files)


class BlockRequests:
    """The blocks that a reader has requested and that have not arrived yet.

    Parameters
    ----------
    next_uses
        Function that returns the next use of cached blocks.
    """

    def __init__(
        self, blocks: ArrayBlocks, files: BlockFiles, fetching: FetchingProcess, cache: BlockCache, uses: BlockUses, next_uses: NextUses
    ) -> None:
        self._blocks, self._files, self._fetching, self._cache = blocks, files, fetching, cache
        self._uses, self._next_uses = uses, next_uses
        self._early = EarlyBlocks(blocks.arrays, uses)
        self._coming: dict[BlockKey, Future[bytes] | None] = {}
        """Blocks that are being fetched, with the future of the request; None if another process or thread is fetching it."""
        self._done: deque[tuple[Sequence[BlockKey], Sequence[tuple[Block, Path]], Future[bytes]]] = deque()
        """Requests that were answered or failed: the blocks, with their drafts, and the future."""

    def __contains__(self, key: BlockKey) -> bool:
        return key in self._coming

    def is_coming(self, key: BlockKey) -> bool:
        """Return whether a block is in the cache or being fetched by this process. Another process that fetches it may have died."""
        if self._coming.get(key) is not None:
            return True
        is_here = self._files.has(key)
        if is_here:
            self._coming.pop(key, None)
        return is_here

    def request(self, keys: Sequence[BlockKey], read: Read, *, of_whole: bool, with_early: bool) -> set[BlockKey]:
        """Fetch the blocks of a read that are worth caching and fit; return those that are cached or being fetched.

        Parameters
        ----------
        of_whole
            Whether to fetch blocks of arrays that are fetched whole, which are also fetched in the background.
        with_early
            Whether to fetch adjacent blocks before their turn.
        """
        self._early.note_used(keys, self.is_coming)
        coming = set(filter(self.is_coming, keys))
        missing = [key for key in keys if key not in coming]
        in_shuffle = [key for key in missing if not self._blocks.arrays[key[0]].is_whole]
        wanted = [key for key in missing if self._blocks.arrays[key[0]].is_whole] if of_whole else []
        wanted += compress(in_shuffle, self._uses.are_worth(in_shuffle, read.position))
        drafts = self._reserved(wanted, read.position)
        coming |= drafts.keys()
        self._coming.update(dict.fromkeys(drafts))
        own = {key: draft for key, draft in drafts.items() if isinstance(draft, Path)}
        if with_early and (beside := self._early.beside(own, read.position, self.is_coming)):
            found = self._reserved(list(beside), max(beside.values()))
            self._early.note_fetched(found, beside)
            own |= {key: draft for key, draft in found.items() if isinstance(draft, Path)}
        self._submit(own, read.urgency)
        return coming

    def _reserved(self, keys: Sequence[BlockKey], position: int) -> dict[BlockKey, Path | NotReserved]:
        """Reserve room for blocks as `BlockCache.reserve` does, and leave out the blocks that do not fit."""
        drafts = self._cache.reserve([self._blocks.block(key) for key in keys], position, self._next_uses)
        return {key: draft for key, draft in zip(keys, drafts, strict=True) if draft is not NotReserved.FULL}

    def _submit(self, drafts: Mapping[BlockKey, Path], urgency: int) -> None:
        """Fetch blocks to their drafts. One request fetches consecutive small blocks."""
        runs: list[list[BlockKey]] = []
        for key in sorted(drafts):
            is_next = bool(runs) and runs[-1][-1] == (key[0], key[1] - 1)
            if is_next and self._blocks.block(key).stop - self._blocks.block(runs[-1][0]).start <= LARGEST_TOGETHER:
                runs[-1].append(key)
            else:
                runs.append([key])
        found = [[(self._blocks.block(key), drafts[key]) for key in run] for run in runs]
        arrays = [self._blocks.arrays[run[0][0]] for run in runs]
        requests = [block_request(self._cache, array, parts, urgency) for array, parts in zip(arrays, found, strict=True)]
        for run, parts, future in zip(runs, found, self._fetching.submit(requests) if requests else [], strict=True):
            self._coming.update(dict.fromkeys(run, future))
            future.add_done_callback(lambda done, run=run, parts=parts: self._done.append((run, parts, done)))  # type: ignore[misc]

    def collect(self) -> None:
        """Note the blocks that have arrived, and release the room of those that could not be fetched."""
        while self._done:
            run, blocks, done = self._done.popleft()
            for key in run:
                self._coming.pop(key, None)
            if problem := done.exception():
                for block, draft in blocks:
                    self._cache.release(block, draft, problem)

    def wait(self, key: BlockKey) -> None:
        """Wait for a block that is being fetched; if another process fetches it, wait only briefly, because that process may have died."""
        if key not in self._coming:
            return
        if block := self._coming[key]:
            wait([block])
            return
        path, until = self._cache.path(self._blocks.block(key)), time.monotonic() + _TO_ARRIVE
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        del self._coming[key]
