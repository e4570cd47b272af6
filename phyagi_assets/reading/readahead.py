"""Parallel reading of scattered ranges of mapped files from disk.

The system reads a page that is not in memory when it is first accessed, one page after another, and together with each page it reads ahead:
megabytes for a sample of a few kilobytes. Ranges that are announced beforehand (``madvise``) are read in parallel and without read-ahead.
"""

import mmap
import resource
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter

import numpy as np

from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.ranges import concatenated_ranges

_MAX_BYTES = 128 << 10
"""Largest size of one announcement, in bytes; of a longer range, the system reads only as much as the device's read-ahead."""


def announce(mapped: Callable[[int], tuple[mmap.mmap, int]], file: Ints, begin: Ints, size: Ints) -> None:
    """Ask the system to read ranges of mapped files from disk, without waiting for them.

    The ranges of all files are cut at once: a block of a mixture of a thousand sources has few ranges in each of a thousand files.

    Parameters
    ----------
    mapped
        Function that returns the mapping of a file, and the offset to which `begin` refers, in bytes.
    file, begin, size
        File, first byte and number of bytes of each range; 1-D, of equal length.
    """
    order = np.lexsort((begin, file))
    begin, size = begin[order], size[order]
    pieces = -(-size // _MAX_BYTES)
    range_of_piece = np.repeat(np.arange(len(begin)), pieces)
    done = concatenated_ranges(0, pieces) * _MAX_BYTES
    cut = zip(
        file[order][range_of_piece].tolist(),
        (begin[range_of_piece] + done).tolist(),
        np.minimum(size[range_of_piece] - done, _MAX_BYTES).tolist(),
        strict=True,
    )
    for number, ranges in groupby(cut, key=itemgetter(0)):
        mapping, offset = mapped(number)
        for _, first, length in ranges:
            past_page = (offset + first) % mmap.PAGESIZE
            mapping.madvise(mmap.MADV_WILLNEED, offset + first - past_page, length + past_page)


class DiskReads:
    """A detector of reads from disk: without any, announcements are not worth their system calls."""

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
