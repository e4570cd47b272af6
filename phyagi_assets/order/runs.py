"""Samples as ranges of token arrays: a sample can begin in one partition and end in a later one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints

PADDING = -1
"""Value of `Runs.shard` for padding, which is not in any token array."""
_UNBOUNDED = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Consecutive tokens of a token array, from which samples are cut."""

    shard: int
    """Index of the token array."""
    start: int
    """Index of the first token."""
    stop: int
    """Index after the last token."""
    is_last: bool
    """Whether the stream of tokens ends with this piece; a sample that extends further is padded."""
    packed: bool = False
    """Whether the piece stands for the packed samples of the token array, each of which takes `seq_len` of its tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """The tokens of samples, as parallel arrays with one entry per run, ordered by sample and by index in the sample."""

    sample: Ints
    """Index of the sample."""
    at: Ints
    """Index of the first token of the run in the sample."""
    shard: Ints
    """Index of the token array, or `PADDING`."""
    start: Ints
    """Index of the first token of the run in the token array."""
    tokens: Ints
    """Number of tokens of the run."""
    are_whole: bool
    """Whether every sample consists of one run."""
    packed: npt.NDArray[np.bool_] | None = None
    """Whether each run belongs to a packed sample; None if no sample is packed."""
    single: npt.NDArray[np.bool_] | None = None
    """Whether each run belongs to a packed sample and to a single document; None if no sample is packed."""

    def filled(self, samples: int, width: int) -> Ints | None:
        """Return the number of tokens of each sample that come from token arrays, or None if no sample is padded."""
        if self.are_whole:
            return None
        padded = self.shard == PADDING
        if not padded.any():
            return None
        filled = np.full(samples, width, dtype=np.int64)
        filled[self.sample[padded]] = self.at[padded]
        return filled


class Pieces:
    """The pieces from which the samples of an order are cut.

    Parameters
    ----------
    pieces
        Non-empty pieces. A sample that does not fit in a piece continues in the next one, unless the piece is the last of its stream.

    Examples
    --------
    >>> pieces = Pieces([Piece(shard=4, start=0, stop=3, is_last=False), Piece(shard=5, start=0, stop=9, is_last=True)])
    >>> runs = pieces.runs(np.array([0]), np.array([1]), 4)
    >>> runs.shard.tolist(), runs.start.tolist(), runs.tokens.tolist()
    ([4, 5], [1, 0], [2, 2])
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        padding = len(pieces)
        self._shard = np.array([*(piece.shard for piece in pieces), PADDING], dtype=np.int64)
        self._start = np.array([*(piece.start for piece in pieces), 0], dtype=np.int64)
        self._stop = np.array([*(piece.stop for piece in pieces), _UNBOUNDED], dtype=np.int64)
        self._packed = np.array([piece.packed for piece in pieces], dtype=bool)
        self.packed_shards = frozenset(piece.shard for piece in pieces if piece.packed)
        """Indices of the token arrays whose packed samples are read."""
        self._following = np.array([*(padding if piece.is_last else i + 1 for i, piece in enumerate(pieces)), padding], dtype=np.int64)

    def shard(self, piece: Ints) -> Ints:
        """Return the index of the token array of each piece."""
        return self._shard[piece]

    def packed(self, piece: Ints) -> npt.NDArray[np.bool_]:
        """Return whether each piece stands for packed samples."""
        return np.asarray(self._packed[piece])

    def runs(self, piece: Ints, start: Ints, width: int) -> Runs:
        """Return the runs of samples.

        Parameters
        ----------
        piece
            Index of the piece in which each sample begins, 1-D.
        start
            Index of the first token of each sample in the token array, 1-D.
        """
        sample, at = np.arange(len(piece)), np.zeros(len(piece), dtype=np.int64)
        shard, available = self._shard[piece], self._stop[piece] - start
        cut = np.flatnonzero(available < width)
        if not len(cut):  # the usual case if partitions are much longer than a sample
            tokens = np.broadcast_to(np.int64(width), len(piece))
            return Runs(sample=sample, at=at, shard=shard, start=start, tokens=tokens, are_whole=True)
        first = np.stack([sample, at, shard, start, np.minimum(available, width)])
        further = self._following_runs(cut, available[cut], self._following[piece[cut]], width)
        sample, at, shard, start, tokens = np.insert(first, further[0] + 1, further, axis=1)
        return Runs(sample=sample, at=at, shard=shard, start=start, tokens=tokens, are_whole=False)

    def _following_runs(self, sample: Ints, at: Ints, piece: Ints, width: int) -> Ints:
        """Return the columns of the runs after the first run of each sample, ordered by sample."""
        columns = []
        while len(sample):
            start = self._start[piece]
            tokens = np.minimum(self._stop[piece] - start, width - at)
            columns.append(np.stack([sample, at, self._shard[piece], start, tokens]))
            at = at + tokens
            unfinished = at < width
            sample, at, piece = sample[unfinished], at[unfinished], self._following[piece[unfinished]]
        joined = np.concatenate(columns, axis=1)
        return np.asarray(joined[:, np.argsort(joined[0], kind="stable")])
