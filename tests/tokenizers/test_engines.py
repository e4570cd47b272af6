"""Both engines, on strings that engines have been seen to disagree on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.tokenizers.awkward import awkward_strings
from phyagi_assets.tokenizers.engines import Encoded, FastokensEngine, ReferenceEngine

Both = tuple[ReferenceEngine, FastokensEngine]


@pytest.fixture(scope="module")
def both(prepared_store: Path) -> Both:
    (backend,) = prepared_store.rglob("backend.json")
    return ReferenceEngine(backend), FastokensEngine(backend)


def _assert_equal(both: Both, texts: list[str]) -> Encoded:
    column = pa.array(texts, pa.string())
    reference, fast = (engine.encode(column) for engine in both)
    assert np.array_equal(reference.ends, fast.ends)
    assert np.array_equal(reference.ids, fast.ids)
    assert (fast.ids.dtype, fast.ends.dtype) == (reference.ids.dtype, reference.ends.dtype) == (np.uint32, np.int64)
    return fast


def test_awkward_strings_have_equal_ids(both: Both) -> None:
    _assert_equal(both, awkward_strings(["<|endoftext|>"], count=2000, seed=7))


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=200), max_size=8))
def test_any_texts_have_equal_ids_per_document(both: Both, texts: list[str]) -> None:
    encoded = _assert_equal(both, texts)
    parts = [encoded.of(i) for i in range(len(texts))]
    assert [len(part) for part in parts] == encoded.lengths.tolist()
    assert np.array_equal(np.concatenate([*parts, np.empty(0, np.uint32)]), encoded.ids)
    for text, part in zip(texts, parts, strict=True):
        assert np.array_equal(part, both[0].encode(pa.array([text])).ids)


def test_slices_of_columns_are_encoded_correctly(both: Both) -> None:
    column = pa.array(["one", "two words", "", "four"])
    for engine in both:
        assert np.array_equal(engine.encode(column[1:]).ids, engine.encode(pa.array(column[1:].to_pylist())).ids)
