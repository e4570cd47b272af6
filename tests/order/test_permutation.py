"""Law 1: an epoch contains every sample once, shuffled; the next epoch has a different order."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.order.permutation import derived_key, epoch_key, permuted, uniform, unpermuted

WORD = 1 << 64
KEYS = st.integers(0, WORD - 1)
GOLDEN = 0x9E3779B97F4A7C15


def mixed(word: int) -> int:
    """Apply the finalizer of SplitMix64, with Python integers."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


class Cipher:
    """The same permutation and its inverse, with Python integers; a function with an inverse is a bijection."""

    def __init__(self, size: int, key: int) -> None:
        self.size, self.key = size, mixed(key)
        self.high = max(8, math.ceil(math.sqrt(float(size))))
        self.low = max(8, -(-size // self.high))

    def __call__(self, index: int) -> int:
        return self._walked(index, range(6), 1)

    def inverse(self, index: int) -> int:
        return self._walked(index, reversed(range(6)), -1)

    def _walked(self, index: int, rounds: Any, sign: int) -> int:
        order = list(rounds)
        while True:
            cell = list(divmod(index, self.low))
            for number in order:
                side = number % 2  # rounds change the two sides in turn
                limit = (self.high, self.low)[side]
                word = mixed((cell[1 - side] * GOLDEN + self.key * (GOLDEN ^ 2 * (number + 1))) % WORD) >> 32
                cell[side] = (cell[side] + sign * (word * limit >> 32)) % limit
            index = cell[0] * self.low + cell[1]
            if index < self.size:
                return index


def test_every_index_occurs_once_for_all_small_sizes(pytestconfig: pytest.Config) -> None:
    sizes = np.arange(1, 5_001 if pytestconfig.getoption("soak") else 1_501)
    for some in np.array_split(sizes, 25):
        first = np.cumsum(some) - some
        size = np.repeat(some, some)
        index = np.arange(len(size)) - np.repeat(first, some)
        image = permuted(index, size, (size * 977).astype(np.uint64))
        assert ((image >= 0) & (image < size)).all()
        assert (np.bincount(image + np.repeat(first, some), minlength=len(size)) == 1).all()


def sizes() -> st.SearchStrategy[int]:
    return st.integers(1, 200) | st.integers(1, 10**12) | st.integers(2**62 - 10**6, 2**62)


@given(size=sizes(), key=KEYS, data=st.data())
def test_permutation_is_the_documented_cipher(size: int, key: int, data: st.DataObject) -> None:
    index = [*data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8)), 0, size - 1]
    cipher = Cipher(size, key)
    image = permuted(np.array(index), size, key).tolist()
    assert image == [cipher(number) for number in index]
    assert [cipher.inverse(number) for number in image] == index
    assert permuted(np.array(index * 9), size, key).tolist() == image * 9  # many are computed together, and a few one by one
    assert unpermuted(np.array(image * 9), size, key).tolist() == index * 9
    assert unpermuted(np.array(image), size, key).tolist() == index


@given(size=st.integers(10**5, 2**62), first=st.integers(0, 2**61), key=KEYS)
def test_parts_of_huge_ranges_have_no_collisions(size: int, first: int, key: int) -> None:
    index = first % (size - 10**4) + np.arange(10**4)
    image = permuted(index, size, key)
    assert len(np.unique(image)) == len(index)
    assert 0 <= image.min() <= image.max() < size


def test_arrays_of_indices_sizes_and_keys_equal_single_calls() -> None:
    draw = np.random.default_rng(0)
    size = draw.integers(1, 10**9, (7, 5))
    index, key = draw.integers(0, size), draw.integers(0, WORD, (7, 5), dtype=np.uint64)
    together = permuted(index.ravel(), size.ravel(), key.ravel()).tolist()
    alone = [int(permuted(np.array([i]), int(n), int(k))[0]) for i, n, k in zip(index.flat, size.flat, key.flat, strict=True)]
    assert together == alone
    assert permuted(index, 10**9, 3).shape == index.shape
    assert permuted(np.zeros(0, dtype=np.int64), 5, 3).tolist() == []


def epochs(size: int, count: int, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the orders of consecutive epochs, shape ``(count, size)``."""
    epoch = np.repeat(np.arange(count), size)
    keys = epoch_key(np.full(len(epoch), derived_key(seed), dtype=np.uint64), epoch)
    return permuted(np.tile(np.arange(size), count), size, keys).reshape(count, size)


def keyed(size: int, count: int) -> npt.NDArray[np.int64]:
    """Return the orders of consecutive keys, shape ``(count, size)``."""
    return permuted(np.tile(np.arange(size), count), size, np.repeat(np.arange(count), size).astype(np.uint64)).reshape(count, size)


def excess(counts: npt.NDArray[Any], freedom: int | None = None) -> float:
    """Return the chi-squared statistic of counts whose expectation is uniform, minus its mean, in standard deviations."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1 if freedom is None else freedom
    return float((((counts - expected) ** 2).sum() / expected - freedom) / math.sqrt(2 * freedom))


def ranked(orders: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return a number for each order; equal orders have equal numbers."""
    numbers: npt.NDArray[np.int64] = orders @ orders.shape[1] ** np.arange(orders.shape[1])
    return numbers


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("orders", [epochs, keyed])
def test_all_orders_of_a_few_indices_are_equally_frequent(orders: Any, size: int) -> None:
    possible = math.factorial(size)
    found = np.unique(ranked(orders(size, 400 * possible)), return_counts=True)[1]
    assert len(found) == possible
    assert abs(excess(found)) < 5


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("orders", [epochs, keyed])
def test_order_of_a_few_indices_does_not_predict_the_next(orders: Any, size: int) -> None:
    possible = math.factorial(size)
    number = np.unique(ranked(orders(size, 100 * possible**2 + 1)), return_inverse=True)[1]
    pairs = np.bincount(number[:-1] * possible + number[1:], minlength=possible**2)
    assert abs(excess(pairs)) < 5


@pytest.mark.parametrize("size", [6, 7, 12, 30, 97, 500])
@pytest.mark.parametrize("orders", [epochs, keyed])
def test_every_sample_is_equally_frequent_at_every_place(orders: Any, size: int) -> None:
    found = orders(size, max(2_000, 6 * size))
    counts = np.bincount((np.arange(size) * size + found).ravel(), minlength=size**2)
    assert abs(excess(counts, (size - 1) ** 2)) < 5


def pairs_of(orders: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> Iterator[float]:
    """Yield statistics that are near zero for uncorrelated rows, in standard deviations."""
    count, size = orders.shape
    centred = [(of - (size - 1) / 2) / math.sqrt((size**2 - 1) / 12) for of in (orders, other)]
    yield float((centred[0] * centred[1]).sum() / math.sqrt(count * size))  # rank correlation
    yield float(((orders == other).sum() - count) / math.sqrt(count))  # samples at the same place in both: one, on average


@pytest.mark.parametrize(("size", "count"), [(10, 4_000), (100, 1_000), (1_000, 200), (100_003, 4)])
def test_consecutive_epochs_keys_and_seeds_are_uncorrelated(size: int, count: int) -> None:
    by_epoch, by_key = epochs(size, count), keyed(size, count)
    by_seed = np.concatenate([epochs(size, 1, seed=seed) for seed in range(min(count, 200))])
    for orders in (by_epoch, by_key, by_seed):
        assert max(map(abs, pairs_of(orders[:-1], orders[1:]))) < 5
        assert max(map(abs, pairs_of(orders, np.broadcast_to(np.arange(size), orders.shape)))) < 5


@pytest.mark.parametrize(("size", "count"), [(10, 4_000), (100, 1_000), (100_003, 4)])
def test_neighbours_stay_neighbours_only_by_chance(size: int, count: int) -> None:
    steps = np.diff(epochs(size, count), axis=1)
    for step in (1, -1, 2):
        expected = count * (size - abs(step)) / size
        assert abs((steps == step).sum() - expected) < 5 * math.sqrt(expected)


def test_key_determines_the_order_in_every_release() -> None:
    assert permuted(np.arange(10), 10, 7).tolist() == [0, 6, 7, 2, 4, 8, 5, 1, 3, 9]
    assert derived_key(1, 2) == derived_key(1, 2) != derived_key(2, 1)
    assert permuted(np.arange(100), 100, 7).tolist() == permuted(np.arange(100), 100, 7 + WORD).tolist()


def test_numbers_by_index_are_uniform_and_depend_on_the_key() -> None:
    drawn = uniform(np.arange(100_000), key=3)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert abs(excess(np.bincount((drawn * 100).astype(int), minlength=100))) < 5
    assert drawn[[5, 3]].tolist() == uniform(np.array([5, 3]), key=3).tolist()
    assert abs(np.corrcoef(drawn, uniform(np.arange(100_000), key=4))[0, 1]) < 5 / math.sqrt(100_000)
