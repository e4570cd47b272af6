"""The use of the cached blocks of a shuffle: how much of a block is still to be read, and when it is read next."""

import os
from bisect import bisect_right
from collections.abc import Collection, Container, Iterator, Mapping, Sequence

import numpy as np

from phyagi_assets.order.blocks import Blocks, Moment
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.block_cache import NEVER
from phyagi_assets.reading.byte_ranges import Block, BlockKey, RemoteArray

_WORTH = 0.5
"""Smallest share of a block that the processes of this machine must still use for the whole block to be fetched."""
_MOMENTS = 32
"""Largest number of moments to keep: blocks are fetched for future positions, and evicted according to the present ones of all readers."""


class BlockUses:
    """The use of the blocks of a shuffle, each given as the index of an array and the number of the block in it.

    Parameters
    ----------
    blocks
        The blocks in each segment.
    arrays
        The token arrays, followed by the mask of each.
    order
        Name of the order in which they are read.
    """

    def __init__(self, blocks: Sequence[Blocks], arrays: Sequence[RemoteArray], order: str) -> None:
        self.order = order
        self._blocks, self._shards = blocks, len(arrays) // 2
        self._arrays = {array.digest: (number, array) for number, array in enumerate(arrays) if array.block and not array.is_whole}
        self._starts = [segment.start for segment in blocks]
        self._share = _share_of_machine()
        self._moments: dict[tuple[int, int], Moment] = {}
        """Recent moments, by start of the segment and position."""

    @property
    def arrays(self) -> Collection[str]:
        """Digests of the arrays that are read in the blocks of the shuffle."""
        return self._arrays.keys()

    def are_worth(self, blocks: Sequence[BlockKey], position: int) -> Sequence[bool]:
        """Return, for each block, whether the processes of this machine use enough of it from a position on to fetch all of it."""
        worth = [True] * len(blocks)
        for segment, chosen, group, number in self._by_segment(blocks, position):
            shares = self._share * segment.share_to_come(group, number, self._moment(segment, position))
            for i, is_worth in zip(chosen, (shares >= _WORTH).tolist(), strict=True):
                worth[i] = is_worth
        return worth

    def next_uses(self, cached: Sequence[Block], position: int, others: Sequence[int], shared: Container[str]) -> Sequence[int]:
        """Return the position of the next use of cached blocks; `NEVER` for blocks of which no use is known.

        Parameters
        ----------
        others
            Positions of other readers in the same order. A block that one of them uses after n samples counts as used after n here.
        shared
            Digests of arrays that are read in other orders. Their blocks may be used at any time, unless they are blocks of this order.
            Whole arrays, which are small or all fit in the cache, may take their room.
        """
        at_any_time = position if self._arrays else NEVER - 1
        uses = [at_any_time if block.array in shared else NEVER for block in cached]
        known = []
        for i, block in enumerate(cached):
            number, array = self._arrays.get(block.array, (-1, None))
            if array and array.block_at(array.number_of(block)) == block:
                known.append((i, (number, array.number_of(block))))
                uses[i] = NEVER
        for there in (position, *others):
            for segment, chosen, group, blocks in self._by_segment([key for _, key in known], there):
                for one, use in zip(chosen, segment.next_uses(group, blocks, self._moment(segment, there)).tolist(), strict=True):
                    uses[known[one][0]] = min(uses[known[one][0]], use - there + position)
        return uses

    def begin_soon(self, blocks: Sequence[BlockKey], position: int) -> Mapping[BlockKey, int]:
        """Return those of the blocks whose use begins within half a window after a position, with the position of their first use."""
        found: dict[BlockKey, int] = {}
        for segment, chosen, group, number in self._by_segment(blocks, position):
            exist = (number >= 0) & (number < -(-segment.samples // np.maximum(segment.block, 1))[group])
            begins = segment.begins(group[exist], number[exist], self._moment(segment, position))
            soon = (position < begins) & (begins <= position + segment.window // 2)
            known = [blocks[chosen[i]] for i in np.flatnonzero(exist)[soon].tolist()]
            found.update(zip(known, begins[soon].tolist(), strict=True))
        return found

    def _by_segment(self, blocks: Sequence[BlockKey], position: int) -> Iterator[tuple[Blocks, list[int], Ints, Ints]]:
        """Yield the segments that read blocks, with the indices of these blocks, and their groups and numbers."""
        chosen: dict[int, list[int]] = {}
        segments = {}
        for i, (array, _) in enumerate(blocks):
            if segment := self._segment(array % self._shards, position):
                segments[segment.start] = segment
                chosen.setdefault(segment.start, []).append(i)
        for start, segment in segments.items():
            groups = [segment.shards[blocks[i][0] % self._shards].group for i in chosen[start]]
            yield segment, chosen[start], np.array(groups, dtype=np.int64), np.array([blocks[i][1] for i in chosen[start]], dtype=np.int64)

    def _moment(self, segment: Blocks, position: int) -> Moment:
        moment = self._moments.get((segment.start, position))
        if moment is None:
            if len(self._moments) >= _MOMENTS:
                self._moments.clear()
            moment = self._moments[segment.start, position] = segment.moment(position)
        return moment

    def _segment(self, shard: int, position: int) -> Blocks | None:
        """Return the segment at a position, or else the next or last one, that reads a token array in blocks."""
        now = bisect_right(self._starts, position) - 1
        return next((segment for segment in (*self._blocks[now:], *reversed(self._blocks[:now])) if shard in segment.shards), None)


def _share_of_machine() -> float:
    """Return the share of the training processes that run on this machine, by the variables of `torchrun`; 1 without them."""
    try:
        return min(1.0, int(os.environ["LOCAL_WORLD_SIZE"]) / int(os.environ["WORLD_SIZE"]))
    except (KeyError, ValueError, ZeroDivisionError):
        return 1.0
