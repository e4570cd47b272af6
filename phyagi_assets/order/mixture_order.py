"""What stands at each position of a mixture: the order of training as a plan says it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from phyagi_assets.order.permutation import Ints, epoch_key, permuted, unpermuted
from phyagi_assets.order.schedule import Interleaved, InTurn, Schedule
from phyagi_assets.plan import Concat, Group, Plan, Segment, Shard, Source

_TOGETHER = 1 << 15
"""Positions that are located at once: what it takes on the way fits the processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Samples, one for each of an array of positions; the arrays are parallel."""

    corpus: Ints
    """Index into the plan's corpora."""
    epoch: Ints
    """How often the sample's shuffle group was read whole before."""
    shard: Ints
    """Index into `MixtureOrder.shards`."""
    row: Ints
    """Which of the shard's samples."""

    def __getitem__(self, chosen: Ints | slice) -> "Located":
        return Located(corpus=self.corpus[chosen], epoch=self.epoch[chosen], shard=self.shard[chosen], row=self.row[chosen])


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedShard:
    """A token array, and whose it is."""

    corpus: int
    partition: int
    """Index into the corpus's partitions."""
    shard: Shard


class MixtureOrder:
    """The order of one split of a plan.

    Training goes on for ever, segment after segment: corpora are mixed by their rates, and each is read in epochs. The other splits are
    what the plan's last segment reads, each corpus once, in order.

    Parameters
    ----------
    plan
        The plan.
    split
        ``train``, ``validation`` or ``test``.

    Raises
    ------
    ValueError
        There is no sample of such a split.

    Attributes
    ----------
    shards : list of PlacedShard
        What the located samples are in.
    epoch_length : int
        Positions in an epoch of the mixture, in the last segment.
    """

    def __init__(self, plan: Plan, split: str) -> None:
        self.shards: list[PlacedShard] = []
        self._index: dict[tuple[int, int], int] = {}
        in_training = split == "train"
        segments = plan.segments if in_training else (_once(plan, split),)
        self._readers = [self._reader(plan, segment, split) for segment in segments]
        self._starts = np.array([segment.start for segment in segments], dtype=np.int64)
        self.epoch_length = segments[-1].drawn

    def _reader(self, plan: Plan, segment: Segment, split: str) -> "_SegmentReader":
        in_training = split == "train"
        for source in segment.sources:
            for index, partition in enumerate(plan.corpora[source.corpus].partitions):
                if split in partition.shards and (source.corpus, index) not in self._index:
                    self._index[source.corpus, index] = len(self.shards)
                    self.shards.append(PlacedShard(corpus=source.corpus, partition=index, shard=partition.shards[split]))
        return _SegmentReader(self, segment, plan.concat if in_training else "sequential", shuffled=in_training and plan.shuffle)

    def shards_of(self, corpus: int, partitions: Sequence[int]) -> list[int]:
        """Where the shards of some of a corpus's partitions are in `shards`; one without this split has none."""
        return [self._index[corpus, partition] for partition in partitions if (corpus, partition) in self._index]

    def __len__(self) -> int:
        """Positions up to the end of an epoch of the mixture, from where the last segment begins."""
        return int(self._starts[-1]) + self.epoch_length

    def locate(self, position: Ints) -> Located:
        """The samples at an array of positions, none of them negative."""
        if len(self._readers) == 1 and len(position) <= _TOGETHER:
            return self._readers[0].locate(position - self._starts[0])
        columns = np.empty((4, len(position)), dtype=np.int64)
        for begin in range(0, len(position), _TOGETHER):
            some, into = position[begin : begin + _TOGETHER], columns[:, begin : begin + _TOGETHER]
            segment = np.searchsorted(self._starts, some, side="right") - 1
            for number in np.unique(segment).tolist():
                inside = segment == number
                found = self._readers[number].locate(some[inside] - self._starts[number])
                into[:, inside] = found.corpus, found.epoch, found.shard, found.row
        return Located(corpus=columns[0], epoch=columns[1], shard=columns[2], row=columns[3])

    def positions_of(self, corpus: int, partition: int, row: int, below: int) -> list[int]:
        """Every position below another at which a sample stands: the inverse of `locate`.

        Parameters
        ----------
        corpus, partition
            Indices into the plan's corpora, and into the corpus's partitions.
        row
            Which of the samples in the partition's array.
        below
            The position up to which to look.
        """
        shards = self.shards_of(corpus, [partition])
        ends = [*self._starts[1:].tolist(), below]
        return [
            start + position
            for reader, start, end in zip(self._readers, self._starts.tolist(), ends, strict=True)
            for shard in shards
            for position in reader.positions_of(shard, row, min(end, below) - start)
        ]

    def given(self, position: int) -> dict[int, int]:
        """The ledger: samples that each corpus has given before a position, by its index in the plan."""
        counts: dict[int, int] = {}
        ends = [*self._starts[1:].tolist(), position]
        for reader, start, end in zip(self._readers, self._starts.tolist(), ends, strict=True):
            for corpus, given in reader.given(max(0, min(end, position) - start)).items():
                counts[corpus] = counts.get(corpus, 0) + given
        return counts


class _SegmentReader:
    """The order inside one segment, by positions that count from its start."""

    def __init__(self, order: MixtureOrder, segment: Segment, concat: Concat, *, shuffled: bool) -> None:
        self._shuffled = shuffled
        self._schedule = _of_corpora(segment, concat)
        self._source_of_group = [number for number, source in enumerate(segment.sources) for _ in source.groups]
        self._within = {number: _of_groups(source, concat) for number, source in enumerate(segment.sources) if len(source.groups) > 1}
        self._corpus = np.array([source.corpus for source in segment.sources], dtype=np.int64)
        groups = [(source.corpus, group) for source in segment.sources for group in source.groups]
        self._first_group = np.cumsum([0, *(len(source.groups) for source in segment.sources)])
        self._samples = np.array([group.samples for _, group in groups], dtype=np.int64)
        self._offset = np.array([group.offset for _, group in groups], dtype=np.int64)
        self._key = np.array([group.key for _, group in groups], dtype=np.uint64)
        self._group_start = np.cumsum(self._samples) - self._samples
        shards = [shard for corpus, group in groups for shard in order.shards_of(corpus, group.partitions)]
        self._shard = np.array(shards, dtype=np.int64)
        self._shard_end = np.cumsum([order.shards[shard].shard.samples for shard in shards], dtype=np.int64)

    def locate(self, position: Ints) -> Located:
        source, drawn = self._schedule.locate(position)
        group = self._first_group[source]
        for number, within in self._within.items():
            inside = np.flatnonzero(source == number)
            chosen, drawn[inside] = within.locate(drawn[inside])
            group[inside] += chosen
        samples = self._samples[group]
        epoch, index = np.divmod(drawn + self._offset[group], samples)
        if self._shuffled:
            index = permuted(index, samples, epoch_key(self._key[group], epoch))
        place = self._group_start[group] + index
        slot = np.searchsorted(self._shard_end, place, side="right")
        shard = self._shard[slot]
        row = place - np.where(slot > 0, self._shard_end[slot - 1], 0)
        return Located(corpus=self._corpus[source], epoch=epoch, shard=shard, row=row)

    def positions_of(self, shard: int, row: int, below: int) -> Iterator[int]:
        for slot in np.flatnonzero(self._shard == shard).tolist():
            place = row + (int(self._shard_end[slot - 1]) if slot else 0)
            group = int(np.searchsorted(self._group_start, place, side="right")) - 1
            samples, offset = int(self._samples[group]), int(self._offset[group])
            source = self._source_of_group[group]
            for epoch in count(offset // samples):
                index = np.array([place - self._group_start[group]])
                if self._shuffled:
                    index = unpermuted(index, samples, epoch_key(self._key[group : group + 1], np.array([epoch])))
                drawn = epoch * samples + int(index[0]) - offset
                if drawn < 0:  # before the segment began
                    continue
                if source in self._within:
                    drawn = self._within[source].position_of(group - int(self._first_group[source]), drawn)
                position = self._schedule.position_of(source, drawn)
                if position >= below:
                    break
                yield position

    def given(self, position: int) -> dict[int, int]:
        return dict(zip(self._corpus.tolist(), self._schedule.given(position).tolist(), strict=True))


def group_draws(segment: Segment, concat: Concat, position: int) -> dict[tuple[int, int], int]:
    """Draws from each group of a segment among its first `position`, by the indices of the corpus and of the group in its source."""
    return {
        (source.corpus, number): count
        for source, given in zip(segment.sources, _of_corpora(segment, concat).given(position).tolist(), strict=True)
        for number, count in enumerate(_of_groups(source, concat).given(given).tolist())
    }


def _of_corpora(segment: Segment, concat: Concat) -> Schedule:
    """Which corpus is drawn from: all at their rates, or one after the other, as much of each as an epoch of the mixture holds."""
    if concat == "interleaved":
        return Interleaved([source.rate for source in segment.sources])
    return InTurn([source.drawn for source in segment.sources])


def _of_groups(source: Source, concat: Concat) -> Schedule:
    """Which of a corpus's shuffle groups is drawn from."""
    return (Interleaved if concat == "interleaved" else InTurn)([group.samples for group in source.groups])


def _once(plan: Plan, split: str) -> Segment:
    """Each corpus of the last segment once, by the samples of a split."""
    if not plan.total(split, "samples"):
        raise ValueError(f"split: mixture {plan.name!r} has no sample of a split {split!r}")
    sources = []
    for source in plan.current.sources:
        samples = plan.total(split, "samples", source)
        chosen = tuple(sorted(index for group in source.groups for index in group.partitions))
        whole = Group(partitions=chosen, samples=samples, offset=0, key=0)
        sources.append(replace(source, rate=samples, drawn=samples, groups=(whole,)))
    return Segment(start=0, sources=tuple(sources))
