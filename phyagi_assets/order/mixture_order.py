"""The order of training of a plan: the sample at a position, and the positions of a sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.plan import (
    Concat,
    Group,
    Plan,
    PlannedCorpus,
    PlannedIndex,
    Segment,
    Shard,
    Source,
    partition_indices,
    samples_in,
)
from phyagi_assets.order.best_fit import PackedSamples
from phyagi_assets.order.blocks import Blocks, ShardBlocks
from phyagi_assets.order.division import Division
from phyagi_assets.order.packed_runs import OpenIndex, PackedIn, joined, packed_runs
from phyagi_assets.order.packing import Piece, Pieces, Runs
from phyagi_assets.order.permutation import Ints, epoch_key, permuted, unpermuted
from phyagi_assets.order.schedule import Interleaved, InTurn, Schedule
from phyagi_assets.order.windows import unwindowed, windowed

_BLOCK = 1 << 15
"""Number of positions to locate in one pass, so that intermediate arrays fit in the processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Samples, as parallel arrays with one entry per position."""

    corpus: Ints
    """Index of the corpus in the plan."""
    epoch: Ints
    """Number of complete passes over the shuffle group of the sample before this position."""
    piece: Ints
    """Index of the piece of a token array in which the sample begins; see `MixtureOrder.runs`."""
    start: Ints
    """Index in that token array of the first token of the sample; for a packed sample, its number in its index times `seq_len`."""

    def __getitem__(self, chosen: Ints | slice) -> "Located":
        return Located(corpus=self.corpus[chosen], epoch=self.epoch[chosen], piece=self.piece[chosen], start=self.start[chosen])


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedShard:
    """A token array with its corpus and partition."""

    corpus: int
    """Index of the corpus in the plan."""
    partition: int
    """Index of the partition in the corpus."""
    shard: Shard
    index: PlannedIndex | None = None
    """Index of the packed samples of the partition."""


class MixtureOrder:
    """The order of one split of a plan.

    Training has no end. It follows the segments one after another; in each, corpora are mixed by their rates, and each corpus is read in
    epochs. Other splits contain the corpora of the last segment, each once and in order.

    Parameters
    ----------
    split
        ``train``, ``validation`` or ``test``.
    open_index
        Opens the index of a partition with packed samples; needed only to find the tokens of these samples.

    Raises
    ------
    ValueError
        The split has no sample, or the plan draws more samples than 64-bit integers can count.

    Attributes
    ----------
    split : str
        The split.
    shards : list of PlacedShard
        The token arrays that contain the samples.
    division : Division
        The files of the token arrays.
    epoch_length : int
        Positions per epoch of the mixture, in the last segment.
    has_packed : bool
        Whether any sample is packed.
    """

    def __init__(self, plan: Plan, split: str, open_index: OpenIndex | None = None) -> None:
        self.split = split
        self._open_index = open_index
        self.seq_len = plan.seq_len
        self.shards: list[PlacedShard] = []
        self._index: dict[tuple[int, int], int] = {}
        in_training = split == "train"
        segments = plan.segments if in_training else (_single_pass(plan, split),)
        concat: Concat = plan.concat if in_training else "sequential"
        pieces: list[Piece] = []
        self._readers = []
        for segment in segments:
            groups = [self._placed(plan, source, group, split) for source in segment.sources for group in source.groups]
            reader = _SegmentReader(
                segment, groups, concat, seq_len=plan.seq_len, base=len(pieces), shuffled=in_training and plan.shuffle is not False
            )
            self._readers.append(reader)
            pieces += [piece for of in groups for piece in of]
        self.division = Division([placed.shard for placed in self.shards])
        self._pieces = Pieces(pieces)
        self._is_packed = np.array([piece.packed for piece in pieces], dtype=bool)
        self.has_packed = bool(self._is_packed.any())
        self._starts = np.array([segment.start for segment in segments], dtype=np.int64)
        self.epoch_length = segments[-1].drawn

    def _placed(self, plan: Plan, source: Source, group: Group, split: str) -> list[Piece]:
        """Return the pieces that the samples of a group are cut from."""
        corpus = plan.corpora[source.corpus]
        if group.packed:
            samples = [(partition, corpus.partitions[partition].packed_samples(split)) for partition in group.partitions]
            return [
                Piece(
                    shard=self._shard(corpus, source.corpus, partition, split),
                    start=0,
                    stop=count * plan.seq_len,
                    is_last=True,
                    packed=True,
                )
                for partition, count in samples
                if count
            ]
        ranges = list(group.token_ranges(corpus, split))
        return [
            Piece(
                shard=self._shard(corpus, source.corpus, of.partition, split),
                start=of.start,
                stop=of.stop,
                is_last=not group.crosses or number == len(ranges),
            )
            for number, of in enumerate(ranges, start=1)
        ]

    def _shard(self, corpus: PlannedCorpus, number: int, partition: int, split: str) -> int:
        index = self._index.setdefault((number, partition), len(self.shards))
        if index == len(self.shards):
            of = corpus.partitions[partition]
            self.shards.append(PlacedShard(corpus=number, partition=partition, shard=of.shards[split], index=of.index))
        return index

    def __len__(self) -> int:
        """Return the number of positions up to the end of an epoch of the mixture that begins with the last segment."""
        return int(self._starts[-1]) + self.epoch_length

    def locate(self, position: Ints) -> Located:
        """Return the samples at an array of positions, none of them negative."""
        if len(self._readers) == 1 and len(position) <= _BLOCK:
            return self._readers[0].locate(position - self._starts[0])
        columns = np.empty((4, len(position)), dtype=np.int64)
        for begin in range(0, len(position), _BLOCK):
            some, into = position[begin : begin + _BLOCK], columns[:, begin : begin + _BLOCK]
            segment = np.searchsorted(self._starts, some, side="right") - 1
            for number in np.unique(segment).tolist():
                inside = segment == number
                found = self._readers[number].locate(some[inside] - self._starts[number])
                into[:, inside] = found.corpus, found.epoch, found.piece, found.start
        return Located(corpus=columns[0], epoch=columns[1], piece=columns[2], start=columns[3])

    def runs(self, located: Located, ahead: int = 0) -> Runs:
        """Return the location of the tokens of samples in the files of `division`, and of tokens that follow each sample.

        Parameters
        ----------
        ahead
            Tokens after each sample, 0 or 1. After a packed sample comes padding.
        """
        return self.division.of(self._runs(located, self.seq_len + ahead))

    def _runs(self, located: Located, width: int) -> Runs:
        """Return the location of the tokens of samples in the token arrays."""
        if not self.has_packed:
            return self._pieces.runs(located.piece, located.start, width)
        packed = self._is_packed[located.piece]
        found = []
        if not packed.all():
            plain = np.flatnonzero(~packed)
            found.append((plain, self._pieces.runs(located.piece[plain], located.start[plain], width)))
        if packed.any():
            chosen = np.flatnonzero(packed)
            found.append((chosen, packed_runs(self._packed_in(located[chosen]), width)))
        return joined(found, len(packed))

    def _packed_in(self, located: Located) -> list[PackedIn]:
        """Return packed samples by token array."""
        shards, numbers = self._pieces.shard(located.piece), located.start // self.seq_len
        order = np.argsort(shards, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(shards[order])) + 1)
        return [
            PackedIn(index=self._index_of(shard), shard=shard, samples=samples, numbers=numbers[samples])
            for samples in groups
            for shard in [int(shards[samples[0]])]
        ]

    def packed(self, located: Located) -> npt.NDArray[np.bool_]:
        """Return whether each sample is packed, 1-D."""
        return np.asarray(self._is_packed[located.piece])

    def _index_of(self, shard: int) -> PackedSamples:
        placed = self.shards[shard]
        if self._open_index is None or placed.index is None:
            raise ValueError(f"open_index: is not given, and is needed to find the tokens of packed samples, as of {placed.shard.path}")
        return self._open_index(placed.index, self.split)

    def positions_of(self, corpus: int, partition: int, start: int, stop: int, below: int) -> list[int]:
        """Return every position up to a limit at which a sample contains tokens of a partition, even as the label of its last token only.

        Parameters
        ----------
        corpus, partition
            Index of the corpus in the plan, and index of the partition in the corpus.
        start, stop
            Index of the first token, and index after the last token.
        below
            Upper limit of the positions, exclusive.
        """
        shard = self._index.get((corpus, partition))
        if shard is None:
            return []
        ends = [*self._starts[1:].tolist(), below]
        packed: Ints | None = None
        if bool(self._is_packed[self._pieces.shard(np.arange(len(self._is_packed))) == shard].any()):
            packed = self._index_of(shard).holding(start, stop)
        return sorted(
            begin + position
            for reader, begin, end in zip(self._readers, self._starts.tolist(), ends, strict=True)
            for position in reader.positions_of(shard, start, stop, min(end, below) - begin, packed)
        )

    def blocks(self) -> list[Blocks]:
        """Return the blocks of each segment, in the files of `division`."""
        found = [reader.blocks(start) for reader, start in zip(self._readers, self._starts.tolist(), strict=True)]
        return [replace(blocks, shards=self.division.blocks_of_files(blocks.shards)) for blocks in found]

    def given(self, position: int) -> dict[int, int]:
        """Return the number of samples drawn from each corpus before a position, by index of the corpus in the plan."""
        counts: dict[int, int] = {}
        ends = [*self._starts[1:].tolist(), position]
        for reader, start, end in zip(self._readers, self._starts.tolist(), ends, strict=True):
            for corpus, given in reader.given(max(0, min(end, position) - start)).items():
                counts[corpus] = counts.get(corpus, 0) + given
        return counts


class _SegmentReader:
    """The order within one segment; positions count from its start.

    Samples are cut from one sequence of tokens, the line: the pieces of all groups, one after another. A group that crosses partitions
    puts its whole stream of tokens on the line; in any other group, each piece puts only the tokens of its samples there.
    """

    def __init__(
        self, segment: Segment, pieces: Sequence[Sequence[Piece]], concat: Concat, *, seq_len: int, base: int, shuffled: bool
    ) -> None:
        self._seq_len = seq_len
        self._shuffled = shuffled
        self._schedule = _corpus_schedule(segment, concat)
        self._source_of_group = [number for number, source in enumerate(segment.sources) for _ in source.groups]
        self._within = {number: _group_schedule(source, concat) for number, source in enumerate(segment.sources) if len(source.groups) > 1}
        self._corpus = np.array([source.corpus for source in segment.sources], dtype=np.int64)
        groups = [group for source in segment.sources for group in source.groups]
        self._first_group = np.cumsum([0, *(len(source.groups) for source in segment.sources)])
        self._samples = np.array([group.samples for group in groups], dtype=np.int64)
        self._offset = np.array([group.offset for group in groups], dtype=np.int64)
        self._key = np.array([group.key for group in groups], dtype=np.uint64)
        rates = sum(source.rate for source in segment.sources)
        self._share = np.array([of.rate / rates * group.samples / max(of.samples, 1) for of in segment.sources for group in of.groups])
        self._block = np.array([group.block for group in groups], dtype=np.int64)
        self._is_windowed = shuffled and bool(self._block.any())
        self._crosses = [group.crosses for group in groups]
        self._group_of_piece = [number for number, of in enumerate(pieces) for _ in of]
        placed = [(piece, self._crosses[number]) for number, of in enumerate(pieces) for piece in of]
        self._base = base
        self._shard = np.array([piece.shard for piece, _ in placed], dtype=np.int64)
        self._start = np.array([piece.start for piece, _ in placed], dtype=np.int64)
        self._stop = np.array([piece.stop for piece, _ in placed], dtype=np.int64)
        lengths = [piece.stop - piece.start for piece, _ in placed]
        counted = [
            tokens if crosses or piece.packed else samples_in(tokens, seq_len) * seq_len
            for tokens, (piece, crosses) in zip(lengths, placed, strict=True)
        ]
        self._packed = [piece.packed for piece, _ in placed]
        self._end = np.cumsum(counted, dtype=np.int64)
        """End of each piece on the line."""
        self._to_array = self._start - (self._end - np.array(counted, dtype=np.int64))
        """Offset from the line to the token array of each piece, in tokens."""
        first_piece = np.cumsum([0, *map(len, pieces)])[:-1]
        self._begin = np.concatenate([[0], self._end])[first_piece]
        """Start of each group on the line."""

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
            index = self._permuted(index, group, epoch)
        place = self._begin[group] + index * self._seq_len
        piece = np.searchsorted(self._end, place, side="right")
        return Located(corpus=self._corpus[source], epoch=epoch, piece=piece + self._base, start=place + self._to_array[piece])

    def _permuted(self, index: Ints, group: Ints, epoch: Ints) -> Ints:
        """Return the samples at indices of epochs of groups."""
        samples, key = self._samples[group], epoch_key(self._key[group], epoch)
        if not self._is_windowed:
            return permuted(index, samples, key)
        block = self._block[group]
        found = np.empty_like(index)
        plain, within = np.flatnonzero(block == 0), np.flatnonzero(block)
        if len(plain):
            found[plain] = permuted(index[plain], samples[plain], key[plain])
        if len(within):
            found[within] = windowed(index[within], samples[within], block[within], key[within])
        return found

    def _indices_of(self, sample: Ints, group: int, epoch: Ints) -> Ints:
        """Return the indices in epochs of a group at which samples are read."""
        if not self._shuffled:
            return sample
        samples, block = (np.full(len(sample), of[group]) for of in (self._samples, self._block))
        key = epoch_key(np.full(len(sample), self._key[group]), epoch)
        return unwindowed(sample, samples, block, key) if block.any() else unpermuted(sample, samples, key)

    def positions_of(self, shard: int, start: int, stop: int, below: int, packed: Ints | None) -> Iterator[int]:
        """Yield the positions of tokens, given also the packed samples of the token array that contain them."""
        rows: dict[int, set[int]] = {}
        for piece in np.flatnonzero(self._shard == shard).tolist():
            for group, row in self._rows(piece, start, stop, packed):
                rows.setdefault(group, set()).add(row)
        drawn = self._drawn(0, below)
        for group, of in rows.items():
            yield from self._positions_of(np.array(sorted(of)), group, int(drawn[group]))

    def _positions_of(self, rows: Ints, group: int, stop: int) -> Iterator[int]:
        """Yield the positions of samples of a group among its draws up to `stop`, which count from the first epoch of the group."""
        samples, offset, source = int(self._samples[group]), int(self._offset[group]), self._source_of_group[group]
        step = max(1, _BLOCK // len(rows))
        for first in range(offset // samples, -(-stop // samples), step):
            epoch = np.repeat(np.arange(first, min(first + step, -(-stop // samples))), len(rows))
            drawn = epoch * samples + self._indices_of(np.tile(rows, len(epoch) // len(rows)), group, epoch)
            for of_group in (drawn[(drawn >= offset) & (drawn < stop)] - offset).tolist():
                of_source = of_group
                if source in self._within:
                    of_source = self._within[source].position_of(group - int(self._first_group[source]), of_group)
                yield self._schedule.position_of(source, of_source)

    def _rows(self, piece: int, start: int, stop: int, packed: Ints | None) -> Iterator[tuple[int, int]]:
        """Yield the samples that contain tokens of a piece, as pairs of a group and an index in it."""
        if self._packed[piece]:
            group = self._group_of_piece[piece]
            first = -(int(self._to_array[piece]) + int(self._begin[group])) // self._seq_len
            yield from ((group, first + number) for number in ([] if packed is None else packed.tolist()))
            return
        start, stop = max(start, int(self._start[piece])), min(stop, int(self._stop[piece]))
        if start >= stop:
            return
        group = self._group_of_piece[piece]
        to_line = -int(self._to_array[piece]) - int(self._begin[group])
        first, last = start + to_line, stop - 1 + to_line
        if self._crosses[group]:
            low, high = 0, int(self._samples[group]) - 1
        else:  # the last label of the piece's last sample is in the piece too
            low = (int(self._start[piece]) + to_line) // self._seq_len
            high = (int(self._end[piece]) - int(self._begin[group])) // self._seq_len - 1
        for row in range(max((first - 1) // self._seq_len, low), min(last // self._seq_len, high) + 1):
            yield group, row

    def blocks(self, start: int) -> Blocks:
        """Return the blocks, given the first position of the segment."""
        shards: dict[int, ShardBlocks] = {}
        for piece in np.argsort(self._stop - self._start, kind="stable").tolist():  # the blocks of an array are those of its largest piece
            group = self._group_of_piece[piece]
            if self._is_windowed and self._block[group]:
                first = int(self._begin[group] + self._to_array[piece])
                shards[int(self._shard[piece])] = ShardBlocks(group=group, first=first, tokens=int(self._block[group]) * self._seq_len)
            else:
                shards.pop(int(self._shard[piece]), None)
        block = self._block if self._is_windowed else np.zeros_like(self._block)
        return Blocks(
            start=start,
            shards=shards,
            samples=self._samples,
            block=block,
            key=self._key,
            share=self._share,
            drawn=partial(self._drawn, start),
        )

    def _drawn(self, start: int, position: int) -> Ints:
        """Return the number of samples of each group before a position of the plan, and in earlier segments."""
        given = self._schedule.given(max(0, position - start)).tolist()
        of_groups = [self._within[number].given(of).tolist() if number in self._within else [of] for number, of in enumerate(given)]
        return self._offset + np.array([count for of in of_groups for count in of], dtype=np.int64)

    def given(self, position: int) -> dict[int, int]:
        return dict(zip(self._corpus.tolist(), self._schedule.given(position).tolist(), strict=True))


def group_draws(segment: Segment, concat: Concat, position: int) -> dict[tuple[int, int], int]:
    """Return the number of draws from each group in the first `position` positions of a segment, by corpus and group."""
    return {
        (source.corpus, number): count
        for source, given in zip(segment.sources, _corpus_schedule(segment, concat).given(position).tolist(), strict=True)
        for number, count in enumerate(_group_schedule(source, concat).given(given).tolist())
    }


def _corpus_schedule(segment: Segment, concat: Concat) -> Schedule:
    """Return the schedule of the corpora: interleaved by rate, or one after another with the samples that each has in an epoch."""
    if concat == "interleaved":
        return Interleaved([source.rate for source in segment.sources])
    return InTurn([source.drawn for source in segment.sources])


def _group_schedule(source: Source, concat: Concat) -> Schedule:
    """Return the schedule of the shuffle groups of a corpus."""
    return (Interleaved if concat == "interleaved" else InTurn)([group.samples for group in source.groups])


def _single_pass(plan: Plan, split: str) -> Segment:
    """Return a segment that reads each corpus of the last segment once, with the samples of a split."""
    if not plan.total(split, "samples"):
        raise ValueError(f"split: mixture {plan.name!r} has no sample of a split {split!r}")
    sources = []
    for source in plan.current.sources:
        samples = plan.total(split, "samples", source)
        whole = Group(
            partitions=tuple(partition_indices(source)),
            samples=samples,
            offset=0,
            key=0,
            crosses=plan.current.crosses and not source.packed,
            packed=source.packed,
        )
        sources.append(replace(source, rate=samples, drawn=samples, groups=(whole,)))
    return Segment(start=0, sources=tuple(sources), crosses=plan.current.crosses)
