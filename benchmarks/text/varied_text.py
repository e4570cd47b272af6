"""Text to measure with: the samples, varied by a seeded generator, so that no run sees the text of another.

Engines remember words, so repeated text measures that memory. A document consists of random paragraphs of one source, and its length is
distributed like that of web pages. In a share of all words, two letters are exchanged for letters from nearby, so that the words are new
and stay in their script. A share of 0.02 leaves natural frequencies of words with a tail of new ones, an estimate for natural text of
this size; 1 makes nearly every word new.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
from text.samples import KINDS, sources

from phyagi_assets.order.ranges import concatenated_ranges

NATURAL = 0.02
MEDIAN, SPREAD = 1_500, 1.2
"""Parameters of the number of characters of a document, log-normal between `SHORTEST` and `LONGEST`."""
SHORTEST, LONGEST = 30, 300_000
_AT_ONCE = 4_000_000  # characters
_NEARBY = 300  # letters

Codes = npt.NDArray[np.uint32]
"""Text as code points, which NumPy can work on."""


class _Pool:
    """The paragraphs of all sources, one after another, each with a blank line after it."""

    def __init__(self) -> None:
        found = [(kind, paragraphs) for kind, of_kind in sources().items() for paragraphs in of_kind]
        whole = [piece + "\n\n" for _, paragraphs in found for piece in paragraphs]
        self.text: Codes = np.frombuffer("".join(whole).encode("utf-32-le"), np.uint32)
        self.is_letter = _letters(self.text)
        self.word_lengths = _word_lengths(self.is_letter)
        self.lengths = np.array([len(piece) for piece in whole])
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.last = np.cumsum([len(paragraphs) for _, paragraphs in found])
        self.first = np.concatenate([[0], self.last[:-1]])
        sizes = np.add.reduceat(self.lengths, self.first)
        self.mean = sizes / (self.last - self.first)
        kinds = np.array([kind for kind, _ in found])
        self.kinds = [kind for kind in KINDS if kind in kinds]
        self._of_kind = {kind: np.where(kinds == kind, sizes, 0) / sizes[kinds == kind].sum() for kind in self.kinds}

    def shares(self, only: str | None) -> npt.NDArray[np.float64]:
        """Return the share of each source in the documents, of all kinds or of one kind."""
        found: npt.NDArray[np.float64] = sum(KINDS[kind] * self._of_kind[kind] for kind in ([only] if only else self.kinds))
        return found / found.sum()


@cache
def _pool() -> _Pool:
    return _Pool()


def kinds() -> list[str]:
    """Return the kinds of text that can be drawn."""
    return _pool().kinds


def documents(*, megabytes: float, seed: list[int], new_words: float = NATURAL, only: str | None = None) -> Iterator[list[str]]:
    """Yield documents of about a number of megabytes of UTF-8, some MB at a time; the same ones for the same seed.

    Parameters
    ----------
    only
        Kind of all documents; by default, they are of all kinds.
    """
    draw = np.random.default_rng(seed)
    shares = _pool().shares(only)
    left = int(megabytes * 1e6)
    while left > 0:
        block: list[str] = []
        for text in _drawn(_pool(), draw, min(left, _AT_ONCE), new_words, shares):
            block.append(text)
            left -= len(text.encode())
            if left <= 0:
                break
        yield block


def _drawn(pool: _Pool, draw: np.random.Generator, characters: int, new_words: float, shares: npt.NDArray[np.float64]) -> Iterator[str]:
    """Yield documents with about a number of characters together, at least one document."""
    expected = MEDIAN * np.exp(SPREAD**2 / 2)
    source = draw.choice(len(pool.first), size=max(1, round(characters / expected)), p=shares)
    wanted = np.clip(draw.lognormal(np.log(MEDIAN), SPREAD, len(source)), SHORTEST, LONGEST)
    counts = np.maximum(1, np.round(wanted / pool.mean[source])).astype(int)
    chosen = draw.integers(np.repeat(pool.first[source], counts), np.repeat(pool.last[source], counts))
    lengths = pool.lengths[chosen]
    ends = np.cumsum(lengths)
    where = concatenated_ranges(pool.starts[chosen], lengths)
    text = pool.text[where]
    _renew(text, pool.is_letter[where], pool.word_lengths[where], new_words, draw)
    whole = text.tobytes().decode("utf-32-le")
    start = 0
    for end in ends[np.cumsum(counts) - 1].tolist():
        yield whole[start : end - 2]  # without the blank line behind the last paragraph
        start = end


def _renew(
    text: Codes, is_letter: npt.NDArray[np.bool_], word_lengths: npt.NDArray[np.int32], share: float, draw: np.random.Generator
) -> None:
    """Exchange two letters of a share of the words, in place."""
    words = np.flatnonzero(word_lengths >= 3)
    words = words[draw.random(len(words)) < share]
    letters = np.flatnonzero(is_letter)
    here = np.searchsorted(letters, words)
    for _ in range(2):
        changed = words + (draw.random(len(words)) * word_lengths[words]).astype(int)
        nearby = np.clip(here + draw.integers(-_NEARBY, _NEARBY, len(words)), 0, len(letters) - 1)
        text[changed] = text[letters[nearby]]


def _letters(text: Codes) -> npt.NDArray[np.bool_]:
    used, places = np.unique(text, return_inverse=True)
    return np.array([chr(code).isalpha() for code in used])[places]


def _word_lengths(is_letter: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return the length of each word at its first letter, and 0 elsewhere."""
    edges = np.diff(is_letter.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = np.zeros(len(is_letter), np.int32)
    lengths[starts] = ends - starts
    return lengths
