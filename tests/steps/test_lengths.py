"""Statistics of document lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.steps.lengths import Lengths, array_lengths, row_lengths
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare_corpus, write_jsonl


@given(lengths=st.lists(st.integers(0, 2**40), min_size=1).filter(any))
def test_histogram_counts_each_nonempty_document_in_the_bin_of_its_length(lengths: list[int]) -> None:
    described = Lengths.of(np.array(lengths, np.int64))
    assert described is not None
    full = [length for length in lengths if length]
    assert described.documents == len(full) == sum(count for _, count in described.histogram)
    for bound, count in described.histogram:
        assert count == sum(bound <= length < 2 * bound for length in full)
    assert described.histogram[0][1] > 0
    assert described.histogram[-1][1] > 0
    assert [bound for bound, _ in described.histogram] == [described.histogram[0][0] << i for i in range(len(described.histogram))]


@given(lengths=st.lists(st.integers(1, 2**40), min_size=1))
def test_quantiles_are_existing_lengths_in_order(lengths: list[int]) -> None:
    described = Lengths.of(np.array(lengths, np.int64))
    assert described is not None
    values = list(described.quantiles.values())
    assert values == sorted(values)
    assert set(values) <= set(lengths)
    assert (values[0], values[-1]) == (min(lengths), max(lengths))
    assert described.mean == pytest.approx(sum(lengths) / len(lengths))


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_lengths_of_no_documents_are_empty(lengths: list[int]) -> None:
    assert Lengths.of(np.array(lengths, np.int64)) is None


def test_lengths_of_a_tokenized_artifact_and_its_cache_are_equal(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", ["word " * (i % 9) for i in range(60)])
    corpus = declare_corpus(workspace.data, "c", "c.jsonl", splits={"validation": 0.5})
    ((_, tokenized, cache),) = build(corpus, workspace).values()
    assert row_lengths(tokenized.artifact).tolist() == [i % 9 + 2 if i % 9 else 0 for i in range(60)]
    assert len(cache.artifact.manifest.counts) == 2
    assert Lengths.of(array_lengths(cache.artifact)) == Lengths.of(row_lengths(tokenized.artifact))
