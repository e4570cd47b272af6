"""The order of training within one segment of a plan: which sample of which corpus is drawn at a position."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from phyagi_assets.formats.plan import Concat, Segment, Source
from phyagi_assets.order.blocks import Blocks, ShardBlocks
from phyagi_assets.order.permutation import Ints, epoch_key, permuted, unpermuted
from phyagi_assets.order.runs import Piece
from phyagi_assets.order.schedule import Interleaved, InTurn
from phyagi_assets.order.windows import unwindowed, windowed

BLOCK = 1 << 15
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


class SegmentOrder:
    """The order within one segment; positions count from its start.

    Samples are cut from one sequence of tokens, the line: the pieces of all groups, one after another. A group that crosses partitions
    puts its whole stream of tokens on the line; in any other group, each piece puts only the tokens of its samples there.
    """

    def __init__(
        self, segment: Segment, pieces: Sequence[Sequence[Piece]], concat: Concat, *, seq_len: int, base: int, shuffled: bool
    ) -> None:
        self._seq_len = seq_len
        self._shuffled = shuffled
        self._schedule = corpus_schedule(concat, [(source.rate, source.drawn) for source in segment.sources])
        self._source_of_group = [number for number, source in enumerate(segment.sources) for _ in source.groups]
        self._within = {number: _group_schedule(source, concat) for number, source in enumerate(segment.sources) if len(source.groups) > 1}
        self._corpus = np.array([source.corpus for source in segment.sources], dtype=np.int64)
        groups = [group for source in segment.sources for group in source.groups]
        self._first_group = np.cumsum([0, *(len(source.groups) for source in segment.sources)])
        self._samples = np.array([group.samples for group in groups], dtype=np.int64)
        self._offset = np.array([group.offset for group in groups], dtype=np.int64)
        self._key = np.array([group.key for group in groups], dtype=np.uint64)
        total = segment.total_rate
        self._share = np.array([of.rate / total * group.samples / max(of.samples, 1) for of in segment.sources for group in of.groups])
        self._block = np.array([group.block for group in groups], dtype=np.int64)
        self._is_windowed = shuffled and bool(self._block.any())
        self._crosses = [group.crosses for group in groups]
        self._group_of_piece = [number for number, of in enumerate(pieces) for _ in of]
        self._pieces = [piece for of in pieces for piece in of]
        self._shard = np.array([piece.shard for piece in self._pieces], dtype=np.int64)
        self._base = base
        is_whole = np.array([group.crosses or group.packed for group in groups], dtype=bool)[self._group_of_piece]
        start = np.array([piece.start for piece in self._pieces], dtype=np.int64)
        tokens = np.array([piece.stop for piece in self._pieces], dtype=np.int64) - start
        counted = np.where(is_whole, tokens, np.maximum(tokens - 1, 0) // seq_len * seq_len)
        self._end = np.cumsum(counted, dtype=np.int64)
        """End of each piece on the line."""
        self._to_array = start - (self._end - counted)
        """Offset from the line to the token array of each piece, in tokens."""
        first_piece = np.cumsum([0, *map(len, pieces)])[:-1]
        self._begin = np.concatenate([[0], self._end])[first_piece]
        """Start of each group on the line."""

    def locate(self, position: Ints) -> Located:
        """Return the samples at an array of positions."""
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
        for number in np.flatnonzero(self._shard == shard).tolist():
            rows.setdefault(self._group_of_piece[number], set()).update(self._rows(number, start, stop, packed))
        drawn = self._drawn(0, below)
        for group, of in rows.items():
            if of:
                yield from self._positions_of(np.array(sorted(of)), group, int(drawn[group]))

    def _positions_of(self, rows: Ints, group: int, stop: int) -> Iterator[int]:
        """Yield the positions of samples of a group among its draws up to `stop`, which count from the first epoch of the group."""
        samples, offset, source = int(self._samples[group]), int(self._offset[group]), self._source_of_group[group]
        step = max(1, BLOCK // len(rows))
        for first in range(offset // samples, -(-stop // samples), step):
            epoch = np.repeat(np.arange(first, min(first + step, -(-stop // samples))), len(rows))
            drawn = epoch * samples + self._indices_of(np.tile(rows, len(epoch) // len(rows)), group, epoch)
            for of_group in (drawn[(drawn >= offset) & (drawn < stop)] - offset).tolist():
                of_source = of_group
                if source in self._within:
                    of_source = self._within[source].position_of(group - int(self._first_group[source]), of_group)
                yield self._schedule.position_of(source, of_source)

    def _rows(self, number: int, start: int, stop: int, packed: Ints | None) -> Iterable[int]:
        """Return the samples that contain tokens of a piece, as indices in its group."""
        piece, group = self._pieces[number], self._group_of_piece[number]
        to_line = -int(self._to_array[number]) - int(self._begin[group])
        if piece.packed:
            return () if packed is None else (to_line // self._seq_len + packed).tolist()
        start, stop = max(start, piece.start), min(stop, piece.stop)
        if start >= stop:
            return ()
        if self._crosses[group]:
            low, high = 0, int(self._samples[group]) - 1
        else:  # the last label of the piece's last sample is in the piece too
            low = (piece.start + to_line) // self._seq_len
            high = (int(self._end[number]) - int(self._begin[group])) // self._seq_len - 1
        first, last = start + to_line, stop - 1 + to_line
        return range(max((first - 1) // self._seq_len, low), min(last // self._seq_len, high) + 1)

    def blocks(self, start: int) -> Blocks:
        """Return the blocks, given the first position of the segment."""
        shards: dict[int, ShardBlocks] = {}
        by_size = sorted(enumerate(self._pieces), key=lambda of: of[1].stop - of[1].start)
        for number, piece in by_size:  # the blocks of an array are those of its largest piece
            group = self._group_of_piece[number]
            if self._is_windowed and self._block[group]:
                first = int(self._begin[group] + self._to_array[number])
                shards[piece.shard] = ShardBlocks(group=group, first=first, tokens=int(self._block[group]) * self._seq_len)
            else:
                shards.pop(piece.shard, None)
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


def group_draws(segment: Segment, concat: Concat, position: int) -> dict[tuple[int, int], int]:
    """Return the number of draws from each group in the first `position` positions of a segment, by corpus and group."""
    schedule = corpus_schedule(concat, [(source.rate, source.drawn) for source in segment.sources])
    return {
        (source.corpus, number): count
        for source, given in zip(segment.sources, schedule.given(position).tolist(), strict=True)
        for number, count in enumerate(_group_schedule(source, concat).given(given).tolist())
    }


def corpus_schedule(concat: Concat, amounts: Sequence[tuple[int, int]]) -> Interleaved | InTurn:
    """Return the schedule of corpora: interleaved by rate, or one after another with the samples that each has in an epoch.

    Parameters
    ----------
    amounts
        Rate of each corpus, and number of its samples in an epoch of the mixture.
    """
    if concat == "interleaved":
        return Interleaved([rate for rate, _ in amounts])
    return InTurn([drawn for _, drawn in amounts])


def _group_schedule(source: Source, concat: Concat) -> Interleaved | InTurn:
    """Return the schedule of the shuffle groups of a corpus."""
    return (Interleaved if concat == "interleaved" else InTurn)([group.samples for group in source.groups])
