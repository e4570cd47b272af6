"""Arrays in a bucket, byte ranges of them, and the blocks in which they are cached."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from phyagi_assets.formats.npy import HEADER_BYTES
from phyagi_assets.order.permutation import Ints

LARGEST_TOGETHER = 4 << 20
"""Largest number of bytes to fetch with one request, unless a block or a range is larger."""

BlockKey = tuple[int, int]
"""A block: the index of its array, and its number in the array."""
Piece = tuple[int, int, int, int, int]
"""Part of a range in one block: array, first byte, end, number of the block, and place in the read."""
NO_BLOCK = -1 << 40
"""Block number of a range that is in no block."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive bytes of an array."""

    array: str
    """Digest of the array."""
    start: int
    """First byte in the file of the array."""
    stop: int
    """Byte after the last one."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteArray:
    """The file of an array in a bucket, and the blocks in which it is cached."""

    key: str
    """Key of the object."""
    digest: str
    """Name of the array in the cache."""
    size: int
    """Size of the object, in bytes."""
    block: int = 0
    """Size of a block, in bytes; 0 if the array is read without a cache."""
    phase: int = 0
    """First byte of one of the blocks."""
    overlap: int = 0
    """Number of bytes by which each block reaches into the next one."""
    is_whole: bool = False
    """Whether the whole array is fetched into the cache in the background."""

    def block_at(self, number: int) -> Block:
        """Return a block by its number, which counts from the one that begins at `phase`."""
        start = self.phase + number * self.block
        return Block(self.digest, max(0, start), min(self.size, start + self.block + self.overlap))

    def number_of(self, block: Block) -> int:
        """Return the number of a block, as `block_at` takes it."""
        return (max(block.start, HEADER_BYTES) - self.phase) // self.block

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks."""
        first = -(self.phase > 0)
        return (self.block_at(number) for number in range(first, -(-(self.size - self.phase) // self.block)))


@dataclass(frozen=True, slots=True)
class Ranges:
    """Byte ranges of arrays, as parallel arrays."""

    array: Ints
    """Index of the array."""
    begin: Ints
    """First byte in the file."""
    end: Ints
    """Byte after the last one."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return int((self.end - self.begin).sum())

    def same_as(self, other: "Ranges") -> bool:
        """Return whether the ranges are those of another read."""
        return all(np.array_equal(one, two) for one, two in ((self.begin, other.begin), (self.end, other.end), (self.array, other.array)))


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
