"""The blocks of a shuffle within a window: where they lie in the token arrays, and when they are read.

A reader that caches blocks asks how much of a block is still to come in an epoch, and which block is used next.
"""

from collections.abc import Callable, Mapping, Sequence
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
    """Index in the token array of the first token of block 0; negative if it lies in an earlier array."""
    tokens: int
    """Tokens per block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """The blocks of one segment of a plan."""

    start: int
    """First position of the segment."""
    shards: Mapping[int, ShardBlocks]
    """Blocks of token arrays, by index of the array; without arrays that are shuffled as a whole."""
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
        of = self.block > 0
        return int(np.minimum(self.block[of] ** 2, self.samples[of]).sum())

    def moment(self, group: int, position: int) -> "Moment":
        """Return what a group has come to at a position."""
        epoch, index = divmod(int(self.drawn(position)[group]), int(self.samples[group]))
        return Moment(
            epoch=epoch, index=index, position=position, slot=int(self._slots(group, epoch, 1)[0].of(np.array([index], dtype=np.int64))[0])
        )

    def share_to_come(self, group: int, number: int, moment: "Moment") -> float:
        """Return the share of a block that is still to be read in the current epoch of its group, or in the next one if that is all."""
        of = np.array([number])
        slots, key = self._slots(group, moment.epoch, 1)
        size = int(slots.size(of)[0])
        left = int(unpermuted(of, slots.blocks, key)[0]) + size - moment.slot
        return 1.0 if left <= 0 else min(1.0, left / size)

    def next_uses(self, group: int, numbers: Sequence[int], moment: "Moment") -> list[int]:
        """Return the positions from a given moment on at which blocks of a group are used next, to within a slot."""
        of = np.array(numbers, dtype=np.int64)
        slots, key = self._slots(group, moment.epoch, len(of))
        place = unpermuted(of, slots.blocks, key)
        begin = slots.begin(np.maximum(place, moment.slot))
        later, key = self._slots(group, moment.epoch + 1, len(of))
        following = later.begin(unpermuted(of, later.blocks, key)) + int(self.samples[group])
        draws = np.maximum(np.where(place + slots.size(of) > moment.slot, begin, following) - moment.index, 0)
        uses: list[int] = (moment.position + (draws / self.share[group]).astype(np.int64)).tolist()
        return uses

    def _slots(self, group: int, epoch: int, count: int) -> tuple[Slots, Words]:
        key = np.repeat(epoch_key(self.key[group : group + 1], np.array([epoch])), count)
        return Slots(np.full(count, self.samples[group]), np.full(count, self.block[group]), key), key


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What a group has come to at a position."""

    position: int
    epoch: int
    """Number of complete passes over the group."""
    index: int
    """Number of samples of the epoch that were read before."""
    slot: int
    """Slot of the next sample."""
