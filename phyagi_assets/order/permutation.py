"""Shuffling by arithmetic: keyed permutations of index ranges, and numbers drawn by index."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_ROUNDS = 6
"""Even, for the sides are where they were after two. After four, neighbours among a hundred indices stay neighbours noticeably often."""
_SIDE = np.uint64(8)
"""The shortest: in a smaller rectangle, some orders of a few indices come several times as often as others."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STEPS = _GOLDEN ^ (np.arange(1, _ROUNDS + 1, dtype=np.uint64) << np.uint64(1))
"""Odd, so that multiplying by one loses nothing of a key."""
_HALF = np.uint64(32)


def permuted(index: Ints, size: int | Ints, key: int | Words) -> Ints:
    """A keyed permutation of ``range(size)``.

    The generalized Feistel cipher of Black and Rogaway ("Ciphers with Arbitrary Finite Domains", CT-RSA 2002): six rounds over a
    rectangle of a × b cells, 8 × 8 or larger, that holds `size` and few cells more, walked along its cycles where it lands on one of those.

    Parameters
    ----------
    index
        Indices in ``range(size)``, of any shape.
    size
        How many there are, up to 2**62; one for all, or one for each.
    key
        Which permutation; one for all, or one (uint64) for each.

    Examples
    --------
    >>> sorted(permuted(np.arange(5), 5, key=7).tolist())
    [0, 1, 2, 3, 4]
    """
    return _walked(_rounds, index, size, key)


def unpermuted(place: Ints, size: int | Ints, key: int | Words) -> Ints:
    """The indices that `permuted` takes to these places.

    Parameters
    ----------
    place, size, key
        As those of `permuted`.

    Examples
    --------
    >>> unpermuted(permuted(np.arange(5), 5, key=7), 5, key=7).tolist()
    [0, 1, 2, 3, 4]
    """
    return _walked(_rounds_undone, place, size, key)


def _walked(rounds: Callable[[Words, Words, Words, Words], Words], index: Ints, size: int | Ints, key: int | Words) -> Ints:
    """Walk along the cycles of the rectangle's permutation, or back, until inside the range."""
    value = np.asarray(index).astype(np.uint64).ravel()
    sizes = np.broadcast_to(np.asarray(size).astype(np.uint64), value.shape)
    keys = np.broadcast_to(_mix(_word(key)), value.shape)
    high = np.maximum(np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.uint64), _SIDE)
    low = np.maximum((sizes + high - np.uint64(1)) // high, _SIDE)
    value = rounds(value, high, low, keys)
    outside = np.flatnonzero(value >= sizes)
    while len(outside):
        value[outside] = rounds(value[outside], high[outside], low[outside], keys[outside])
        outside = outside[value[outside] >= sizes[outside]]
    return value.astype(np.int64).reshape(np.shape(index))


def _rounds(value: Words, high: Words, low: Words, keys: Words) -> Words:
    one = value // low
    other = value - one * low
    this, that = (one, high), (other, low)
    for number in range(_ROUNDS):
        (moved, limit), (fixed, _) = this, that
        moved = _wrapped(moved + _step(fixed, limit, keys, number), limit)
        this, that = that, (moved, limit)
    return this[0] * low + that[0]


def _rounds_undone(value: Words, high: Words, low: Words, keys: Words) -> Words:
    one = value // low
    other = value - one * low
    this, that = (one, high), (other, low)
    for number in reversed(range(_ROUNDS)):
        (fixed, _), (moved, limit) = this, that
        moved = _wrapped(moved + limit - _step(fixed, limit, keys, number), limit)
        this, that = (moved, limit), this
    return this[0] * low + that[0]


def _step(fixed: Words, limit: Words, keys: Words, number: int) -> Words:
    """How far a round moves one side, given the other: in range(limit), as evenly as 32 bits allow."""
    return ((_mix(fixed * _GOLDEN + keys * _STEPS[number]) >> _HALF) * limit) >> _HALF


def _wrapped(value: Words, limit: Words) -> Words:
    """What is below twice the limit, below it: a difference below 0 is a large number."""
    wrapped: Words = np.minimum(value, value - limit)
    return wrapped


def epoch_key(key: Words, epoch: Ints) -> Words:
    """The key of an epoch's permutation: another one for each epoch of each key."""
    return _mix(key + _mix(epoch.astype(np.uint64) * _GOLDEN + np.uint64(1)))


def derived_key(*numbers: int) -> int:
    """A 64-bit key of a seed and whatever else tells one permutation from another (NumPy's `SeedSequence`)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def uniform(index: Ints, key: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each index, the same one for the same key."""
    return _mix(np.asarray(index).astype(np.uint64) * _GOLDEN + _mix(_word(key))) / 2.0**64


def _word(key: int | Words) -> Words:
    return np.array([key % 2**64], dtype=np.uint64) if isinstance(key, int) else key


def _mix(value: Words) -> Words:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
