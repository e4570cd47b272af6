"""The order's laws."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phyagi_assets.datasets.order import interleaved, permuted


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097])
def test_a_permutation_takes_every_index_once(size: int) -> None:
    assert np.array_equal(np.sort(permuted(np.arange(size), size, key=11)), np.arange(size))


@given(size=st.integers(1, 10**12), key=st.integers(0, 2**64 - 1), data=st.data())
def test_a_permutation_of_any_size_stays_inside_and_gives_different_indices_different_places(
    size: int, key: int, data: st.DataObject
) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50, unique=True)))
    placed = permuted(index, size, key)
    assert placed.min() >= 0
    assert placed.max() < size
    assert len(set(placed.tolist())) == len(index)


def test_another_key_is_another_permutation() -> None:
    one, other = (permuted(np.arange(1000), 1000, key) for key in (1, 2))
    assert (one == other).sum() < 10


@example(counts=[45, 5])  # places that coincide
@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any))
def test_interleaving_draws_every_sample_of_every_corpus_in_its_turn(counts: list[int]) -> None:
    array = np.array(counts)
    corpus, drawn = interleaved(np.arange(array.sum()), array)
    for i, count in enumerate(counts):
        assert np.array_equal(drawn[corpus == i], np.arange(count))


@given(counts=st.lists(st.integers(1, 200), min_size=1, max_size=8))
def test_every_prefix_keeps_to_the_shares_within_the_stated_bound(counts: list[int]) -> None:
    array = np.array(counts)
    total = array.sum()
    corpus, _ = interleaved(np.arange(total), array)
    given = np.cumsum(corpus[:, None] == np.arange(len(array)), axis=0)
    wanted = np.arange(1, total + 1)[:, None] * array / total
    assert (np.abs(given - wanted) <= 0.5 + len(array) * array / (2 * total) + 1e-9).all()


@given(counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=6).filter(any), data=st.data())
def test_a_position_is_found_alone_as_among_others(counts: list[int], data: st.DataObject) -> None:
    array = np.array(counts)
    positions = np.array(data.draw(st.lists(st.integers(0, int(array.sum()) - 1), min_size=2, max_size=5)))
    corpus, drawn = interleaved(positions, array)
    for i, position in enumerate(positions):
        alone = interleaved(np.array([position]), array)
        assert (alone[0][0], alone[1][0]) == (corpus[i], drawn[i])
