"""The blocks of a shuffle within a window: where they are in the token arrays, and at which positions they are read.

A reader that caches blocks uses them to find how much of a block an epoch has yet to read, and which block it reads next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints, Words, epoch_key, unpermuted
from phyagi_assets.order.windows import Slots


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardBlocks:
    """The blocks of a token array."""

    group: int
    """Index of the group that reads the array."""
    first: int
    """Index in the token array of the first token of block 0; negative if the token is in an earlier array."""
    tokens: int
    """Tokens per block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """The blocks of one segment of a plan."""

    start: int
    """First position of the segment."""
    shards: Mapping[int, ShardBlocks]
    """Blocks of token arrays, by index of the array; arrays that are shuffled as a whole are left out."""
    samples: Ints
    """Number of samples of each group."""
    block: Ints
    """Number of samples in a block of each group; 0 for a group that is shuffled as a whole."""
    key: Words
    """Key of the shuffle of each group."""
    share: npt.NDArray[np.float64]
    """Share of the positions at which a sample of each group is read."""
    drawn: Callable[[int], Ints]
    """Function that returns the number of samples of each group before a position, counted from the start of its first epoch."""

    @property
    def window(self) -> int:
        """Largest number of samples in the blocks that are read at the same time."""
        windowed = self.block > 0
        return int(np.minimum(self.block[windowed] ** 2, self.samples[windowed]).sum())

    def moment(self, position: int) -> "Moment":
        """Return the progress of each group at a position."""
        epoch, index = np.divmod(self.drawn(position), np.maximum(self.samples, 1))
        windowed = np.flatnonzero(self.block)
        slot = np.zeros_like(index)
        slot[windowed] = self._slots(windowed, epoch[windowed])[0].slot_of(index[windowed])
        return Moment(position=position, epoch=epoch, index=index, slot=slot)

    def share_to_come(self, group: Ints, number: Ints, moment: "Moment") -> npt.NDArray[np.float64]:
        """Return the unread share of each block in the current epoch of its group; 1 for a block that is complete, for the next epoch."""
        slots, key = self._slots(group, moment.epoch[group])
        size = slots.size(number)
        left = unpermuted(number, slots.blocks, key) + size - moment.slot[group]
        return np.where(left <= 0, 1.0, np.minimum(1.0, left / size))

    def begins(self, group: Ints, number: Ints, moment: "Moment") -> Ints:
        """Return the position of the first use of each block in the current epoch of its group, to within a slot.

        For a block that is already in use, this position is at or before the given moment.
        """
        slots, key = self._slots(group, moment.epoch[group])
        draws = slots.begin(unpermuted(number, slots.blocks, key)) - moment.index[group]
        begins: Ints = moment.position + (draws / self.share[group]).astype(np.int64)
        return begins

    def next_uses(self, group: Ints, number: Ints, moment: "Moment") -> Ints:
        """Return the position of the next use of each block at or after a moment, to within a slot."""
        slots, key = self._slots(group, moment.epoch[group])
        place, slot = unpermuted(number, slots.blocks, key), moment.slot[group]
        begin = slots.begin(np.maximum(place, slot))
        later, key = self._slots(group, moment.epoch[group] + 1)
        following = later.begin(unpermuted(number, later.blocks, key)) + self.samples[group]
        draws = np.maximum(np.where(place + slots.size(number) > slot, begin, following) - moment.index[group], 0)
        uses: Ints = moment.position + (draws / self.share[group]).astype(np.int64)
        return uses

    def _slots(self, group: Ints, epoch: Ints) -> tuple[Slots, Words]:
        key = epoch_key(self.key[group], epoch)
        return Slots(self.samples[group], self.block[group], key), key


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Progress of all groups at a position of the order. Each array has one element per group."""

    position: int
    epoch: Ints
    """Number of complete passes over the group."""
    index: Ints
    """Number of samples of the epoch that were read before."""
    slot: Ints
    """Slot of the next sample; 0 if the group is shuffled as a whole."""
