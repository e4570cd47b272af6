"""Choose how the token arrays of a split are cached: whole, in the blocks of the shuffle, or not at all."""

import logging
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from phyagi_assets.formats.npy import HEADER_BYTES
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.trained_bits import mask_bytes
from phyagi_assets.formatting import short_size
from phyagi_assets.order.blocks import Blocks, Moment
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.byte_ranges import RemoteArray

_BLOCK = 16 << 20
"""Size of a block of an array that is fetched whole, in bytes: one request for it costs a server and the reader little more than half as
much as eight requests for its parts."""
_USABLE = 0.9
"""Share of the cache that arrays are counted on to fill."""
_SHARE_OF_EVALUATION = 0.1
"""Largest share of the cache for a split that is read over and over again."""
_WORTH = 0.5
"""Smallest share of a block that the processes of this machine must still use for all of it to be fetched."""
_MOMENTS = 8
"""Largest number of moments to keep: blocks are fetched for reads to come, and evicted according to the present one."""

logger = logging.getLogger(__name__)


class CacheLayout:
    """The choice of how the arrays of a split are cached.

    Parameters
    ----------
    size
        Size of the arrays of the split, in bytes.
    bound
        Largest size of the cache, in bytes.
    """

    def __init__(self, plan: Plan, order: MixtureOrder, size: int, bound: int) -> None:
        self.blocks = order.blocks()
        """The blocks of the shuffle in each segment."""
        self._shards = {shard: of for blocks in self.blocks for shard, of in blocks.shards.items()}
        self._item = plan.sample_bytes // plan.seq_len
        shards = (shard for partition in plan.all_partitions() for shard in partition.shards.values())
        every = sum(shard.tokens * self._item + (0 if shard.trained is None else mask_bytes(shard.tokens)) for shard in shards)
        self._fits = every <= _USABLE * bound or (order.split != "train" and size <= _SHARE_OF_EVALUATION * bound)
        """Whether all arrays fit in the cache."""
        self._in_blocks = not self._fits and bool(self._shards) and self._window_fits(plan, order, bound)
        """Whether the window of the shuffle fits, with the arrays that are not shuffled within it."""

    def placed(self, array: RemoteArray, shard: int, *, is_mask: bool) -> RemoteArray:
        """Return an array with its place in a cache.

        Parameters
        ----------
        shard
            Index of the token array that it is, or belongs to.
        """
        if self._in_blocks and (of := self._shards.get(shard)):
            if is_mask:
                return replace(array, phase=HEADER_BYTES + of.first // 8, block=max(1, of.tokens // 8), overlap=1)
            return replace(array, phase=HEADER_BYTES + of.first * self._item, block=of.tokens * self._item, overlap=self._item)
        return replace(array, block=_BLOCK, is_whole=True) if self._fits or self._in_blocks else array

    def _window_fits(self, plan: Plan, order: MixtureOrder, bound: int) -> bool:
        whole = (file.tokens * self._item for number, file in enumerate(order.division.files) if number not in self._shards)
        needed = max(blocks.window for blocks in self.blocks) * plan.sample_bytes + sum(whole)
        if needed > _USABLE * bound:
            logger.warning(
                "mixture %r: its window takes %s, and the cache may use %s of its %s, so single samples are fetched, one request for each; "
                "set a larger cache_bytes, or a smaller shuffle.window",
                *(plan.name, short_size(needed), short_size(_USABLE * bound), short_size(bound)),
            )
        return needed <= _USABLE * bound


class BlockUses:
    """The use of the blocks of a shuffle, each given as the index of an array and the number of the block in it.

    Parameters
    ----------
    blocks
        The blocks in each segment.
    shards
        Number of token arrays; the masks of the arrays follow them.
    """

    def __init__(self, blocks: Sequence[Blocks], shards: int) -> None:
        self._blocks, self._shards = blocks, shards
        self._starts = [of.start for of in blocks]
        self._share = _share_of_machine()
        self._moments: dict[tuple[int, int], Moment] = {}
        """The moments that were asked for last, by start of the segment and position."""

    def are_worth(self, blocks: Sequence[tuple[int, int]], position: int) -> Sequence[bool]:
        """Return whether the processes of this machine use so much of each block from a position on that all of it is fetched."""
        worth = [True] * len(blocks)
        for of, chosen, group, number in self._by_segment(blocks, position):
            shares = self._share * of.share_to_come(group, number, self._moment(of, position))
            for i, is_worth in zip(chosen, (shares >= _WORTH).tolist(), strict=True):
                worth[i] = is_worth
        return worth

    def next_uses(self, blocks: Sequence[tuple[int, int]], position: int) -> Sequence[int]:
        """Return the position of the next use of each block; 0 for blocks of arrays that are fetched whole."""
        uses = [0] * len(blocks)
        for of, chosen, group, number in self._by_segment(blocks, position):
            for i, use in zip(chosen, of.next_uses(group, number, self._moment(of, position)).tolist(), strict=True):
                uses[i] = use
        return uses

    def begin_soon(self, blocks: Sequence[tuple[int, int]], position: int) -> Mapping[tuple[int, int], int]:
        """Return those of the blocks whose use begins within half a window after a position, with the position of their first use."""
        found: dict[tuple[int, int], int] = {}
        for of, chosen, group, number in self._by_segment(blocks, position):
            exist = (number >= 0) & (number < -(-of.samples // np.maximum(of.block, 1))[group])
            begins = of.begins(group[exist], number[exist], self._moment(of, position))
            soon = (position < begins) & (begins <= position + of.window // 2)
            known = [blocks[chosen[i]] for i in np.flatnonzero(exist)[soon].tolist()]
            found.update(zip(known, begins[soon].tolist(), strict=True))
        return found

    def _by_segment(self, blocks: Sequence[tuple[int, int]], position: int) -> Iterator[tuple[Blocks, list[int], Ints, Ints]]:
        """Yield the segments that read blocks, with the indices of these blocks, and their groups and numbers."""
        chosen: dict[int, list[int]] = {}
        segments = {}
        for i, (array, _) in enumerate(blocks):
            if of := self._segment(array % self._shards, position):
                segments[of.start] = of
                chosen.setdefault(of.start, []).append(i)
        for start, of in segments.items():
            groups = [of.shards[blocks[i][0] % self._shards].group for i in chosen[start]]
            yield of, chosen[start], np.array(groups, dtype=np.int64), np.array([blocks[i][1] for i in chosen[start]], dtype=np.int64)

    def _moment(self, of: Blocks, position: int) -> Moment:
        moment = self._moments.get((of.start, position))
        if moment is None:
            if len(self._moments) >= _MOMENTS:
                self._moments.clear()
            moment = self._moments[of.start, position] = of.moment(position)
        return moment

    def _segment(self, shard: int, position: int) -> Blocks | None:
        """Return the segment at a position, or else the next or last one, that reads a token array in blocks."""
        now = bisect_right(self._starts, position) - 1
        return next((of for of in (*self._blocks[now:], *reversed(self._blocks[:now])) if shard in of.shards), None)


def _share_of_machine() -> float:
    """Return the share of the training processes that run on this machine, as `torchrun` tells it, else 1."""
    try:
        return min(1.0, int(os.environ["LOCAL_WORLD_SIZE"]) / int(os.environ["WORLD_SIZE"]))
    except (KeyError, ValueError, ZeroDivisionError):
        return 1.0
