"""The fast engines give the ids of the reference engine on strings that are hard to tokenize."""

import os
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from phyagi_assets.errors import TokenizerError
from phyagi_assets.tokenizers import engines
from phyagi_assets.tokenizers.awkward import awkward_strings
from phyagi_assets.tokenizers.engines import Encoded, Engine, FastokensEngine, GigatokenEngine, ReferenceEngine
from tests.forks import in_fork

Both = tuple[ReferenceEngine, Engine]


@pytest.fixture(scope="module", params=[GigatokenEngine, FastokensEngine])
def both(prepared_store: Path, request: pytest.FixtureRequest) -> Both:
    (backend,) = prepared_store.rglob("backend.json")
    return ReferenceEngine(backend), request.param(backend)


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
    parts = [encoded.ids_of(i) for i in range(len(texts))]
    assert [len(part) for part in parts] == encoded.lengths.tolist()
    assert np.array_equal(np.concatenate([*parts, np.empty(0, np.uint32)]), encoded.ids)
    for text, part in zip(texts, parts, strict=True):
        assert np.array_equal(part, both[0].encode(pa.array([text])).ids)


def test_text_that_the_tokenizer_cannot_encode_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"known": 0}, unk_token="[UNK]"))
    words.save(str(tmp_path / "backend.json"))
    engine = ReferenceEngine(tmp_path / "backend.json")
    assert engine.encode(pa.array(["known"])).ids.tolist() == [0]
    with pytest.raises(TokenizerError, match=r"cannot encode a text: WordLevel error: Missing \[UNK\] .*; if it has no token for unknown"):
        engine.encode(pa.array(["new"]))


def test_slices_of_columns_are_encoded_correctly(both: Both) -> None:
    column = pa.array(["one", "two words", "", "four"])
    for engine in both:
        assert np.array_equal(engine.encode(column[1:]).ids, engine.encode(pa.array(column[1:].to_pylist())).ids)


def test_encoding_by_several_threads_gives_equal_ids(both: Both) -> None:
    columns = [pa.array(awkward_strings(["<|endoftext|>"], count=50, seed=seed), pa.string()) for seed in range(20)]
    with ThreadPoolExecutor(4) as threads:
        encoded = list(threads.map(both[1].encode, columns))
    for column, found in zip(columns, encoded, strict=True):
        assert np.array_equal(found.ids, both[0].encode(column).ids)


def test_many_threads_encode_at_once_and_a_process_forked_from_theirs_too(prepared_store: Path) -> None:
    (backend,) = prepared_store.rglob("backend.json")
    threads, long = in_fork(_with_four_threads, backend)
    assert threads == [True] * 8
    assert long == [True, True]


def _with_four_threads(backend: Path) -> tuple[list[bool], list[bool]]:
    """Return whether texts have correct ids: short ones in four threads, and one of 4 MB, also in a forked process."""
    os.environ["RAYON_NUM_THREADS"] = "4"
    fast, columns = GigatokenEngine(backend), [pa.array([f"text {i} of {many}" for i in range(many)]) for many in range(1_000, 1_008)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(fast.encode, columns))
    reference = ReferenceEngine(backend)
    short = [np.array_equal(ids.ids, reference.encode(column).ids) for ids, column in zip(found, columns, strict=True)]
    return short, [_encodes_long_text(backend), in_fork(_encodes_long_text, backend, context=get_context("fork"))]


def _encodes_long_text(backend: Path) -> bool:
    words, times = " a text of words.", 250_000
    ids = GigatokenEngine(backend).encode(pa.array([words * times])).ids
    return np.array_equal(ids, np.tile(ReferenceEngine(backend).encode(pa.array([words])).ids, times))


def test_engine_with_an_unbounded_cache_is_recreated_after_growth_even_without_its_file(
    prepared_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (saved,) = prepared_store.rglob("backend.json")
    backend = Path(shutil.copy(saved, tmp_path))
    memory = iter([100, 100, 200, 200, 200])
    monkeypatch.setattr(engines, "memory_in_use", lambda: next(memory))
    monkeypatch.setattr(engines, "GROWTH", 50)
    engine, made = GigatokenEngine(backend), []
    backend.unlink()
    for _ in range(3):
        engine.encode(pa.array(["a text"]))
        made.append(weakref.ref(engine._tokenizer))
    assert made[0]() is None
    assert made[1]() is made[2]() is not None


def test_cache_of_an_engine_in_use_is_freed_before_growth_is_measured_again(prepared_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (backend,) = prepared_store.rglob("backend.json")
    engine = GigatokenEngine(backend)
    old, of_other_thread = weakref.ref(engine._tokenizer), [engine._tokenizer]
    memory: list[str] = []

    def measure() -> int:
        memory.append("old cache" if old() else "new cache")
        return engine._base + engine._growth + 1

    monkeypatch.setattr(engines, "memory_in_use", measure)
    threading.Timer(0.1, of_other_thread.clear).start()
    assert len(engine.encode(pa.array(["a text"])).ids)
    assert memory == ["old cache", "new cache"]
