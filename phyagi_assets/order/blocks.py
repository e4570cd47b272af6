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

    def share_to_come(self, group: int, number: int, position: int) -> float:
        """Return the share of a block that is still to be read in the current epoch of its group, or in the next one if that is all."""
        slot, place, size, _ = self._state(group, np.array([number]), position)
        left = int(place[0] + size[0]) - slot
        return 1.0 if left <= 0 else min(1.0, left / int(size[0]))

    def next_uses(self, group: int, numbers: Sequence[int], position: int) -> list[int]:
        """Return the positions from a given one on at which blocks of a group are used next, to within a slot."""
        of = np.array(numbers, dtype=np.int64)
        slot, place, size, slots = self._state(group, of, position)
        drawn = int(self.drawn(position)[group])
        epoch, index = divmod(drawn, int(self.samples[group]))
        begin = slots.begin(np.maximum(place, slot)) - index
        later, key = self._slots(group, epoch + 1, len(of))
        following = later.begin(unpermuted(of, later.blocks, key)) + int(self.samples[group]) - index
        draws = np.maximum(np.where(place + size > slot, begin, following), 0)
        uses: list[int] = (position + (draws / self.share[group]).astype(np.int64)).tolist()
        return uses

    def _state(self, group: int, numbers: Ints, position: int) -> tuple[int, Ints, Ints, Slots]:
        """Return the slot at a position, the place and the size of blocks in that epoch, and the slots of the epoch."""
        epoch, index = divmod(int(self.drawn(position)[group]), int(self.samples[group]))
        slots, key = self._slots(group, epoch, len(numbers))
        slot = int(slots.of(np.full(len(numbers), index))[0]) if len(numbers) else 0
        return slot, unpermuted(numbers, slots.blocks, key), slots.size(numbers), slots

    def _slots(self, group: int, epoch: int, count: int) -> tuple[Slots, Words]:
        key = np.repeat(epoch_key(self.key[group : group + 1], np.array([epoch])), count)
        return Slots(np.full(count, self.samples[group]), np.full(count, self.block[group]), key), key
