"""Shuffling by arithmetic: keyed permutations of index ranges, and pseudorandom numbers by index."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_ROUNDS = 6
"""Even, because two rounds swap the sides twice. With four rounds, adjacent indices out of 100 stay adjacent noticeably often."""
_MIN_SIDE = np.uint64(8)
"""Smallest side. In a smaller rectangle, some orders of a few indices are several times as frequent as others."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STEPS = _GOLDEN ^ (np.arange(1, _ROUNDS + 1, dtype=np.uint64) << np.uint64(1))
"""Odd numbers, so that multiplication by one of them loses no information about a key."""
_HALF = np.uint64(32)
_FEW = 8
"""Largest number of values to compute one by one: for so few, Python's ints are faster than NumPy's arrays."""
_MASK = 2**64 - 1
_GOLDEN_INT, _STEP_INTS = int(_GOLDEN), tuple(map(int, _STEPS))


def permuted(index: Ints, size: int | Ints, key: int | Words) -> Ints:
    """Apply a keyed permutation of ``range(size)``.

    The algorithm is the generalized Feistel cipher of Black and Rogaway ("Ciphers with Arbitrary Finite Domains", CT-RSA 2002): six rounds
    over a rectangle of a × b cells, at least 8 × 8, which is slightly larger than `size`. A result outside the range is encrypted again
    until it falls inside (cycle walking).

    Parameters
    ----------
    index
        Indices in ``range(size)``, of any shape.
    size
        Length of the range, up to 2**62: one number, or one per index.
    key
        Key of the permutation: one number, or one uint64 per index.

    Examples
    --------
    >>> sorted(permuted(np.arange(5), 5, key=7).tolist())
    [0, 1, 2, 3, 4]
    """
    return _cycle_walk(_encrypt, _encrypt_one, index, size, key)


def unpermuted(place: Ints, size: int | Ints, key: int | Words) -> Ints:
    """Return the indices that `permuted` maps to the given places.

    Examples
    --------
    >>> unpermuted(permuted(np.arange(5), 5, key=7), 5, key=7).tolist()
    [0, 1, 2, 3, 4]
    """
    return _cycle_walk(_decrypt, _decrypt_one, place, size, key)


def _cycle_walk(
    rounds: Callable[[Words, Words, Words, Words], Words],
    rounds_scalar: Callable[[int, int, int, int], int],
    index: Ints,
    size: int | Ints,
    key: int | Words,
) -> Ints:
    """Walk along the cycles of the rectangle's permutation, forward or backward, until the values are inside the range.

    The last few values walk one by one: if the range is much smaller than the rectangle, one value can take dozens of steps.
    """
    value = np.asarray(index).astype(np.uint64).ravel()
    sizes = np.broadcast_to(np.asarray(size).astype(np.uint64), value.shape)
    keys = np.broadcast_to(_mix(_as_word(key)), value.shape)
    high = np.maximum(np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.uint64), _MIN_SIDE)
    low = np.maximum((sizes + high - np.uint64(1)) // high, _MIN_SIDE)
    outside = np.arange(len(value))
    if len(value) > _FEW:
        value = rounds(value, high, low, keys)
        outside = np.flatnonzero(value >= sizes)
    while len(outside) > _FEW:
        value[outside] = rounds(value[outside], high[outside], low[outside], keys[outside])
        outside = outside[value[outside] >= sizes[outside]]
    remaining = (column[outside].tolist() for column in (value, sizes, high, low, keys))
    for place, (single, limit, *sides_and_key) in zip(outside.tolist(), zip(*remaining, strict=True), strict=True):
        inside = rounds_scalar(single, *sides_and_key)
        while inside >= limit:
            inside = rounds_scalar(inside, *sides_and_key)
        value[place] = inside
    return value.astype(np.int64).reshape(np.shape(index))


def _encrypt(value: Words, high: Words, low: Words, keys: Words) -> Words:
    one = value // low
    other = value - one * low
    this, that = (one, high), (other, low)
    for number in range(_ROUNDS):
        (moved, limit), (fixed, _) = this, that
        moved = _reduced(moved + _step(fixed, limit, keys, number), limit)
        this, that = that, (moved, limit)
    return this[0] * low + that[0]


def _decrypt(value: Words, high: Words, low: Words, keys: Words) -> Words:
    one = value // low
    other = value - one * low
    this, that = (one, high), (other, low)
    for number in reversed(range(_ROUNDS)):
        (fixed, _), (moved, limit) = this, that
        moved = _reduced(moved + limit - _step(fixed, limit, keys, number), limit)
        this, that = (moved, limit), this
    return this[0] * low + that[0]


def _encrypt_one(value: int, high: int, low: int, key: int) -> int:
    one, other = divmod(value, low)
    for number in range(0, _ROUNDS, 2):
        one = (one + _step_of_one(other, high, key, number)) % high
        other = (other + _step_of_one(one, low, key, number + 1)) % low
    return one * low + other


def _decrypt_one(value: int, high: int, low: int, key: int) -> int:
    one, other = divmod(value, low)
    for number in range(_ROUNDS - 2, -1, -2):
        other = (other - _step_of_one(one, low, key, number + 1)) % low
        one = (one - _step_of_one(other, high, key, number)) % high
    return one * low + other


def _step(fixed: Words, limit: Words, keys: Words, number: int) -> Words:
    """Return the offset that a round adds to one side, given the other side: in ``range(limit)``, as uniform as 32 bits allow."""
    return ((_mix(fixed * _GOLDEN + keys * _STEPS[number]) >> _HALF) * limit) >> _HALF


def _step_of_one(fixed: int, limit: int, key: int, number: int) -> int:
    """Do what `_step` does, for one value."""
    value = (fixed * _GOLDEN_INT + key * _STEP_INTS[number]) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (((value ^ (value >> 31)) >> 32) * limit) >> 32


def _reduced(value: Words, limit: Words) -> Words:
    """Reduce values below twice the limit modulo the limit; a negative difference wraps to a large number."""
    wrapped: Words = np.minimum(value, value - limit)
    return wrapped


def epoch_key(key: Words, epoch: Ints) -> Words:
    """Return the key of the permutation of an epoch, which differs for each epoch."""
    return _mix(key + _mix(epoch.astype(np.uint64) * _GOLDEN + np.uint64(1)))


def derived_key(*numbers: int) -> int:
    """Derive a 64-bit key from a seed and further numbers that identify a permutation, with NumPy's `SeedSequence`."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def uniform(index: Ints, key: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each index, which depends only on the index and the key."""
    return _mix(np.asarray(index).astype(np.uint64) * _GOLDEN + _mix(_as_word(key))) / 2.0**64


def _as_word(key: int | Words) -> Words:
    return np.array([key % 2**64], dtype=np.uint64) if isinstance(key, int) else key


def _mix(value: Words) -> Words:
    """Mix the bits of 64-bit words.

    This is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
    """
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
