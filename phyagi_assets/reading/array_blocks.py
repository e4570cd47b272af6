"""The division of arrays into the blocks in which they are cached, and of ranges into pieces that lie in one block each."""

from collections.abc import Sequence

import numpy as np

from phyagi_assets.reading.byte_ranges import Block, BlockKey, Ranges, RemoteArray

Piece = tuple[int, int, int, int, int]
"""Part of a range in one block: array, first byte, end, number of the block, and place in the read."""
NO_BLOCK = -1 << 40
"""Number of the block of a range that is in none."""


class ArrayBlocks:
    """Arrays and the blocks into which they are divided."""

    def __init__(self, arrays: Sequence[RemoteArray]) -> None:
        self.arrays = list(arrays)
        columns = [[getattr(array, name) for array in arrays] for name in ("block", "phase", "overlap")]
        self._size, self._phase, self._overlap = np.array(columns, dtype=np.int64).reshape(3, -1)

    def block(self, key: BlockKey) -> Block:
        """Return a block."""
        return self.arrays[key[0]].block_at(key[1])

    def pieces(self, ranges: Ranges) -> list[Piece]:
        """Cut ranges into pieces that do not cross blocks."""
        array, begin, end = ranges.array, ranges.begin, ranges.end
        place = np.cumsum(end - begin) - (end - begin)
        found: list[Piece] = []
        while True:
            size, phase = self._size[array], self._phase[array]
            number = np.where(size > 0, (begin - phase) // np.maximum(size, 1), NO_BLOCK)
            stop = np.where(size > 0, phase + (number + 1) * size + self._overlap[array], end)
            columns = array, begin, np.minimum(end, stop), number, place
            found += zip(*(column.tolist() for column in columns), strict=True)
            over = end > stop
            if not over.any():
                return found
            array, place, end, begin = array[over], (place + stop - begin)[over], end[over], stop[over]
