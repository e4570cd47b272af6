"""Copies of many short runs of arrays.

NumPy has no call that joins ranges of an array. Views of single ranges cost half a microsecond each, and an index per token costs several
nanoseconds per token. Here, the array is seen as overlapping windows of 128 bytes, one beginning at each entry, and runs are copied window
by window::

    array     · · · A A A A A · · · · B B B · · ·
    windows         [A A A A] [A · · ·] [B B B ·]
    target    A A A A A B B B · ·

The last window of a run reaches beyond the end of the run. The windows are written in order, so the next run overwrites the surplus.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints

_WINDOW = 128
"""Size of a window, in bytes."""
_AT_ONCE = 2048
"""Number of windows to copy at once, so that they stay in the processor's cache."""

Array = npt.NDArray[Any]


def joined_runs(
    open_array: Callable[[int], Array], number: Ints, start: Ints, length: Ints, dtype: npt.DTypeLike, absent: int = -1
) -> Array:
    """Return runs of several arrays, one after the other.

    Parameters
    ----------
    open_array
        Returns the array of a number, 1-D.
    number
        Number of the array of each run, 1-D.
    start, length
        First entry of each run in its array, and number of entries, 1-D.
    dtype
        dtype of all arrays.
    absent
        Number of runs that are in no array, and whose entries are left undefined.

    Returns
    -------
    array
        The entries of the runs in the order of the runs, 1-D.

    Examples
    --------
    >>> arrays = [np.arange(10), np.arange(20, 30)]
    >>> joined_runs(arrays.__getitem__, np.array([1, 0]), np.array([7, 2]), np.array([3, 4]), np.int64).tolist()
    [27, 28, 29, 2, 3, 4, 5]
    """
    place = np.cumsum(length) - length
    joined = _empty(int(length.sum()), dtype)
    if bool((number == absent).any()):
        chosen = np.flatnonzero(number != absent)
        number, start, length, place = number[chosen], start[chosen], length[chosen], place[chosen]
    if not len(number):
        return _without_margin(joined)
    if bool((number == number[0]).all()):
        _copy(open_array(int(number[0])), start, length, joined, place)
        return _without_margin(joined)
    order = np.argsort(number, kind="stable")
    lengths = length[order]
    grouped, at = _empty(int(lengths.sum()), dtype), np.cumsum(lengths) - lengths
    numbers, firsts = np.unique(number[order], return_index=True)
    for of, low, high in zip(numbers.tolist(), firsts.tolist(), [*firsts[1:].tolist(), len(order)], strict=True):
        _copy(open_array(of), start[order[low:high]], lengths[low:high], grouped, at[low:high])
    in_grouped = np.empty_like(at)
    in_grouped[order] = at
    _copy(_without_margin(grouped), in_grouped, length, joined, place)
    return _without_margin(joined)


def _empty(length: int, dtype: npt.DTypeLike) -> Array:
    """Return an array with room for the surplus of the last window."""
    dtype = np.dtype(dtype)
    return np.empty(length + _WINDOW // dtype.itemsize, dtype)


def _without_margin(array: Array) -> Array:
    return array[: len(array) - _WINDOW // array.itemsize]


def _copy(array: Array, start: Ints, length: Ints, target: Array, place: Ints) -> None:
    """Copy runs of an array to ascending places of a target. Entries after a run, up to the size of a window, become undefined."""
    if len(start) and int((start + length).max()) > len(array):
        raise IndexError(f"a run ends at {int((start + length).max())} in an array of {len(array)}")
    entries = _WINDOW // array.itemsize
    windows = (length + (entries - 1)) // entries
    late = np.flatnonzero(start + windows * entries > len(array))
    if len(late):  # their last windows would end beyond the array
        windows[late] = 0
    ends = np.cumsum(windows)
    to = np.arange(int(ends[-1]))
    to -= np.repeat(ends - windows, windows)
    to *= entries
    begin = np.repeat(start, windows)
    begin += to
    to += np.repeat(place, windows)
    if len(to):
        source_windows, target_windows = _windows(array, entries), _windows(target, entries)
        for first in range(0, len(to), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            target_windows[to[some]] = source_windows[begin[some]]
    for from_, to_, many in zip(start[late].tolist(), place[late].tolist(), length[late].tolist(), strict=True):
        target[to_ : to_ + many] = array[from_ : from_ + many]


def _windows(array: Array, entries: int) -> Array:
    """Return the windows that begin at the entries of an array, as one item each."""
    kind = np.dtype((np.void, entries * array.itemsize))
    return np.ndarray((len(array) - entries + 1,), kind, array, strides=(array.itemsize,))
