"""Schedules: the corpus that each position of a mixture draws from.

A schedule computes the sources of an array of positions by arithmetic. Both classes have the same methods: `locate` returns the source of
a position and the number of earlier draws from it, `position_of` is the inverse, and `draws_before` counts the draws from each source
before a position.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints

_MAX_RATE_SUM = 1 << 52
"""Largest sum of rates for which the arithmetic below is exact."""


class Interleaved:
    """A schedule that interleaves sources in proportion to rates; every prefix is within 2 draws of the exact share.

    The sources are the leaves of a binary tree. Each node divides its draws between its two sides as evenly as integers allow: of its first
    t draws, the left side gets round(t · left / both). `locate` walks down from the root and, at each node, replaces the position by the
    number of earlier draws of that node. The number of steps is the depth of the tree, which is logarithmic in total / rate.

    Proof of the bound: the rounding error of a node is at most 1/2, and it reaches a source multiplied by the source's share of its side.
    The sides are built by assigning rates, the largest first, to the side with the smaller sum (longest processing time first; Graham,
    "Bounds on Multiprocessing Timing Anomalies", 1969), so that a side with several sources has at most 2/3 of its node. The deviation of
    such a side is therefore at most 1/2 · (1 + 2/3 + 4/9 + …) = 3/2, and the deviation of a source at most 1/2 + 3/2.

    Parameters
    ----------
    rates
        Rate of each source; a source with rate 0 is never drawn from. In every sum(rates) draws, each source is drawn exactly `rate` times.

    Raises
    ------
    ValueError
        No rate is positive, or the sum of the rates is above 2**52.

    Examples
    --------
    >>> source, drawn = Interleaved([2, 1]).locate(np.arange(6))
    >>> source.tolist(), drawn.tolist()
    ([0, 1, 0, 0, 1, 0], [0, 0, 1, 2, 1, 3])
    """

    def __init__(self, rates: Sequence[int]) -> None:
        ordered = sorted((source for source, rate in enumerate(rates) if rate), key=lambda source: (-rates[source], source))
        _require_sum(rates)
        self._sources = len(rates)
        self._left: list[int] = []
        self._both: list[int] = []
        self._children: list[tuple[int, int]] = []
        """Left and right child of each node: the index of a node, or ~source."""
        self._above: dict[int, tuple[int, bool]] = {}
        """Parent of each node or ~source except the root, and whether it is the left child."""
        self._root = self._add(ordered, rates)
        self._arrays = tuple(np.array(column, dtype=np.int64) for column in (self._left, self._both))
        self._below = np.array(self._children, dtype=np.int64).reshape(-1, 2)

    def _add(self, sources: list[int], rates: Sequence[int]) -> int:
        if len(sources) == 1:
            return ~sources[0]
        sides: tuple[list[int], list[int]] = ([], [])
        sums = [0, 0]
        for source in sources:
            side = int(sums[1] < sums[0])
            sides[side].append(source)
            sums[side] += rates[source]
        node = len(self._left)
        self._left.append(sums[0])
        self._both.append(sum(sums))
        self._children.append((0, 0))
        self._children[node] = (self._add(sides[0], rates), self._add(sides[1], rates))
        self._above |= {child: (node, on_left) for child, on_left in zip(self._children[node], (True, False), strict=True)}
        return node

    def locate(self, position: Ints) -> tuple[Ints, Ints]:
        """Return the source at each position and the number of earlier draws from it: 1-D arrays as long as `position`."""
        before = np.asarray(position, dtype=np.int64).copy()
        node = np.full(len(before), self._root, dtype=np.int64)
        walking = np.flatnonzero(node >= 0)
        while len(walking):
            current, count = node[walking], before[walking]
            left, both = (column[current] for column in self._arrays)
            rounds, rest = np.divmod(count, both)
            to_left = _rounded_quotient(rest, left, both)
            goes_left = _rounded_quotient(rest + 1, left, both) > to_left
            to_left += rounds * left
            before[walking] = np.where(goes_left, to_left, count - to_left)
            node[walking] = np.where(goes_left, self._below[current, 0], self._below[current, 1])
            walking = walking[node[walking] >= 0]
        return ~node, before

    def draws_before(self, position: int) -> Ints:
        """Return the number of draws from each source in the first `position` positions."""
        counts = np.zeros(self._sources, dtype=np.int64 if position < 1 << 63 else object)
        reached = [(self._root, position)]
        while reached:
            node, count = reached.pop()
            if node < 0:
                counts[~node] = count
                continue
            rounds, rest = divmod(count, self._both[node])
            left = rounds * self._left[node] + (rest * self._left[node] + self._both[node] // 2) // self._both[node]
            reached += zip(self._children[node], (left, count - left), strict=True)
        return counts

    def position_of(self, source: int, drawn: int) -> int:
        """Return the position of draw number `drawn` from a source, counted from 0."""
        node, count = ~source, drawn
        while node in self._above:
            node, on_left = self._above[node]
            left, both = self._left[node], self._both[node]
            part = left if on_left else both - left
            rounds, rest = divmod(count, part)
            # The largest number of draws of the node of which this side gets at most `rest`: the inverse of the rounding in `locate`.
            before = -((both // 2 - (rest + 1) * both) // left) - 1 if on_left else (rest * both + both // 2) // part
            count = rounds * both + before
        return count


def _require_sum(rates: Sequence[int]) -> None:
    if not 0 < sum(rates) <= _MAX_RATE_SUM:
        raise ValueError(f"rates: their sum is {sum(rates)}; use a sum from 1 to 2**52")


def _rounded_quotient(count: Ints, part: Ints, whole: Ints) -> Ints:
    """Return round(count · part / whole), halves up, exactly: the integer remainder corrects a floating-point quotient."""
    half = whole // 2
    guess = (count.astype(np.float64) * part / whole).astype(np.int64)
    with np.errstate(over="ignore"):
        remainder = count * part + half - guess * whole  # the products wrap, but the difference is small and correct
    return np.add(guess, remainder // whole, dtype=np.int64)


class InTurn:
    """A schedule that draws from one source after another, `rate` times from each, in a cycle.

    Parameters
    ----------
    rates
        Rate of each source; a source with rate 0 is never drawn from.

    Raises
    ------
    ValueError
        No rate is positive, or the sum of the rates is above 2**52.

    Examples
    --------
    >>> source, drawn = InTurn([2, 1]).locate(np.arange(6))
    >>> source.tolist(), drawn.tolist()
    ([0, 0, 1, 0, 0, 1], [0, 1, 0, 2, 3, 1])
    """

    def __init__(self, rates: Sequence[int]) -> None:
        _require_sum(rates)
        self._rates: npt.NDArray[np.int64] = np.array(rates, dtype=np.int64)
        self._ends = np.cumsum(self._rates)

    def locate(self, position: Ints) -> tuple[Ints, Ints]:
        rounds, rest = np.divmod(np.asarray(position, dtype=np.int64), self._ends[-1])
        source = np.searchsorted(self._ends, rest, side="right")
        return source, rounds * self._rates[source] + rest - self._ends[source] + self._rates[source]

    def draws_before(self, position: int) -> Ints:
        rounds, rest = divmod(position, int(self._ends[-1]))
        begun = np.clip(rest - self._ends + self._rates, 0, self._rates)
        counts: Ints = rounds * self._rates + begun
        return counts

    def position_of(self, source: int, drawn: int) -> int:
        rounds, rest = divmod(drawn, int(self._rates[source]))
        return rounds * int(self._ends[-1]) + int(self._ends[source] - self._rates[source]) + rest
