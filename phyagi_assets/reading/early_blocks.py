"""Small blocks that are fetched before their turn, together with an adjacent block of the array.

A server takes about as long for a small block as for a megabyte. So the request for a block extends to blocks beside it whose use begins
soon. In a window that is a large part of the data, this saves a third of the requests; in a small one, few neighbours are used soon.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from phyagi_assets.formats.npy import HEADER_BYTES
from phyagi_assets.reading.block_uses import BlockUses
from phyagi_assets.reading.byte_ranges import LARGEST_TOGETHER, BlockKey, RemoteArray

_REACH = 3
"""Largest number of blocks on each side of a block that are fetched with it."""


class EarlyBlocks:
    """The choice of blocks that a reader fetches before their turn."""

    def __init__(self, arrays: Sequence[RemoteArray], uses: BlockUses) -> None:
        self._arrays, self._uses = arrays, uses
        self._unused: set[BlockKey] = set()
        """Blocks that were fetched early and not used yet."""
        self._fit = True
        """Whether the cache had room for all of them until they were used."""

    def beside(self, keys: Iterable[BlockKey], position: int, is_coming: Callable[[BlockKey], bool]) -> Mapping[BlockKey, int]:
        """Choose blocks to fetch with others, and return them with the position of their first use.

        Parameters
        ----------
        keys
            Blocks that are about to be fetched, for reading at `position`.
        is_coming
            Function that returns whether a block is in the cache or being fetched.
        """
        small = [key for key in keys if self._fit and self._is_small(key[0])]
        reached = {(array, number + step) for array, number in small for step in range(-_REACH, _REACH + 1)}.difference(small)
        soon = self._uses.begin_soon([key for key in reached if self._exists(key) and not is_coming(key)], position)
        chosen: dict[BlockKey, int] = {}
        for array, number in small:
            size = self._arrays[array].block
            for step in (1, -1):
                key = array, number + step
                while key in soon and key not in chosen and size + self._arrays[array].block <= LARGEST_TOGETHER:
                    chosen[key], size, key = soon[key], size + self._arrays[array].block, (array, key[1] + step)
        return chosen

    def note_fetched(self, keys: Collection[BlockKey], chosen: Collection[BlockKey]) -> None:
        """Note which of the chosen blocks are fetched. If the cache has no room for one, no more are chosen."""
        self._unused.update(keys)
        self._fit &= len(keys) == len(chosen)

    def note_used(self, keys: Iterable[BlockKey], is_coming: Callable[[BlockKey], bool]) -> None:
        """Note that blocks are used. If one that was fetched early has been evicted, no more are chosen."""
        used = self._unused.intersection(keys)
        self._unused -= used
        self._fit &= all(map(is_coming, used))

    def _is_small(self, array: int) -> bool:
        return not self._arrays[array].is_whole and 0 < 2 * self._arrays[array].block <= LARGEST_TOGETHER

    def _exists(self, key: BlockKey) -> bool:
        """Return whether an array has a block of this number, with more bytes than those that overlap the block before it."""
        array = self._arrays[key[0]]
        block = array.block_at(key[1])
        return block.start < block.stop and block.stop - array.overlap > HEADER_BYTES
