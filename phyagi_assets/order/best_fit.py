"""Best-fit packing: whole documents become samples of at most `seq_len` tokens, with as little padding as possible.

A document longer than a sample is cut into full samples and a rest, which is packed like a short document. Other documents are not cut.

The algorithm is best-fit decreasing, as in Ding et al., "Fewer Truncations Improve Language Modeling" (ICML 2024,
https://arxiv.org/abs/2404.10830): documents are placed by decreasing length, each in the sample with the least sufficient space. The paper
finds that sample in a segment tree over the possible amounts of space, in O(log seq_len) per document. Here, equal documents are placed
together: if q documents of one length fit into the space of a sample, best fit puts the next q of them there, one after another, and
then does the same with the next sample of that space. Samples with equal space are kept as ranges, so that one step places documents in a
whole range. A step at least halves the space of its samples and a length adds at most three ranges, so there are O(seq_len · log seq_len)
steps, however many documents there are; the rest is sorting, in NumPy.
"""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.ranges import concatenated_ranges

_CELL = 32
"""Number of tokens within which very short neighbouring documents are merged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedSamples:
    """Samples as parts of one token array. A part is a document, a piece of a cut document, or several merged documents.

    Samples are ordered by their first token, and so are the parts of a sample.
    """

    starts: npt.NDArray[Any]
    """Index in the token array of the first token of each part, 1-D, in the order of the samples."""
    lengths: npt.NDArray[Any]
    """Number of tokens of each part, 1-D."""
    ends: npt.NDArray[Any]
    """Index of the first part of each sample, followed by the number of parts, 1-D."""
    merged: bool = False
    """Whether a part can hold several documents."""

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.ends) - 1

    def holding(self, start: int, stop: int) -> Ints:
        """Return the samples that contain any token from `start` to before `stop`, ascending."""
        parts = np.flatnonzero((self.starts < stop) & (self.starts.astype(np.int64) + self.lengths > start))
        return np.unique(np.searchsorted(self.ends, parts, side="right") - 1)

    @property
    def bytes(self) -> int:
        """Size of the three arrays in bytes."""
        return self.starts.nbytes + self.lengths.nbytes + self.ends.nbytes


def packed(ends: Ints, seq_len: int, *, merges: bool = False) -> PackedSamples:
    """Pack the documents of a token array.

    Parameters
    ----------
    ends
        End of each document in the token array, 1-D, increasing.
    merges
        Whether neighbouring documents that fit in the same cell of 32 tokens of the array are packed as one part. See
        `merges_documents`.

    Returns
    -------
    PackedSamples
        The samples, which depend only on the arguments. Every token is in exactly one of them.

    Examples
    --------
    >>> samples = packed(np.array([3, 13, 14]), 4)  # documents of 3, 10 and 1 tokens
    >>> samples.starts.tolist(), samples.lengths.tolist(), samples.ends.tolist()
    ([0, 13, 3, 7, 11], [3, 1, 4, 4, 2], [0, 2, 3, 4, 5])
    """
    ends = np.asarray(ends, dtype=np.int64)
    begins, lengths = _parts(ends, min(_CELL, seq_len) if merges else 0)
    full, rest = np.divmod(lengths, seq_len)
    left = np.flatnonzero(rest)
    bins, rest_samples = _best_fit(rest[left], seq_len)
    cut = np.flatnonzero(full)
    pieces = int(full.sum())
    within = concatenated_ranges(0, full[cut])
    starts = np.concatenate([begins[left] + full[left] * seq_len, np.repeat(begins[cut], full[cut]) + within * seq_len])
    tokens = np.concatenate([rest[left], np.full(pieces, seq_len)])
    sample = np.concatenate([rest_samples, bins + np.arange(pieces)])
    found = _in_order(starts, tokens, sample, bins + pieces, int(ends[-1]) if len(ends) else 0, seq_len)
    return replace(found, merged=merges)


def merges_documents(ends: Ints, seq_len: int) -> bool:
    """Return whether documents are so short that their index would take more than a byte per token.

    If so, neighbouring documents are merged before packing, which leaves at most two parts per 32 tokens.
    """
    tokens = int(ends[-1]) if len(ends) else 0
    part = _unsigned(tokens).itemsize + _unsigned(seq_len).itemsize
    parts = len(ends) + tokens // seq_len
    return parts * part + 2 * (tokens // seq_len + 1) * _unsigned(parts).itemsize > tokens


def _parts(ends: Ints, cell: int) -> tuple[Ints, Ints]:
    """Return the begins and lengths of documents; with a cell, documents within one cell of the array are merged."""
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
    if cell and len(ends):
        first, last = begins // cell, (ends - 1) // cell
        crosses = first != last
        opens = np.concatenate([[True], (first[1:] != first[:-1]) | crosses[1:] | crosses[:-1]])
        begins = begins[opens]
        ends = np.concatenate([begins[1:], ends[-1:]])
    return begins, ends - begins


def _best_fit(lengths: Ints, seq_len: int) -> tuple[int, Ints]:
    """Return the number of samples and the sample of each document, given lengths from 1 to `seq_len`."""
    if not len(lengths):
        return 0, lengths
    counts = np.bincount(lengths)
    spaces = _Spaces(seq_len)
    for length in np.flatnonzero(counts)[::-1].tolist():
        spaces.place(length, int(counts[length]))
    first, samples, each = (np.array(column, dtype=np.int64) for column in zip(*spaces.steps, strict=True))
    placed = samples * each
    within = concatenated_ranges(0, placed)
    sample = np.repeat(first, placed) + within // np.repeat(each, placed)
    descending = np.argsort((seq_len - lengths).astype(_unsigned(seq_len)), kind="stable")
    found = np.empty(len(lengths), dtype=np.int64)
    found[descending] = sample
    return spaces.samples, found


class _Spaces:
    """Samples by free space, as ranges of sample numbers."""

    def __init__(self, seq_len: int) -> None:
        self._seq_len = seq_len
        self._ranges: dict[int, deque[tuple[int, int]]] = {}
        """First sample and number of samples of each range, by space."""
        self._known: list[int] = []
        """The spaces of all ranges, ascending."""
        self.samples = 0
        self.steps: list[tuple[int, int, int]] = []
        """Placements in order: first sample, number of samples, and number of documents that each of them gets."""

    def place(self, length: int, documents: int) -> None:
        """Place documents of one length, which is at most that of the documents before."""
        while documents:
            at = bisect_left(self._known, length)
            if at == len(self._known):  # new samples
                needed = -(-documents // (self._seq_len // length))
                self._add(self._seq_len, self.samples, needed)
                self.samples += needed
                continue
            space = self._known[at]
            ranges = self._ranges[space]
            first, samples = ranges.popleft()
            if not ranges:
                del self._ranges[space], self._known[at]
            each = min(space // length, documents)
            filled = min(samples, documents // each)
            self.steps.append((first, filled, each))
            self._add(space - each * length, first, filled)
            if filled < samples:
                self._add(space, first + filled, samples - filled, to_front=True)
            documents -= filled * each

    def _add(self, space: int, first: int, samples: int, *, to_front: bool = False) -> None:
        if not space:
            return
        if space not in self._ranges:
            self._ranges[space] = deque()
            insort(self._known, space)
        ranges = self._ranges[space]
        ranges.appendleft((first, samples)) if to_front else ranges.append((first, samples))


def _in_order(starts: Ints, tokens: Ints, sample: Ints, samples: int, total: int, seq_len: int) -> PackedSamples:
    """Return samples ordered by their first token, given the parts in any order and the sample of each."""
    by_start = np.argsort(starts)
    firsts = np.full(samples, total, dtype=np.int64)
    np.minimum.at(firsts, sample, starts)
    number = np.empty(samples, dtype=_unsigned(samples))
    number[np.argsort(firsts)] = np.arange(samples)
    sample = number[sample[by_start]]
    order = by_start[np.argsort(sample, kind="stable")]
    counts = np.bincount(sample, minlength=samples)
    return PackedSamples(
        starts=starts[order].astype(_unsigned(total)),
        lengths=tokens[order].astype(_unsigned(seq_len)),
        ends=np.concatenate([[0], np.cumsum(counts)]).astype(_unsigned(len(order))),
    )


def _unsigned(most: int) -> np.dtype[Any]:
    """Return the smallest of uint16, uint32 and uint64 that can represent a number."""
    return np.dtype(next(kind for kind in (np.uint16, np.uint32, np.uint64) if most <= np.iinfo(kind).max))
