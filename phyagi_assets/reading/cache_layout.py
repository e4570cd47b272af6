"""Caching of the token arrays of a split: whole, in the blocks of the shuffle, or not at all."""

import logging
from dataclasses import replace

from phyagi_assets.formats.npy import HEADER_BYTES
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.trained_bits import mask_bytes
from phyagi_assets.formatting import short_size
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.reading.byte_ranges import RemoteArray

_BLOCK = 16 << 20
"""Size of a block of an array that is fetched whole, in bytes: one request for it costs a server and the reader little more than half as
much as eight requests for its parts."""
_USABLE = 0.9
"""Largest share of the cache that arrays are planned to fill."""
_SHARE_OF_EVALUATION = 0.1
"""Largest share of the cache for an evaluation split, which is read repeatedly."""

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
        self._shards = {shard: shard_blocks for blocks in self.blocks for shard, shard_blocks in blocks.shards.items()}
        self._item = plan.sample_bytes // plan.seq_len
        shards = (shard for partition in plan.all_partitions() for shard in partition.shards.values())
        every = sum(shard.tokens * self._item + (0 if shard.trained is None else mask_bytes(shard.tokens)) for shard in shards)
        self._fits = every <= _USABLE * bound or (order.split != "train" and size <= _SHARE_OF_EVALUATION * bound)
        """Whether the arrays of the split are cached whole."""
        self.in_blocks = not self._fits and bool(self._shards) and self._window_fits(plan, order, bound)
        """Whether arrays are cached in the blocks of the shuffle: not all arrays fit, but the window and the other arrays do."""

    def placed(self, array: RemoteArray, shard: int, *, is_mask: bool) -> RemoteArray:
        """Return an array with its place in a cache.

        Parameters
        ----------
        shard
            Index of the token array, or of the token array to which a mask belongs.
        """
        if self.in_blocks and (shard_blocks := self._shards.get(shard)):
            if is_mask:
                return replace(array, phase=HEADER_BYTES + shard_blocks.first // 8, block=max(1, shard_blocks.tokens // 8), overlap=1)
            return replace(
                array, phase=HEADER_BYTES + shard_blocks.first * self._item, block=shard_blocks.tokens * self._item, overlap=self._item
            )
        return replace(array, block=_BLOCK, is_whole=True) if self._fits or self.in_blocks else array

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
