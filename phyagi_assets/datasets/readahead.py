"""Reading scattered rows of mapped files from the disk together, where they are not in memory.

A page that is not in memory is read when it is touched: each waits for the one before, and with it comes as much of the file around it as
the device reads ahead, megabytes for a sample of a few kilobytes. Announced beforehand (``madvise``), the rows are read side by side, and
nothing else.
"""

import mmap
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.order.permutation import Ints

_MOST = 128 << 10
"""Bytes in an announcement: of a longer one, a device that reads ahead no more than this would read no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedRows:
    """The samples of a token array, as rows of its mapped file."""

    octets: memoryview
    """The bytes of the tokens."""
    dtype: np.dtype[Any]
    mapping: mmap.mmap
    offset: int
    """Where they begin in it."""
    stride: int
    """Bytes from one row to the next."""
    width: int
    """Bytes of a row; rows overlap where it is more than the stride."""

    @classmethod
    def of(cls, path: Path, seq_len: int, ahead: int) -> "MappedRows":
        """Map the rows of a ``.npy`` file, each of `seq_len` tokens and some of those that follow."""
        array = np.load(path, mmap_mode="r")
        mapping, offset, size = array.base, array.offset % mmap.ALLOCATIONGRANULARITY, array.itemsize
        mapping.madvise(mmap.MADV_RANDOM)
        octets = memoryview(mapping)[offset : offset + array.nbytes]
        return cls(octets=octets, dtype=array.dtype, mapping=mapping, offset=offset, stride=seq_len * size, width=(seq_len + ahead) * size)

    def announce(self, rows: Ints) -> None:
        """Have rows read from the disk, without waiting for them."""
        begin = np.sort(rows)[:, None] * self.stride + self.offset
        pieces = begin + np.arange(0, self.width, _MOST)
        first = pieces // mmap.PAGESIZE * mmap.PAGESIZE
        sizes = np.minimum(pieces + _MOST, begin + self.width) - first
        for at, size in zip(first.ravel().tolist(), sizes.ravel().tolist(), strict=True):
            self.mapping.madvise(mmap.MADV_WILLNEED, at, size)


class DiskReads:
    """Whether what is read comes from the disk: as long as it does, announcing is worth its system calls."""

    def __init__(self) -> None:
        self.expected = True
        self._before = _so_far()

    def observe(self) -> None:
        """Look whether anything came from the disk since the last time."""
        now = _so_far()
        self.expected, self._before = now != self._before, now


def _so_far() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_inblock, usage.ru_majflt
