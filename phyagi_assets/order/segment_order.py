"""The order of training within one segment of a plan: the corpus and sample that each position draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from phyagi_assets.formats.plan import Concat, Segment
from phyagi_assets.order.blocks import Blocks, ShardBlocks
from phyagi_assets.order.group_schedule import GroupSchedule
from phyagi_assets.order.group_shuffle import GroupShuffle
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.runs import Piece
from phyagi_assets.order.token_stream import TokenStream

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
        Pieces from which the samples of each group are cut, for the groups of all corpora.
    base
        Number of pieces of earlier segments.
    """

    def __init__(
        self, segment: Segment, pieces: Sequence[Sequence[Piece]], concat: Concat, *, seq_len: int, base: int, shuffled: bool
    ) -> None:
        groups = [group for source in segment.sources for group in source.groups]
        self._seq_len, self._base, self._is_shuffled = seq_len, base, shuffled
        self._schedule = GroupSchedule(segment, concat)
        self._stream = TokenStream(groups, pieces, seq_len)
        self._shuffle = GroupShuffle(groups)
        self._corpus = np.array([source.corpus for source in segment.sources for _ in source.groups], dtype=np.int64)
        self._offset = np.array([group.offset for group in groups], dtype=np.int64)
        total = segment.total_rate
        self._share = np.array(
            [source.rate / total * group.samples / max(source.samples, 1) for source in segment.sources for group in source.groups]
        )
        """Share of the positions at which a sample of each group is read."""

    def locate(self, position: Ints) -> Located:
        """Return the samples at an array of positions."""
        group, drawn = self._schedule.locate(position)
        epoch, index = np.divmod(drawn + self._offset[group], self._shuffle.samples[group])
        if self._is_shuffled:
            index = self._shuffle.permuted(index, group, epoch)
        piece, start = self._stream.locate(group, index)
        return Located(corpus=self._corpus[group], epoch=epoch, piece=piece + self._base, start=start)

    def positions_of(self, shard: int, start: int, stop: int, limit: int, packed: Ints | None) -> Iterator[int]:
        """Yield the positions of samples with tokens of a token array, given its packed samples that contain the tokens."""
        drawn = self._drawn(0, limit)
        for group, samples in self._stream.samples_with(shard, start, stop, packed).items():
            if samples:
                yield from self._positions_of(np.array(sorted(samples)), group, int(drawn[group]))

    def _positions_of(self, targets: Ints, group: int, stop: int) -> Iterator[int]:
        """Yield the positions of samples of a group among its draws before `stop`, which count from the first epoch of the group."""
        samples, offset = int(self._shuffle.samples[group]), int(self._offset[group])
        step = max(1, BLOCK // len(targets))
        for first in range(offset // samples, -(-stop // samples), step):
            epoch = np.repeat(np.arange(first, min(first + step, -(-stop // samples))), len(targets))
            index = np.tile(targets, len(epoch) // len(targets))
            if self._is_shuffled:
                index = self._shuffle.unpermuted(index, group, epoch)
            drawn = epoch * samples + index
            for draws in (drawn[(drawn >= offset) & (drawn < stop)] - offset).tolist():
                yield self._schedule.position_of(group, draws)

    def blocks(self, start: int) -> Blocks:
        """Return the blocks, given the first position of the segment."""
        block = self._shuffle.block if self._is_shuffled else np.zeros_like(self._shuffle.block)
        shards: dict[int, ShardBlocks] = {}
        by_size = sorted(self._stream.pieces(), key=lambda placed: placed[0].stop - placed[0].start)
        for piece, group, first in by_size:  # an array has the blocks of its largest piece
            if block[group]:
                shards[piece.shard] = ShardBlocks(group=group, first=first, tokens=int(block[group]) * self._seq_len)
            else:
                shards.pop(piece.shard, None)
        return Blocks(
            start=start,
            shards=shards,
            samples=self._shuffle.samples,
            block=block,
            key=self._shuffle.key,
            share=self._share,
            drawn=partial(self._drawn, start),
        )

    def _drawn(self, start: int, position: int) -> Ints:
        """Return the number of samples of each group before a position of the plan, and in earlier segments."""
        draws = self._schedule.draws_before(max(0, position - start))
        return self._offset + np.array([count for counts in draws for count in counts], dtype=np.int64)
