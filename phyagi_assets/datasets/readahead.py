"""Read scattered stretches of mapped files from the disk in parallel.

A page that is not in memory is read when it is touched: each waits for the one before, and with it comes as much of the file around it as
the device reads ahead, megabytes for a sample of a few kilobytes. Announced beforehand (``madvise``), the stretches are read side by side,
and nothing else.
"""

import mmap
import resource

import numpy as np

from phyagi_assets.order.permutation import Ints

_MOST = 128 << 10
"""Bytes per announcement: a device that reads ahead this much reads no more of a longer one."""


def announce(mapping: mmap.mmap, begin: Ints, size: Ints) -> None:
    """Have stretches of a mapped file read from the disk, without waiting for them.

    Parameters
    ----------
    mapping
        The file.
    begin, size
        First byte and number of bytes of each stretch; 1-D, parallel.
    """
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], (begin + size)[order]
    pieces = -(-(end - begin) // _MOST)
    of = np.repeat(np.arange(len(begin)), pieces)
    first = begin[of] + (np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * _MOST
    page = first // mmap.PAGESIZE * mmap.PAGESIZE
    for at, bytes_ in zip(page.tolist(), (np.minimum(first + _MOST, end[of]) - page).tolist(), strict=True):
        mapping.madvise(mmap.MADV_WILLNEED, at, bytes_)


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
