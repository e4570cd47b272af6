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
from phyagi_assets.order.ranges import concatenated_ranges

_WINDOW = 128
"""Size of a window, in bytes."""
_AT_ONCE = 4096
"""Number of windows to copy at once: enough to hide the overhead per call, few enough to stay in the processor's cache."""

Array = npt.NDArray[Any]


def joined_runs(
    open_array: Callable[[int], Array], number: Ints, start: Ints, length: Ints, dtype: npt.DTypeLike, absent: int = -1
) -> Array:
    """Return runs of several arrays, one after another.

    Parameters
    ----------
    open_array
        Function that returns the array with a number, 1-D.
    number
        Number of the array of each run, 1-D.
    start, length
        First entry of each run in its array, and number of entries, 1-D.
    absent
        Array number of runs that are in no array and start at 0; their entries are left undefined.

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
    ends = np.cumsum(length)
    joined = _empty(int(ends[-1]) if len(ends) else 0, dtype)
    present = number != absent
    copied = length if present.all() else length * present
    first = int(number[np.argmax(present)]) if len(number) else absent
    if first == absent:
        return _without_margin(joined)
    if bool(((number == first) | ~present).all()):
        _copy(open_array(first), start, copied, joined, ends - length)
    else:
        grouped, at = _grouped(open_array, number, start, copied, dtype)
        _copy(_without_margin(grouped), at, copied, joined, ends - length)
    return _without_margin(joined)


def _grouped(open_array: Callable[[int], Array], number: Ints, start: Ints, length: Ints, dtype: npt.DTypeLike) -> tuple[Array, Ints]:
    """Return runs one after another, array by array, with a margin, and the place of each run."""
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(length[order])
    at = np.empty_like(ends)
    at[order] = ends - length[order]
    grouped = _empty(int(ends[-1]), dtype)
    for chosen in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        if length[chosen].any():
            _copy(open_array(int(number[chosen[0]])), start[chosen], length[chosen], grouped, at[chosen])
    return grouped, at


def _empty(length: int, dtype: npt.DTypeLike) -> Array:
    """Return an array with room for the surplus of the last window."""
    dtype = np.dtype(dtype)
    return np.empty(length + _WINDOW // dtype.itemsize, dtype)


def _without_margin(array: Array) -> Array:
    return array[: len(array) - _WINDOW // array.itemsize]


def _copy(array: Array, start: Ints, length: Ints, target: Array, place: Ints) -> None:
    """Copy runs of an array to ascending places of a target. Entries after a run, up to the size of a window, become undefined."""
    entries = _WINDOW // array.itemsize
    if int(length.max()) <= entries:  # one window per run
        fits = start <= len(array) - entries
        late = np.flatnonzero(~fits)
        begin, to = (start[fits], place[fits]) if len(late) else (start, place)
    else:
        windows = np.maximum((length + (entries - 1)) // entries, 1)
        late = np.flatnonzero(start + windows * entries > len(array))  # their last windows would end beyond the array
        windows[late] = 0
        within = concatenated_ranges(0, windows) * entries
        begin, to = np.repeat(start, windows) + within, np.repeat(place, windows) + within
    source, into = _windows(array, entries), _windows(target, entries)
    for first in range(0, len(begin), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        into[to[some]] = source[begin[some]]
    for begins, at, many in zip(start[late].tolist(), place[late].tolist(), length[late].tolist(), strict=True):
        if begins + many > len(array):
            raise IndexError(f"a run ends at {begins + many}, beyond the {len(array)} entries of its array")
        target[at : at + many] = array[begins : begins + many]


def _windows(array: Array, entries: int) -> Array:
    """Return the windows that begin at the entries of an array, as one item each."""
    kind = np.dtype((np.void, entries * array.itemsize))
    return np.ndarray((max(0, len(array) - entries + 1),), kind, array, strides=(array.itemsize,))
