"""The files of the blocks that a reader uses, which stay open from read to read."""

import os
from collections import OrderedDict
from collections.abc import Iterable

from phyagi_assets.reading.array_maps import maps_allowed
from phyagi_assets.reading.block_cache import BlockCache
from phyagi_assets.reading.byte_ranges import NO_BLOCK, ArrayBlocks, BlockKey, Piece

_OPEN_FILES = 2048
"""Largest number of files to keep open: a window has hundreds of blocks per corpus."""


class BlockFiles:
    """Open files of cached blocks."""

    def __init__(self, blocks: ArrayBlocks, cache: BlockCache) -> None:
        self._blocks, self._cache = blocks, cache
        self._files: OrderedDict[BlockKey, tuple[int, int]] = OrderedDict()
        """Descriptor of each file, and the first byte of its block."""
        self._most = maps_allowed(_OPEN_FILES)

    def has(self, key: BlockKey) -> bool:
        """Return whether a block is in the cache. Blocks of whole arrays are rarely evicted; `read` notices it."""
        file = self._files.get(key)
        if file is not None and not self._blocks.arrays[key[0]].is_whole and not os.fstat(file[0]).st_nlink:  # it was evicted
            self._close(key)
            file = None
        return file is not None or self._cache.has(self._blocks.block(key))

    def read(self, pieces: Iterable[Piece], view: memoryview) -> list[Piece]:
        """Read pieces from cached blocks into their places in `view`, and return the other pieces."""
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
                self._close(key)
                missing.append(piece)
        return missing

    def _opened(self, key: BlockKey) -> tuple[int, int] | None:
        """Open the file of a block; None if the block is not in the cache."""
        if key[1] == NO_BLOCK:
            return None
        block = self._blocks.block(key)
        try:
            file = self._files[key] = os.open(self._cache.path(block), os.O_RDONLY), block.start
        except OSError:
            return None
        if len(self._files) > self._most:
            self._close(next(iter(self._files)))
        return file

    def _close(self, key: BlockKey) -> None:
        os.close(self._files.pop(key)[0])

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1][0])
