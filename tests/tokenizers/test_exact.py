"""A fast engine and the reference engine together give exact ids."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.tokenizers.engine_pool import Engines
from phyagi_assets.tokenizers.engines import Engine, FastokensEngine, ReferenceEngine
from phyagi_assets.tokenizers.exact import EngineMismatch, ExactTokenizer
from tests.tokenizers.faulty_engines import FailingEngine, FaultyEngine


@pytest.fixture(scope="module")
def backend(prepared_store: Path) -> Path:
    (found,) = prepared_store.rglob("backend.json")
    return found


@pytest.fixture(scope="module")
def reference(backend: Path) -> ReferenceEngine:
    return ReferenceEngine(backend)


def _assert_exact(exact: ExactTokenizer, reference: Engine, texts: list[str]) -> None:
    column = pa.array(texts, pa.string())
    given, truth = exact.encode(column), reference.encode(column)
    assert np.array_equal(given.ends, truth.ends)
    assert np.array_equal(given.ids, truth.ids)


@pytest.fixture(scope="module")
def fast(backend: Path) -> FastokensEngine:
    return FastokensEngine(backend)


LETTERS = "abc \n\0]^\\-.é\u017f\U0001f642"


@settings(deadline=None)
@given(unsafe=st.sets(st.sampled_from(LETTERS)), texts=st.lists(st.text(LETTERS, max_size=12), max_size=10))
def test_documents_keep_their_order_with_either_engine(
    fast: FastokensEngine, reference: ReferenceEngine, unsafe: set[str], texts: list[str]
) -> None:
    wrong = FaultyEngine(fast, lambda text: not unsafe.isdisjoint(text))
    engines = Engines(reference=reference, fast=wrong, unsafe=tuple(map(ord, unsafe)))
    _assert_exact(ExactTokenizer(engines), reference, texts)


def test_reference_encodes_everything_without_a_fast_engine(reference: ReferenceEngine) -> None:
    exact = ExactTokenizer(Engines(reference=reference))
    assert exact.engine == ReferenceEngine.name
    _assert_exact(exact, reference, ["one", "", "three"])


RARE = ["The quick brown fox jumps over the lazy dog. " * 3 for _ in range(5_000)]
RARE[3_210] = "xyzzy"


@pytest.mark.parametrize(
    ("wrong", "texts", "verify"),
    [
        pytest.param(lambda text: "fox" in text, RARE, "sample", id="sampled"),
        pytest.param(lambda text: "fox" in text, ["fox " * 100_000], "sample", id="sampled in windows of a long document"),
        pytest.param(lambda text: "xyzzy" in text, RARE, "full", id="one document of many"),
    ],
)
def test_compared_difference_is_a_mismatch_that_quotes_the_document(
    fast: FastokensEngine, reference: ReferenceEngine, wrong: Callable[[str], bool], texts: list[str], verify: str
) -> None:
    exact = ExactTokenizer(Engines(reference=reference, fast=FaultyEngine(fast, wrong)), verify=verify)
    begins = "xyzzy" if verify == "full" else "(The quick|.*fox )"
    with pytest.raises(EngineMismatch, match=rf"faulty 1 and tokenizers .* differ on a document that begins '{begins}"):
        exact.encode(pa.array(texts))


def test_sampled_verification_can_miss_a_difference(fast: FastokensEngine, reference: ReferenceEngine) -> None:
    """Show why `verify: full` exists; the sample is seeded, so that every run draws the same one."""
    engines = Engines(reference=reference, fast=FaultyEngine(fast, lambda text: "xyzzy" in text))
    encoded = ExactTokenizer(engines).encode(pa.array(RARE))
    assert not np.array_equal(encoded.ids_of(3_210), reference.encode(pa.array(["xyzzy"])).ids)


def test_full_verification_accepts_correct_ids(fast: FastokensEngine, reference: ReferenceEngine) -> None:
    _assert_exact(ExactTokenizer(Engines(reference=reference, fast=fast), verify="full"), reference, RARE[:500])


def test_failing_engine_is_a_mismatch(backend: Path, reference: ReferenceEngine) -> None:
    with pytest.raises(EngineMismatch, match="failing 1 fails: cannot encode 1 texts"):
        ExactTokenizer(Engines(reference=reference, fast=FailingEngine(backend))).encode(pa.array(["text"]))
