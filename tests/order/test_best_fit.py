"""Packing of whole documents: no token is lost, no document that fits is cut, and samples are as full as with best-fit decreasing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.order.best_fit import PackedSamples, merges_documents, packed

LENGTHS = st.lists(st.integers(1, 60), max_size=60)


def parts(samples: PackedSamples) -> list[list[tuple[int, int]]]:
    """Return the parts of each sample, as begin and end in the token array."""
    spans = list(zip(samples.starts.tolist(), (samples.starts.astype(int) + samples.lengths).tolist(), strict=True))
    return [spans[low:high] for low, high in pairwise(samples.ends.tolist())]


def one_by_one(lengths: list[int], seq_len: int) -> list[int]:
    """Return the space left in each sample by best-fit decreasing, one document at a time."""
    spaces: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, space in enumerate(spaces) if space >= length]
        if fitting:
            spaces[min(fitting, key=spaces.__getitem__)] -= length
        else:
            spaces.append(seq_len - length)
    return sorted(spaces)


@given(LENGTHS, st.integers(2, 40))
def test_packed_samples_contain_every_token_once_and_documents_that_fit_uncut(lengths: list[int], seq_len: int) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    found = parts(packed(ends, seq_len))
    assert sorted(token for sample in found for start, stop in sample for token in range(start, stop)) == list(range(sum(lengths)))
    pieces = []
    for end, length in zip(ends.tolist(), lengths, strict=True):
        begin = end - length
        pieces += [(at, min(at + seq_len, end)) for at in range(begin, end, seq_len)]
    assert sorted(part for sample in found for part in sample) == pieces
    assert all(sum(stop - start for start, stop in sample) <= seq_len for sample in found)


@given(LENGTHS, st.integers(2, 40))
def test_packed_samples_are_as_full_as_best_fit_one_document_at_a_time(lengths: list[int], seq_len: int) -> None:
    found = parts(packed(np.cumsum(lengths, dtype=np.int64), seq_len))
    rests = [length % seq_len for length in lengths if length % seq_len]
    full = [0] * sum(length // seq_len for length in lengths)
    assert sorted(seq_len - sum(stop - start for start, stop in sample) for sample in found) == sorted(full + one_by_one(rests, seq_len))


@given(LENGTHS, st.integers(2, 40), st.booleans())
def test_packed_samples_and_their_parts_are_ordered_by_their_first_token(lengths: list[int], seq_len: int, merges: bool) -> None:
    found = parts(packed(np.cumsum(lengths, dtype=np.int64), seq_len, merges=merges))
    assert all(sample == sorted(sample) for sample in found)
    assert found == sorted(found)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=200), st.sampled_from([32, 48, 512, 2048]))
def test_index_takes_at_most_a_byte_per_token(lengths: list[int], seq_len: int) -> None:
    ends = np.cumsum(lengths, dtype=np.int64)
    whole = np.concatenate([ends + i * ends[-1] for i in range(40)])  # more than one sample
    merges = merges_documents(whole, seq_len)
    samples = packed(whole, seq_len, merges=merges)
    assert samples.bytes <= whole[-1] + 64
    assert merges == samples.merged
    found = [part for sample in parts(samples) for part in sample]
    assert sum(stop - start for start, stop in found) == whole[-1]
    borders = {0, *whole.tolist()}
    assert all(start in borders and stop in borders for start, stop in found)


def test_index_of_ordinary_documents_takes_a_fraction_of_a_byte_and_merges_nothing() -> None:
    ends = np.cumsum(np.random.default_rng(0).integers(20, 900, 3000))
    assert not merges_documents(ends, 2048)
    assert packed(ends, 2048).bytes < 0.02 * ends[-1]


@pytest.mark.parametrize("seq_len", [2048, 8192])
@pytest.mark.parametrize("kind", ["log-normal", "many short", "few long"])
def test_packed_samples_of_large_partitions_are_full(kind: str, seq_len: int) -> None:
    draw = np.random.default_rng(0)
    lengths = {
        "log-normal": np.clip(draw.lognormal(6.2, 1.2, 12_000), 1, 200_000).astype(int),
        "many short": draw.integers(5, 60, 350_000),
        "few long": np.concatenate([draw.integers(seq_len, 20 * seq_len, 500_000 // (seq_len // 2)), draw.integers(20, 300, 1_500)]),
    }[kind]
    ends = np.cumsum(lengths)
    assert ends[-1] > 10e6
    samples = packed(ends, seq_len)
    assert ends[-1] >= 0.995 * samples.samples * seq_len


@given(LENGTHS, st.integers(2, 40), st.integers(0, 3600), st.integers(1, 80))
def test_samples_of_a_range_of_tokens_are_found(lengths: list[int], seq_len: int, start: int, tokens: int) -> None:
    samples = packed(np.cumsum(lengths, dtype=np.int64), seq_len)
    expected = [i for i, of in enumerate(parts(samples)) if any(begin < start + tokens and end > start for begin, end in of)]
    assert samples.holding(start, start + tokens).tolist() == expected


def test_packing_of_a_few_documents_is_pinned() -> None:
    samples = packed(np.cumsum([3, 10, 1, 4, 9, 2, 2, 7]), 8)
    assert parts(samples) == [[(0, 3), (14, 18), (26, 27)], [(3, 11)], [(11, 13), (27, 29), (29, 31)], [(13, 14), (31, 38)], [(18, 26)]]
