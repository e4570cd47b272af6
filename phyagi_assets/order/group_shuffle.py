"""The shuffle of the groups of a segment, as a whole or within a window."""

from collections.abc import Sequence

import numpy as np

from phyagi_assets.formats.plan import Group
from phyagi_assets.order.permutation import Ints, epoch_key, permuted, unpermuted
from phyagi_assets.order.windows import unwindowed, windowed


class GroupShuffle:
    """The permutations of the epochs of groups.

    Attributes
    ----------
    samples : int64 array
        Number of samples of each group.
    block : int64 array
        Number of samples in a block of each group; 0 for a group that is shuffled as a whole.
    key : uint64 array
        Key of the shuffle of each group.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.samples, self.block = (np.array([getattr(group, name) for group in groups], dtype=np.int64) for name in ("samples", "block"))
        self.key = np.array([group.key for group in groups], dtype=np.uint64)
        self._is_windowed = bool(self.block.any())

    def permuted(self, index: Ints, group: Ints, epoch: Ints) -> Ints:
        """Return the samples at indices of epochs of groups."""
        samples, key = self.samples[group], epoch_key(self.key[group], epoch)
        if not self._is_windowed:
            return permuted(index, samples, key)
        block = self.block[group]
        found = np.empty_like(index)
        plain, within = np.flatnonzero(block == 0), np.flatnonzero(block)
        if len(plain):
            found[plain] = permuted(index[plain], samples[plain], key[plain])
        if len(within):
            found[within] = windowed(index[within], samples[within], block[within], key[within])
        return found

    def unpermuted(self, sample: Ints, group: int, epoch: Ints) -> Ints:
        """Return the indices in epochs of a group that `permuted` maps to samples."""
        samples, block, key = (np.full(len(sample), column[group]) for column in (self.samples, self.block, self.key))
        key = epoch_key(key, epoch)
        return unwindowed(sample, samples, block, key) if self.block[group] else unpermuted(sample, samples, key)
