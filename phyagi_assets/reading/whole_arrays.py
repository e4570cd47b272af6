"""Whole arrays that are fetched into the cache in the background."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.fetching import FetchingProcess
from phyagi_assets.reading.block_cache import BlockCache, NextUses
from phyagi_assets.reading.block_requests import block_request
from phyagi_assets.reading.byte_ranges import Block, RemoteArray

_FILLING = 6
"""Number of blocks of whole arrays that are fetched in the background at the same time."""


class WholeArrays:
    """A thread that fetches whole arrays into the cache."""

    def __init__(self, arrays: Sequence[RemoteArray], fetching: FetchingProcess, cache: BlockCache, next_uses: NextUses) -> None:
        self.problem: StoreError | None = None
        """The error that ended the thread."""
        self._blocks = ((array, block) for array in arrays for block in array.blocks())
        self._fetching, self._cache, self._next_uses = fetching, cache, next_uses
        self._free = threading.Semaphore(_FILLING)
        self.is_ended = False
        """Whether no further block is fetched: all were requested, one could not be fetched, or the reader is closed."""
        threading.Thread(target=self._run, name="whole arrays", daemon=True).start()

    def _run(self) -> None:
        try:
            for array, block in self._blocks:
                self._free.acquire()
                if self.is_ended:
                    return
                draft = None if self._cache.has(block) else self._cache.reserve([block], 0, self._next_uses)[0]
                if not isinstance(draft, Path):
                    self._free.release()
                    continue
                future = self._fetching.submit([block_request(self._cache, array, [(block, draft)], 0)])[0]
                future.add_done_callback(partial(self._arrived, block, draft))
        except StoreError as problem:
            self.problem = problem
        finally:
            self.is_ended = True

    def _arrived(self, block: Block, draft: Path, done: "Future[bytes]") -> None:
        self._free.release()
        if problem := done.exception():
            self.is_ended = True  # further blocks are fetched when they are needed
            try:
                self._cache.release(block, draft, problem)
            except StoreError as found:
                self.problem = found
