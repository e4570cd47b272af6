"""The documents of samples: the number and position of each token, and the labels that begin another document."""

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.permutation import Ints

Flags = npt.NDArray[np.bool_]


class SampleDocuments:
    """The documents of a block of samples. A sample that begins within a document counts as one that begins with it.

    Parameters
    ----------
    starts
        Index of each first token of a document in the flattened tokens, 1-D and ascending, including the first token of every sample.
    shape
        Number of samples, and number of tokens per sample.
    seq_len
        Number of tokens of each sample that are input; labels are shifted if there is one token more.
    split
        Whether each sample consists of several documents, 1-D; the others count as one document. None if all do.
    masked
        Whether each sample ignores the labels that are the first token of a document after its first, 1-D; None if all do.

    Examples
    --------
    >>> documents = SampleDocuments(np.array([0, 2, 4]), (2, 4), 4)
    >>> positions, numbers = documents.numbered(0, 2)
    >>> positions.tolist(), numbers.tolist()
    ([[0, 1, 0, 1], [0, 1, 2, 3]], [[0, 0, 1, 1], [0, 0, 0, 0]])
    >>> labels = np.arange(8).reshape(2, 4)
    >>> documents.ignore(labels, 0, 2, -100)
    >>> labels.tolist()
    [[0, 1, -100, 3], [4, 5, 6, 7]]
    """

    def __init__(
        self, starts: Ints, shape: tuple[int, int], seq_len: int, *, split: Flags | None = None, masked: Flags | None = None
    ) -> None:
        samples, width = shape
        ahead, borders = width - seq_len, np.arange(samples + 1)
        first = np.searchsorted(starts, borders * width)
        is_inner = np.ones(len(starts), dtype=bool)
        is_inner[first[:-1]] = False
        opens, is_masked = starts, is_inner
        if ahead or split is not None or masked is not None:
            sample = borders[:-1].repeat(np.diff(first))
            opens = starts - sample * ahead
            is_masked = is_inner if masked is None else is_inner & masked[sample]
        self._seq_len = seq_len
        self._masked = opens[is_masked] - ahead
        self._first_masked: list[int] = np.searchsorted(self._masked, borders * seq_len).tolist()
        if ahead or split is not None:
            kept = starts - sample * width < seq_len
            if split is not None:
                kept &= split[sample] | ~is_inner
            opens = opens[kept]
            first = np.searchsorted(opens, borders * seq_len)
        self._lengths = np.diff(opens, append=samples * seq_len)
        counts, small = np.diff(first), np.min_scalar_type(seq_len)  # which is repeated and subtracted in less time than int64
        self._opens = (opens - (borders[:-1] * seq_len).repeat(counts)).astype(small)
        self._numbers = (np.arange(len(opens)) - first[:-1].repeat(counts)).astype(small)
        self._places = np.arange(seq_len, dtype=small)
        self._first: list[int] = first.tolist()

    def numbered(self, begin: int, end: int) -> tuple[Ints, Ints]:
        """Return, for each token of some samples, its position in its document, and the number of its document in the sample, from 0."""
        chosen = slice(self._first[begin], self._first[end])
        lengths = self._lengths[chosen]
        opens, numbers = (column[chosen].repeat(lengths).reshape(-1, self._seq_len) for column in (self._opens, self._numbers))
        positions = np.subtract(self._places, opens, out=opens)
        return positions.astype(np.int64), numbers.astype(np.int64)

    def ignore(self, labels: Ints, begin: int, end: int, ignore_index: int) -> None:
        """Replace the labels of some samples that are the first token of a document after the first."""
        masked = self._masked[self._first_masked[begin] : self._first_masked[end]]
        labels.reshape(-1)[masked - begin * self._seq_len] = ignore_index
