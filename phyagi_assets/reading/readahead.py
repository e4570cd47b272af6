"""Parallel reading of scattered ranges of mapped files from disk.

The system reads a page that is not in memory when it is first accessed, one page after another, and together with each page it reads ahead:
megabytes for a sample of a few kilobytes. Ranges that are announced beforehand (``madvise``) are read in parallel and without read-ahead.
"""

import mmap
import resource

import numpy as np

from phyagi_assets.order.permutation import Ints

_MAX_BYTES = 128 << 10
"""Largest size of one announcement, in bytes; of a longer range, the system reads only as much as the device's read-ahead."""


def announce(mapping: mmap.mmap, begin: Ints, size: Ints) -> None:
    """Ask the system to read ranges of a mapped file from disk, without waiting for them.

    Parameters
    ----------
    begin, size
        First byte and number of bytes of each range; 1-D, of equal length.
    """
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], (begin + size)[order]
    pieces = -(-(end - begin) // _MAX_BYTES)
    of = np.repeat(np.arange(len(begin)), pieces)
    first = begin[of] + (np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * _MAX_BYTES
    page = first // mmap.PAGESIZE * mmap.PAGESIZE
    for at, bytes_ in zip(page.tolist(), (np.minimum(first + _MAX_BYTES, end[of]) - page).tolist(), strict=True):
        mapping.madvise(mmap.MADV_WILLNEED, at, bytes_)


class DiskReads:
    """Detects whether reads come from disk; only then are announcements worth their system calls."""

    def __init__(self) -> None:
        self.expected = True
        self._before = _read_counters()

    def observe(self) -> None:
        """Check whether this process has read from disk since the last call."""
        now = _read_counters()
        self.expected, self._before = now != self._before, now


def _read_counters() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_inblock, usage.ru_majflt
