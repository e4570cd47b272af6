"""The order of training within one segment of a plan: which sample of which corpus is drawn at a position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from phyagi_assets.formats.plan import Concat, Segment, Source
from phyagi_assets.order.blocks import Blocks, ShardBlocks
from phyagi_assets.order.permutation import Ints, epoch_key, permuted, unpermuted
from phyagi_assets.order.runs import Piece
from phyagi_assets.order.schedule import Interleaved, InTurn
from phyagi_assets.order.token_stream import TokenStream
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

    Parameters
    ----------
    pieces
        Pieces that the samples of each group are cut from, for the groups of all corpora.
    base
        Number of pieces of earlier segments.
    """

    def __init__(
        self, segment: Segment, pieces: Sequence[Sequence[Piece]], concat: Concat, *, seq_len: int, base: int, shuffled: bool
    ) -> None:
        groups = [group for source in segment.sources for group in source.groups]
        self._seq_len, self._base, self._shuffled = seq_len, base, shuffled
        self._stream = TokenStream(groups, pieces, seq_len)
        self._schedule = corpus_schedule(concat, [(source.rate, source.drawn) for source in segment.sources])
        self._within = {number: _group_schedule(source, concat) for number, source in enumerate(segment.sources) if len(source.groups) > 1}
        """Schedules of the groups of the corpora with several, by number of the corpus in the segment."""
        self._corpus = np.array([source.corpus for source in segment.sources], dtype=np.int64)
        self._source_of_group = [number for number, source in enumerate(segment.sources) for _ in source.groups]
        self._first_group = np.cumsum([0, *(len(source.groups) for source in segment.sources)])
        self._samples, self._offset, self._block = (
            np.array([getattr(group, name) for group in groups], dtype=np.int64) for name in ("samples", "offset", "block")
        )
        self._key = np.array([group.key for group in groups], dtype=np.uint64)
        total = segment.total_rate
        self._share = np.array(
            [source.rate / total * group.samples / max(source.samples, 1) for source in segment.sources for group in source.groups]
        )
        """Share of the positions at which a sample of each group is read."""
        self._is_windowed = shuffled and bool(self._block.any())

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
        piece, start = self._stream.locate(group, index)
        return Located(corpus=self._corpus[source], epoch=epoch, piece=piece + self._base, start=start)

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
        samples, block = (np.full(len(sample), column[group]) for column in (self._samples, self._block))
        key = epoch_key(np.full(len(sample), self._key[group]), epoch)
        return unwindowed(sample, samples, block, key) if block.any() else unpermuted(sample, samples, key)

    def positions_of(self, shard: int, start: int, stop: int, below: int, packed: Ints | None) -> Iterator[int]:
        """Yield the positions of tokens, given also the packed samples of the token array that contain them."""
        drawn = self._drawn(0, below)
        for group, of_group in self._stream.samples_with(shard, start, stop, packed).items():
            if of_group:
                yield from self._positions_of(np.array(sorted(of_group)), group, int(drawn[group]))

    def _positions_of(self, wanted: Ints, group: int, stop: int) -> Iterator[int]:
        """Yield the positions of samples of a group among its draws up to `stop`, which count from the first epoch of the group."""
        samples, offset, source = int(self._samples[group]), int(self._offset[group]), self._source_of_group[group]
        step = max(1, BLOCK // len(wanted))
        for first in range(offset // samples, -(-stop // samples), step):
            epoch = np.repeat(np.arange(first, min(first + step, -(-stop // samples))), len(wanted))
            drawn = epoch * samples + self._indices_of(np.tile(wanted, len(epoch) // len(wanted)), group, epoch)
            for of_group in (drawn[(drawn >= offset) & (drawn < stop)] - offset).tolist():
                of_source = of_group
                if source in self._within:
                    of_source = self._within[source].position_of(group - int(self._first_group[source]), of_group)
                yield self._schedule.position_of(source, of_source)

    def blocks(self, start: int) -> Blocks:
        """Return the blocks, given the first position of the segment."""
        shards: dict[int, ShardBlocks] = {}
        by_size = sorted(self._stream.pieces(), key=lambda placed: placed[0].stop - placed[0].start)
        for piece, group, first in by_size:  # the blocks of an array are those of its largest piece
            if self._is_windowed and self._block[group]:
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
        of_groups = [
            self._within[number].given(draws).tolist() if number in self._within else [draws] for number, draws in enumerate(given)
        ]
        return self._offset + np.array([count for draws in of_groups for count in draws], dtype=np.int64)


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
