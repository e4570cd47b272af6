"""The shuffle within a window: a bijection of every epoch (law 1), computed in constant memory, that reads few blocks at a time."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.windows import block_for, unwindowed, windowed

KEYS = st.integers(0, 2**64 - 1)


def order(index: Ints, samples: int, block: int, key: int = 7) -> Ints:
    return windowed(index, np.full(len(index), samples), np.full(len(index), block), np.full(len(index), key, np.uint64))


@given(samples=st.integers(1, 400), block=st.integers(1, 60), key=KEYS)
def test_every_sample_comes_once_few_blocks_are_read_at_a_time_and_half_of_the_window_is_unused(samples: int, block: int, key: int) -> None:
    found = order(np.arange(samples), samples, block, key).tolist()
    assert sorted(found) == list(range(samples))
    left, begun, most, unused = Counter(sample // block for sample in range(samples)), set(), 0, 0
    for sample in found:
        begun.add(sample // block)
        most = max(most, len(begun))
        left[sample // block] -= 1
        begun -= {sample // block} if not left[sample // block] else set()
        unused = max(unused, sum(left[number] for number in begun))
    assert most <= block + 1
    assert unused <= block * (block + 1) / 2  # as docs/training-from-a-bucket.md says


@given(samples=st.integers(1, 2**61), block=st.integers(1, 2**31), key=KEYS, data=st.data())
def test_unwindowed_is_the_inverse_of_windowed(samples: int, block: int, key: int, data: st.DataObject) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, samples - 1), min_size=1, max_size=20)))
    others = np.full(len(index), samples), np.full(len(index), block), np.full(len(index), key, np.uint64)
    found = windowed(index, *others)
    assert ((found >= 0) & (found < samples)).all()
    assert unwindowed(found, *others).tolist() == index.tolist()


def test_samples_of_a_batch_are_from_different_blocks_and_epochs_differ() -> None:
    first, second = (order(np.arange(100_000), 10**9, 1000, key) for key in (1, 2))
    assert len(set((first[-500:] // 1000).tolist())) > 350  # of 500 draws from about 450 blocks, without repetition within a slot
    assert len(set(first.tolist()) & set(second.tolist())) < 100
    assert (np.diff(first) == 1).sum() < 10


def test_window_that_holds_the_group_needs_no_blocks() -> None:
    assert [block_for(*of) for of in ((100, 100), (99, 100), (0, 5), (2_000_000, 10**9))] == [0, 9, 2, 1414]
