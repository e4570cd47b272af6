"""The schedule of a segment: the shuffle group that each position draws from."""

from collections.abc import Sequence

import numpy as np

from phyagi_assets.formats.plan import Concat, Segment
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.schedule import Interleaved, InTurn


class GroupSchedule:
    """The schedule of the groups of a segment, which are numbered corpus by corpus.

    A schedule of the corpora gives the corpus of a position. If the corpus has several groups, a schedule of these groups gives the group.
    """

    def __init__(self, segment: Segment, concat: Concat) -> None:
        self._schedule = corpus_schedule(concat, [(source.rate, source.drawn) for source in segment.sources])
        self._within = {
            number: (Interleaved if concat == "interleaved" else InTurn)([group.samples for group in source.groups])
            for number, source in enumerate(segment.sources)
            if len(source.groups) > 1
        }
        """Schedules of the groups of each corpus with several groups, by number of the corpus in the segment."""
        self._source_of_group = [number for number, source in enumerate(segment.sources) for _ in source.groups]
        self._first_group = np.cumsum([0, *(len(source.groups) for source in segment.sources)])

    def locate(self, position: Ints) -> tuple[Ints, Ints]:
        """Return the group of each position and the number of earlier draws from it: 1-D arrays as long as `position`."""
        source, drawn = self._schedule.locate(position)
        group = self._first_group[source]
        for number, within in self._within.items():
            inside = np.flatnonzero(source == number)
            chosen, drawn[inside] = within.locate(drawn[inside])
            group[inside] += chosen
        return group, drawn

    def draws_before(self, position: int) -> list[list[int]]:
        """Return the number of draws from each group of each corpus in the first `position` positions."""
        return [
            self._within[number].draws_before(draws).tolist() if number in self._within else [draws]
            for number, draws in enumerate(self._schedule.draws_before(position).tolist())
        ]

    def position_of(self, group: int, drawn: int) -> int:
        """Return the position of draw number `drawn` from a group, counted from 0."""
        source = self._source_of_group[group]
        if source in self._within:
            drawn = self._within[source].position_of(group - int(self._first_group[source]), drawn)
        return self._schedule.position_of(source, drawn)


def corpus_schedule(concat: Concat, amounts: Sequence[tuple[int, int]]) -> Interleaved | InTurn:
    """Return the schedule of corpora: interleaved by rate, or one after another, each with its samples of an epoch.

    Parameters
    ----------
    amounts
        Rate of each corpus, and number of its samples in an epoch of the mixture.
    """
    if concat == "interleaved":
        return Interleaved([rate for rate, _ in amounts])
    return InTurn([drawn for _, drawn in amounts])
