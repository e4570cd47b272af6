"""The order of training of a plan: the sample at a position, and the positions of a sample."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.plan import Concat, Group, Plan, PlannedCorpus, PlannedIndex, Segment, Shard, Source, TokenRange
from phyagi_assets.order.best_fit import PackedSamples
from phyagi_assets.order.blocks import Blocks
from phyagi_assets.order.division import Division
from phyagi_assets.order.packed_runs import OpenIndex, PackedIn, joined, packed_runs
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.ranges import grouped
from phyagi_assets.order.runs import Piece, Pieces, Runs
from phyagi_assets.order.segment_order import BLOCK, Located, SegmentOrder


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
        Function that opens the index of a partition with packed samples. It is needed only to find the tokens of these samples.

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
            reader = SegmentOrder(
                segment, groups, concat, seq_len=plan.seq_len, base=len(pieces), shuffled=in_training and plan.shuffle is not False
            )
            self._readers.append(reader)
            pieces += [piece for own in groups for piece in own]
        self.division = Division([placed.shard for placed in self.shards])
        self._pieces = Pieces(pieces)
        self.has_packed = bool(self._pieces.packed_shards)
        self._starts = np.array([segment.start for segment in segments], dtype=np.int64)
        self.epoch_length = segments[-1].drawn

    def _placed(self, plan: Plan, source: Source, group: Group, split: str) -> list[Piece]:
        """Return the pieces from which the samples of a group are cut."""
        corpus = plan.corpora[source.corpus]
        parts = list(group.token_ranges(corpus, split))
        if group.packed:
            counts = [(partition, corpus.partitions[partition].packed_samples(split)) for partition in group.partitions]
            parts = [TokenRange(partition=partition, start=0, stop=count * plan.seq_len) for partition, count in counts if count]
        return [
            Piece(
                shard=self._shard(corpus, source.corpus, part.partition, split),
                start=part.start,
                stop=part.stop,
                is_last=not group.crosses or number == len(parts),
                packed=group.packed,
            )
            for number, part in enumerate(parts, start=1)
        ]

    def _shard(self, corpus: PlannedCorpus, number: int, partition: int, split: str) -> int:
        index = self._index.setdefault((number, partition), len(self.shards))
        if index == len(self.shards):
            planned = corpus.partitions[partition]
            self.shards.append(PlacedShard(corpus=number, partition=partition, shard=planned.shards[split], index=planned.index))
        return index

    def __len__(self) -> int:
        """Return the number of positions up to the end of the first epoch of the mixture in the last segment."""
        return int(self._starts[-1]) + self.epoch_length

    def locate(self, position: Ints) -> Located:
        """Return the samples at an array of positions, which must not be negative."""
        if len(self._readers) == 1 and len(position) <= BLOCK:
            return self._readers[0].locate(position - self._starts[0])
        columns = np.empty((4, len(position)), dtype=np.int64)
        for begin in range(0, len(position), BLOCK):
            batch, target = position[begin : begin + BLOCK], columns[:, begin : begin + BLOCK]
            segment = np.searchsorted(self._starts, batch, side="right") - 1
            for number in np.unique(segment).tolist():
                inside = segment == number
                found = self._readers[number].locate(batch[inside] - self._starts[number])
                target[:, inside] = found.corpus, found.epoch, found.piece, found.start
        return Located(corpus=columns[0], epoch=columns[1], piece=columns[2], start=columns[3])

    def runs(self, located: Located, ahead: int = 0) -> Runs:
        """Return where the tokens of samples, and the tokens that follow each sample, are in the files of `division`.

        Parameters
        ----------
        ahead
            Number of tokens after each sample, 0 or 1. A packed sample is followed by padding.
        """
        return self.division.divide(self._runs(located, self.seq_len + ahead))

    def _runs(self, located: Located, width: int) -> Runs:
        """Return where the tokens of samples are in the token arrays."""
        if not self.has_packed:
            return self._pieces.runs(located.piece, located.start, width)
        packed = self.packed(located)
        found = []
        if not packed.all() or not packed.size:
            plain = np.flatnonzero(~packed)
            found.append((plain, self._pieces.runs(located.piece[plain], located.start[plain], width)))
        if packed.any():
            chosen = np.flatnonzero(packed)
            found.append((chosen, packed_runs(self._packed_in(located[chosen]), width)))
        return joined(found, len(packed))

    def _packed_in(self, located: Located) -> list[PackedIn]:
        """Return packed samples by token array."""
        shards, numbers = self._pieces.shard(located.piece), located.start // self.seq_len
        return [
            PackedIn(index=self._index_of(shard), shard=shard, samples=samples, numbers=numbers[samples])
            for shard, samples in grouped(shards)
        ]

    def packed(self, located: Located) -> npt.NDArray[np.bool_]:
        """Return whether each sample is packed, 1-D."""
        return self._pieces.packed(located.piece)

    def _index_of(self, shard: int) -> PackedSamples:
        placed = self.shards[shard]
        if self._open_index is None or placed.index is None:
            raise ValueError(
                f"open_index: is missing; it is needed to find the tokens of packed samples, such as those of {placed.shard.path}"
            )
        return self._open_index(placed.index, self.split)

    def positions_of(self, corpus: int, partition: int, start: int, stop: int, limit: int) -> list[int]:
        """Return the positions below a limit whose samples contain tokens of a partition, if only as the label of their last token.

        Parameters
        ----------
        corpus, partition
            Index of the corpus in the plan, and index of the partition in the corpus.
        start, stop
            Index of the first token, and index after the last token.
        limit
            Upper limit of the positions, exclusive.
        """
        shard = self._index.get((corpus, partition))
        if shard is None:
            return []
        ends = [*self._starts[1:].tolist(), limit]
        packed = self._index_of(shard).holding(start, stop) if shard in self._pieces.packed_shards else None
        return sorted(
            begin + position
            for reader, begin, end in zip(self._readers, self._starts.tolist(), ends, strict=True)
            for position in reader.positions_of(shard, start, stop, min(end, limit) - begin, packed)
        )

    def blocks(self) -> list[Blocks]:
        """Return the blocks of each segment, in the files of `division`."""
        found = [reader.blocks(start) for reader, start in zip(self._readers, self._starts.tolist(), strict=True)]
        return [replace(blocks, shards=self.division.blocks_of_files(blocks.shards)) for blocks in found]


def _single_pass(plan: Plan, split: str) -> Segment:
    """Return a segment that reads each corpus of the last segment once, with the samples of a split."""
    if not plan.total(split, "samples"):
        raise ValueError(f"split: mixture {plan.name!r} has no sample of a split {split!r}")
    sources = []
    for source in plan.current.sources:
        samples = plan.total(split, "samples", source)
        whole = Group(
            partitions=tuple(source.partitions),
            samples=samples,
            offset=0,
            key=0,
            crosses=plan.current.crosses and not source.packed,
            packed=source.packed,
        )
        sources.append(replace(source, rate=samples, drawn=samples, groups=(whole,)))
    return Segment(start=0, sources=tuple(sources), crosses=plan.current.crosses)
