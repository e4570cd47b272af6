"""The arithmetic of reading in order, which does not depend on how samples are delivered: steps, epochs, and the blocks to read at once.

A stream is read in steps. In each step, every training process (rank) reads one run of consecutive positions, and the loader workers of a
process take its runs in turn.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.numbers import checked_int

TOKENS_PER_READ = 1 << 21
"""Number of tokens to gather in one pass: enough to make the overhead per array negligible."""
_MAX_SAMPLES_PER_READ = 4096
"""Largest number of samples to read in one pass, however short they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The part of a stream that one training process reads."""

    rank: int = 0
    """Rank of the process, from 0."""
    world_size: int = 1
    """Number of processes."""

    def __post_init__(self) -> None:
        checked_int("rank", self.rank)
        checked_int("world_size", self.world_size, least=1)
        if self.rank >= self.world_size:
            raise ValueError(f"rank: is {self.rank} with world_size {self.world_size}; use a rank from 0 to {self.world_size - 1}")

    @classmethod
    def given(cls, rank: int | None, world_size: int | None) -> "Shard | None":
        """Return the part of a rank and a world size, or None if neither is given.

        Raises
        ------
        ValueError
            The rank is not below the world size, or only one of them is given.
        """
        if (rank is None) != (world_size is None):
            raise ValueError("rank, world_size: only one is given; give both or neither")
        return cls(rank=rank, world_size=world_size) if rank is not None and world_size is not None else None

    def step(self, run: int = 1) -> int:
        """Return the number of positions in a step, where each process reads a run of `run` positions."""
        return run * self.world_size

    def steps(self, positions: int, run: int = 1) -> int:
        """Return the number of steps that cover `positions` positions."""
        return -(-positions // self.step(run))

    def covered(self, positions: int, run: int = 1) -> int:
        """Return the number of positions in the steps that cover `positions` positions; 0 if `positions` is negative."""
        return max(0, self.steps(positions, run)) * self.step(run)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader(Shard):
    """A reader of a part of a stream: a training process, or one of its loader workers."""

    worker: int = 0
    """Index of the loader worker."""
    workers: int = 0
    """Number of loader workers; 0 if the process itself reads."""

    @property
    def stride(self) -> int:
        """Number of steps from one turn of this reader to its next."""
        return max(self.workers, 1)

    @property
    def readers(self) -> int:
        """Number of readers that together read the stream."""
        return self.world_size * self.stride

    def turns(self, steps: int, taken: int = 0) -> range:
        """Return the numbers of the steps that this reader takes, after the first `taken` of them."""
        return range(self.worker + taken * self.stride, steps, self.stride)

    def positions(self, turns: Sequence[int], run: int = 1) -> Ints:
        """Return the positions that this reader reads in some steps, counted from the first position of step 0."""
        own = self.rank * run + np.arange(run)
        return np.asarray(self.step(run) * np.array(turns)[:, None] + own).ravel()


@dataclass(frozen=True, kw_only=True, slots=True)
class Epochs:
    """The epochs of an order, whose first epoch may differ in length from the later ones."""

    first: int
    """Number of positions in the first epoch."""
    later: int
    """Number of positions in every later epoch."""

    def start(self, epoch: int) -> int:
        """Return the first position of an epoch."""
        return self.first + (epoch - 1) * self.later if epoch else 0

    def length(self, epoch: int) -> int:
        """Return the number of positions in an epoch."""
        return self.later if epoch else self.first

    def at(self, position: int) -> int:
        """Return the epoch that contains a position."""
        return max(0, (position - self.first) // self.later + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """The steps in which training processes read the samples of one split of a mixture.

    In training, an iteration ends with the first step that reaches the end of an epoch of the mixture, and the next one continues from
    there. In other splits, an iteration is one pass over the split; its last step is short.
    """

    epochs: Epochs
    seq_len: int
    """Length of a sample, in tokens."""
    trains: bool
    """Whether iterations continue from epoch to epoch; otherwise each iteration is one pass over the split."""
    batch_size: int
    """Samples per run."""
    endless: bool = False
    """Whether iterations have no end."""
    drop_last: bool = False
    """Whether to leave out the short last step of a split other than ``train``."""

    def first(self, position: int) -> int:
        """Return the position at which an iteration begins: the given one, or the start of the split if a pass has ended there."""
        return position if self.trains or self.endless or position < self.epochs.first else 0

    def before(self, position: int, shard: Shard) -> int:
        """Return the number of samples that each process of a shard reads from the start of the epoch or pass to a position."""
        start = shard.covered(self.epochs.start(self.epochs.at(position)), self.batch_size) if self.trains else 0
        return max(0, position - start) // shard.world_size

    def end(self, position: int) -> int | None:
        """Return the end of an iteration that begins at a position; None without an end."""
        if self.endless:
            return None
        return self.epochs.start(self.epochs.at(position) + 1) if self.trains else self.epochs.first

    def following(self, begin: int, stop: int, shard: Shard) -> int:
        """Return the position at which the next iteration begins, after one from `begin` to `stop`."""
        return begin + shard.covered(stop - begin, self.batch_size) if self.trains else 0

    def whole(self, begin: int, stop: int, shard: Shard) -> int:
        """Return the number of steps in which every process reads `batch_size` samples."""
        return max(0, shard.steps(stop - begin, self.batch_size) if self.trains else (stop - begin) // shard.step(self.batch_size))

    def in_last(self, begin: int, stop: int, shard: Shard) -> int:
        """Return the number of samples that each process reads in a short last step."""
        rest = stop - begin - self.whole(begin, stop, shard) * shard.step(self.batch_size)
        return 0 if self.trains or self.drop_last else shard.steps(rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedReads:
    """The reads of one iteration, as blocks of runs of positions with about `tokens` tokens each.

    The first block is one run, so that it arrives early; each following block is four times as large. A short last step is a block. It can
    be iterated over several times, and pickled.
    """

    steps: Steps
    reader: Reader
    begin: int
    """First position."""
    stop: int | None
    """End of the iteration; None without an end."""
    tokens: int
    """Number of tokens to read at once."""

    def __iter__(self) -> Iterator[Ints]:
        steps, reader, begin, stop = self.steps, self.reader, self.begin, self.stop
        most = max(1, min(_MAX_SAMPLES_PER_READ, self.tokens // steps.seq_len) // steps.batch_size)
        whole = sys.maxsize if stop is None else steps.whole(begin, stop, reader)
        turns, together = reader.turns(whole), 1
        while turns:
            yield begin + reader.positions(turns[:together], steps.batch_size)
            turns, together = turns[together:], min(4 * together, most)
        last = 0 if stop is None else steps.in_last(begin, stop, reader)
        if last and whole in reader.turns(whole + 1):
            yield begin + whole * reader.step(steps.batch_size) + reader.positions([0], last)
