"""The order of training as arithmetic: no permutation is stored, no index list, and any position is found on its own.

`permuted` shuffles within a corpus, `interleaved` mixes corpora. Both work on arrays of positions.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_ROUNDS = 6


def permuted(index: Ints, size: int, key: int) -> Ints:
    """A keyed permutation of ``range(size)``.

    A balanced Feistel network over the smallest even number of bits that holds `size`, walked along its cycles until it lands inside
    (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). The walk takes four steps or fewer on average.

    Parameters
    ----------
    index
        Indices in ``range(size)``, of any shape.
    size
        How many there are, up to 2**62.
    key
        Which permutation.

    Examples
    --------
    >>> sorted(permuted(np.arange(5), 5, key=7).tolist())
    [0, 1, 2, 3, 4]
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    keys = _mix(np.arange(1, _ROUNDS + 1, dtype=np.uint64) * _GOLDEN + np.uint64(key % 2**64))
    value = np.asarray(index).astype(np.uint64).ravel()
    outside = np.arange(len(value))
    while len(outside):
        value[outside] = _feistel(value[outside], half, keys)
        outside = outside[value[outside] >= np.uint64(size)]
    return value.astype(np.int64).reshape(np.shape(index))


def interleaved(position: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Which corpus each position draws from, and how many samples that corpus has given before.

    Sample k of a corpus with c samples stands at (k + 1/2) / c of the way; the corpora are merged in that order, the first one
    first where two stand together. At every prefix of t samples a corpus has given t·c/T of its own within 1/2 + n·c/2T, where T
    is the sum of the n counts.

    Parameters
    ----------
    position
        1-D, in ``range(counts.sum())``.
    counts
        1-D, samples of each corpus, at least one of them positive.

    Returns
    -------
    corpus, drawn
        1-D arrays as long as `position`.
    """
    # From samples that are surely given by now, step by step in the order of the merge: at most two steps a corpus are left.
    total, corpora = counts.sum(), len(counts)
    surely = position[:, None] / total * counts - 0.5 - corpora * counts / (2 * total)
    drawn = np.maximum(np.floor(surely), 0).astype(np.int64)
    while (left := np.flatnonzero(drawn.sum(axis=1) < position)).size:
        drawn[left, _place(drawn[left], counts).argmin(axis=1)] += 1
    corpus = _place(drawn, counts).argmin(axis=1)
    return corpus, drawn[np.arange(len(position)), corpus]


def _place(k: Ints, counts: Ints) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.where(k < counts, (k + 0.5) / counts, np.inf)


def derived_key(*numbers: int) -> int:
    """A 64-bit key of a seed and whatever else tells one permutation from another (NumPy's `SeedSequence`)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def uniform(index: Ints, key: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each index, the same one for the same key."""
    mixed = _mix(np.asarray(index).astype(np.uint64) * _GOLDEN + _mix(np.array([key % 2**64], dtype=np.uint64)))
    return mixed / 2.0**64


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _feistel(value: npt.NDArray[np.uint64], half: np.uint64, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for key in keys:
        left, right = right, left ^ (_mix(right * _GOLDEN + key) & mask)
    return (left << half) | right
