"""Division of samples among the files of token arrays that are stored in pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phyagi_assets.formats.plan import Shard
from phyagi_assets.order.blocks import ShardBlocks
from phyagi_assets.order.ranges import concatenated_ranges
from phyagi_assets.order.runs import PADDING, Runs


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedFile:
    """A file that holds a token array or a piece of one."""

    shard: int
    """Index of the token array."""
    first: int
    """Index in the token array of the first token of the file."""
    path: str
    """Path relative to the folder of the plan."""
    tokens: int
    """Number of tokens."""
    has_mask: bool
    """Whether there is a mask beside the file."""


class Division:
    """The files of token arrays.

    Examples
    --------
    >>> from phyagi_assets.formats.plan import PlannedPiece
    >>> from phyagi_assets.order.runs import Piece, Pieces
    >>> pieces = (PlannedPiece(number=0, tokens=3), PlannedPiece(number=2, tokens=4))
    >>> division = Division([Shard(path="train.npy", tokens=7, documents=2, pieces=pieces)])
    >>> runs = Pieces([Piece(shard=0, start=0, stop=7, is_last=True)]).runs(np.array([0]), np.array([1]), 4)
    >>> divided = division.divide(runs)
    >>> divided.shard.tolist(), divided.start.tolist(), divided.tokens.tolist()
    ([0, 1], [1, 0], [2, 2])
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.files: list[PlacedFile] = []
        """The files, in the order of the arrays."""
        bases = []
        begin = 0
        for number, shard in enumerate(shards):
            bases.append(begin)
            first = 0
            for path, tokens in shard.files:
                self.files.append(PlacedFile(shard=number, first=first, path=path, tokens=tokens, has_mask=shard.trained is not None))
                first += tokens
            begin += first
        self.is_trivial = len(self.files) == len(shards)
        """Whether every array is one file, so that files and arrays have the same indices."""
        self._base = np.array(bases, dtype=np.int64)
        """Index of the first token of each array among the tokens of all arrays."""
        self._ends = np.cumsum([file.tokens for file in self.files], dtype=np.int64)
        self._begins = np.concatenate([[0], self._ends])[:-1]

    def divide(self, runs: Runs) -> Runs:
        """Return runs of arrays as runs of files, by index in `files`. A run that crosses files is divided."""
        if self.is_trivial:
            return runs
        is_real = runs.shard != PADDING
        begin = self._base[runs.shard] + runs.start
        end = begin + runs.tokens
        first = np.where(is_real, np.searchsorted(self._ends, begin, side="right"), PADDING)
        last = np.where(is_real, np.searchsorted(self._ends, end - 1, side="right"), PADDING)
        if np.array_equal(first, last):
            return replace(runs, shard=first, start=np.where(is_real, begin - self._begins[first], runs.start))
        counts = last - first + 1
        run = np.repeat(np.arange(len(counts)), counts)
        file, is_real = np.where(is_real[run], concatenated_ranges(first, counts), PADDING), is_real[run]
        begin, end = begin[run], end[run]
        low, high = np.maximum(begin, self._begins[file]), np.minimum(end, self._ends[file])
        return Runs(
            sample=runs.sample[run],
            at=runs.at[run] + np.where(is_real, low - begin, 0),
            shard=file,
            start=np.where(is_real, low - self._begins[file], runs.start[run]),
            tokens=np.where(is_real, high - low, runs.tokens[run]),
            are_whole=False,
            packed=None if runs.packed is None else runs.packed[run],
            single=None if runs.single is None else runs.single[run],
        )

    def blocks_of_files(self, blocks: Mapping[int, ShardBlocks]) -> dict[int, ShardBlocks]:
        """Return the blocks of arrays as blocks of files, with the same numbers."""
        return {
            number: replace(blocks[file.shard], first=blocks[file.shard].first - file.first)
            for number, file in enumerate(self.files)
            if file.shard in blocks
        }
