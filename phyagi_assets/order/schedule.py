"""Which corpus each position of a mixture draws from.

A schedule answers for any position on its own, by arithmetic, and for arrays of them at once. Two of them share an interface: `locate`
gives the source of a position and how often that source was drawn from before it, and `position_of` leads back; `given` counts what a
prefix took of each.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints

_LARGEST = 1 << 52
"""Of the sum of rates: up to it, the arithmetic below is exact."""


class Schedule(Protocol):
    """The order of draws from several sources."""

    def locate(self, position: Ints) -> tuple[Ints, Ints]:
        """The source at each position, and the draws from it before: 1-D arrays as long as `position`."""

    def given(self, position: int) -> Ints:
        """Draws from each source among the first `position`."""

    def position_of(self, source: int, drawn: int) -> int:
        """The position of a source's next draw after `drawn` of them."""


class Interleaved:
    """Draws in proportion to rates, at every prefix within 2 of the exact share.

    The sources are the leaves of a binary tree. Each node deals its draws to its two sides as evenly as whole numbers allow: of the
    first t, the left side has round(t · left / both). A position walks down from the root and becomes the count of draws before it in
    whatever node it is in, so it is found in as many steps as the tree is deep, which is logarithmic in total / rate.

    The bound: a node's rounding is off by 1/2 at most and reaches a source below multiplied by that source's share of the side it is
    on. The sides are made by dealing rates, the largest first, to whatever side has less (longest processing time first; Graham, "Bounds
    on Multiprocessing Timing Anomalies", 1969), which leaves no side of more than one source with over 2/3 of its node. So the deviation
    of a side of several sources is at most 1/2 · (1 + 2/3 + 4/9 + …) = 3/2, and that of a source 1/2 + 3/2.

    Parameters
    ----------
    rates
        Of each source; 0 is never drawn from. Every sum(rates) draws, each source has been drawn from exactly as often as its rate says.

    Raises
    ------
    ValueError
        No rate is positive, or they sum up to more than 2**52.

    Examples
    --------
    >>> source, drawn = Interleaved([2, 1]).locate(np.arange(6))
    >>> source.tolist(), drawn.tolist()
    ([0, 1, 0, 0, 1, 0], [0, 0, 1, 2, 1, 3])
    """

    def __init__(self, rates: Sequence[int]) -> None:
        ordered = sorted((source for source, rate in enumerate(rates) if rate), key=lambda source: (-rates[source], source))
        if not ordered or sum(rates) > _LARGEST:
            raise ValueError(f"rates: sum up to {sum(rates)}; they sum up to 1 or more, and to 2**52 at most")
        self._sources = len(rates)
        self._left: list[int] = []
        self._both: list[int] = []
        self._children: list[tuple[int, int]] = []
        """Of each node: the index of a node, or ~source."""
        self._above: dict[int, tuple[int, bool]] = {}
        """Of each node or ~source but the root: the node that deals to it, and whether it is on the left."""
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
        """The source at each position, and the draws from it before: 1-D arrays as long as `position`."""
        before = np.asarray(position, dtype=np.int64).copy()
        node = np.full(len(before), self._root, dtype=np.int64)
        walking = np.flatnonzero(node >= 0)
        while len(walking):
            here, count = node[walking], before[walking]
            left, both = (column[here] for column in self._arrays)
            rounds, rest = np.divmod(count, both)
            dealt = _rounded(rest, left, both)
            goes_left = _rounded(rest + 1, left, both) > dealt
            dealt += rounds * left
            before[walking] = np.where(goes_left, dealt, count - dealt)
            node[walking] = np.where(goes_left, self._below[here, 0], self._below[here, 1])
            walking = walking[node[walking] >= 0]
        return ~node, before

    def given(self, position: int) -> Ints:
        """Draws from each source among the first `position`."""
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
        """The position of a source's next draw after `drawn` of them."""
        node, count = ~source, drawn
        while node in self._above:
            node, on_left = self._above[node]
            left, both = self._left[node], self._both[node]
            part = left if on_left else both - left
            rounds, rest = divmod(count, part)
            # The first count of the node's draws that has given this side one more, less one: `locate`'s rounding, solved for it.
            before = -((both // 2 - (rest + 1) * both) // left) - 1 if on_left else (rest * both + both // 2) // part
            count = rounds * both + before
        return count


def _rounded(count: Ints, part: Ints, whole: Ints) -> Ints:
    """round(count · part / whole), halves up, exactly: the quotient is guessed in floating point and put right by its remainder."""
    half = whole // 2
    guess = (count.astype(np.float64) * part / whole).astype(np.int64)
    with np.errstate(over="ignore"):
        remainder = count * part + half - guess * whole  # wraps, and is right all the same: it is small
    return np.add(guess, remainder // whole, dtype=np.int64)


class InTurn:
    """One source after the other, each as often as its rate says, and then from the first one again.

    Parameters
    ----------
    rates
        Of each source; 0 is never drawn from.

    Raises
    ------
    ValueError
        No rate is positive, or they sum up to more than 2**52.

    Examples
    --------
    >>> source, drawn = InTurn([2, 1]).locate(np.arange(6))
    >>> source.tolist(), drawn.tolist()
    ([0, 0, 1, 0, 0, 1], [0, 1, 0, 2, 3, 1])
    """

    def __init__(self, rates: Sequence[int]) -> None:
        if not any(rates):
            raise ValueError("rates: are all 0; there is nothing to draw from")
        if sum(rates) > _LARGEST:
            raise ValueError(f"rates: sum up to {sum(rates)}; they sum up to 2**52 at most")
        self._rates: npt.NDArray[np.int64] = np.array(rates, dtype=np.int64)
        self._ends = np.cumsum(self._rates)

    def locate(self, position: Ints) -> tuple[Ints, Ints]:
        """The source at each position, and the draws from it before: 1-D arrays as long as `position`."""
        rounds, rest = np.divmod(np.asarray(position, dtype=np.int64), self._ends[-1])
        source = np.searchsorted(self._ends, rest, side="right")
        return source, rounds * self._rates[source] + rest - self._ends[source] + self._rates[source]

    def given(self, position: int) -> Ints:
        """Draws from each source among the first `position`."""
        rounds, rest = divmod(position, int(self._ends[-1]))
        begun = np.clip(rest - self._ends + self._rates, 0, self._rates)
        counts: Ints = rounds * self._rates + begun
        return counts

    def position_of(self, source: int, drawn: int) -> int:
        """The position of a source's next draw after `drawn` of them."""
        rounds, rest = divmod(drawn, int(self._rates[source]))
        return rounds * int(self._ends[-1]) + int(self._ends[source] - self._rates[source]) + rest
