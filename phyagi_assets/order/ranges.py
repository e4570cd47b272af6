"""Concatenation of many ranges, and the indices of equal integers."""

from collections.abc import Iterator

import numpy as np

from phyagi_assets.order.permutation import Ints


def concatenated_ranges(start: Ints | int, length: Ints) -> Ints:
    """Return the integers of ranges, one range after another.

    Parameters
    ----------
    start
        First integer of each range, 1-D, or of all ranges.
    length
        Number of integers in each range, 1-D.

    Examples
    --------
    >>> concatenated_ranges(np.array([7, 2]), np.array([3, 2])).tolist()
    [7, 8, 9, 2, 3]
    >>> concatenated_ranges(0, np.array([3, 2])).tolist()
    [0, 1, 2, 0, 1]
    """
    ends = np.cumsum(length)
    ranges: Ints = np.repeat(start - (ends - length), length)
    ranges += np.arange(len(ranges))
    return ranges


def grouped(values: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each distinct integer, ascending, with the indices at which it occurs.

    Examples
    --------
    >>> [(value, places.tolist()) for value, places in grouped(np.array([7, 2, 7]))]
    [(2, [1]), (7, [0, 2])]
    """
    order = np.argsort(values, kind="stable")
    cuts = np.flatnonzero(np.diff(values[order])) + 1
    for places in np.split(order, cuts) if len(order) else ():
        yield int(values[places[0]]), places
