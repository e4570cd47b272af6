"""Shuffling within a window, by arithmetic: samples that are close in the token arrays stay close in the order.

The samples of a group are divided into blocks of b consecutive samples; the last block can be shorter. In each epoch, the blocks are
permuted, and so are the samples of each block. Then the p-th sample of the block at place j goes to slot j + p, and the samples of each
slot are permuted:

::

    place 0:   0 1 2 3
    place 1:     0 1 2 3             b = 4
    place 2:       0 1 2 3
    slot:      0 1 2 3 4 5 …

So each slot has one sample from each of b blocks, and fewer at both ends of the epoch. The window consists of the samples of these blocks
that are not read yet, at most b². After every b samples, one block is finished and the next one begins. A shuffle buffer of b² samples over
the permuted blocks would mix as well, but the sample at a position could not be computed.
"""

import math

import numpy as np

from phyagi_assets.order.permutation import Ints, Words, epoch_key, permuted, unpermuted

_SMALLEST_BLOCK = 2
"""Smallest number of samples in a block. A window has samples from as many blocks."""


def block_for(window: int, samples: int) -> int:
    """Return the number of samples in a block, given the number of samples in the window; 0 if the window holds all samples of the group.

    Examples
    --------
    >>> block_for(2_000_000, 10**9), block_for(2_000_000, 1_000_000)
    (1414, 0)
    """
    block = max(_SMALLEST_BLOCK, math.isqrt(window))
    return 0 if samples <= max(window, block * block) else block


def windowed(index: Ints, samples: Ints, block: Ints, key: Words) -> Ints:
    """Apply the permutation of an epoch.

    Parameters
    ----------
    index
        Indices in ``range(samples)``, 1-D.
    samples
        Number of samples of the group, one per index.
    block
        Number of samples in a block, 1 or more, one per index.
    key
        Key of the epoch of the group, one per index.

    Examples
    --------
    >>> many = [np.full(7, value) for value in (7, 2)]
    >>> sorted(windowed(np.arange(7), *many, np.full(7, 5, np.uint64)).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    slots = Slots(samples, block, key)
    slot = slots.slot_of(index)
    begin = slots.begin(slot)
    within = permuted(index - begin, slots.begin(slot + 1) - begin, epoch_key(key, 2 * slot + 1))
    place = slots.first(slot) + within
    place += slots.lacks_last(slot) & (place >= slots.last)
    number = permuted(place, slots.blocks, key)
    return number * block + permuted(slot - place, slots.size(number), epoch_key(key, 2 * number + 2))


def unwindowed(sample: Ints, samples: Ints, block: Ints, key: Words) -> Ints:
    """Return the indices that `windowed` maps to the given samples."""
    slots = Slots(samples, block, key)
    number, within = np.divmod(sample, block)
    turn = unpermuted(within, slots.size(number), epoch_key(key, 2 * number + 2))
    place = unpermuted(number, slots.blocks, key)
    slot = place + turn
    rank = place - slots.first(slot) - (slots.lacks_last(slot) & (place > slots.last))
    begin = slots.begin(slot)
    return begin + unpermuted(rank, slots.begin(slot + 1) - begin, epoch_key(key, 2 * slot + 1))


class Slots:
    """The slots of the epochs of groups; all parameters and attributes are parallel 1-D arrays.

    Parameters
    ----------
    samples, block, key
        As in `windowed`.

    Attributes
    ----------
    blocks : int64 array
        Number of blocks.
    last : int64 array
        Place of the last block, which can be shorter than the others.
    """

    def __init__(self, samples: Ints, block: Ints, key: Words) -> None:
        self._block = block
        self.blocks = -(-samples // block)
        self._rest = samples - (self.blocks - 1) * block
        """Number of samples in the last block."""
        keys, chosen, where = np.unique(key, return_index=True, return_inverse=True)
        blocks = self.blocks[chosen]
        self.last = unpermuted(blocks - 1, blocks, keys)[where.reshape(-1)]

    def begin(self, slot: Ints) -> Ints:
        """Return the number of samples in the slots before a slot."""
        # The sum is below 2**62; intermediate results can wrap, but wrap back.
        ends = slot - self.blocks, slot - self._block, slot - self.blocks - self._block
        whole: Ints = _triangle(slot) - _triangle(ends[0]) - _triangle(ends[1]) + _triangle(ends[2])
        whole -= np.maximum(np.minimum(slot - self.last, self._block) - self._rest, 0)
        return whole

    def slot_of(self, index: Ints) -> Ints:
        """Return the slot that contains each index, by bisection."""
        # A slot has at most b samples; all samples of blocks that end before the slot precede it.
        low = index // self._block
        high = np.minimum(low + self._block + 2, self.blocks + self._block - 1)
        for _ in range(int((high - low).max(initial=1)).bit_length()):
            middle = (low + high) // 2
            is_low = self.begin(middle) <= index
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        return low

    def first(self, slot: Ints) -> Ints:
        """Return the place of the first block from which a slot can have a sample."""
        first: Ints = np.maximum(slot - self._block + 1, 0)
        return first

    def lacks_last(self, slot: Ints) -> Ints:
        """Return 1 for each slot in which the last block has no sample only because it is shorter than the others, else 0."""
        turn = slot - self.last
        lacks: Ints = ((turn >= self._rest) & (turn < self._block)).astype(np.int64)
        return lacks

    def size(self, number: Ints) -> Ints:
        """Return the number of samples in each block, given the number of the block."""
        size: Ints = np.where(number == self.blocks - 1, self._rest, self._block)
        return size


def _triangle(count: Ints) -> Ints:
    """Return 1 + 2 + … + count; 0 if the count is negative."""
    count = np.maximum(count, 0)
    sums: Ints = np.where(count % 2 == 0, count // 2 * (count + 1), (count + 1) // 2 * count)
    return sums
