"""Caches from texts in memory."""

import logging
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import SourceError
from phyagi_assets.steps import text_cache
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.text_cache import TextCache, Texts, document_cut, write_text_cache
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.engine_pool import EngineChoice, EnginePool
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepared import PreparedTokenizer
from tests.support import declare_corpus
from tests.tokenizers.faulty_engines import FailingEngine, faulty, pool_of

EOS = 50_256
TRAIN = ["One document.", "", "Another.", "A third one, which is longer than the others.", "Four.", ""]
TEST = ["", "Of another split."]


@pytest.fixture(autouse=True)
def _shared_engines(engines: EnginePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the engines once, instead of once for each cache."""
    monkeypatch.setattr(text_cache, "EnginePool", lambda: engines)


@pytest.fixture
def gpt2(workspace: Workspace) -> PreparedTokenizer:
    return prepare_tokenizer(declare_corpus(workspace.data, "any", "any.txt"), workspace.identities, workspace.store)


def texts(*batches: Sequence[str]) -> Texts:
    return lambda: iter([pa.array(batch, pa.string()) for batch in batches])


def cache_of(tokenizer: PreparedTokenizer, part: float | None = None, append_eos: bool = True, **splits: Texts) -> TextCache:
    return TextCache(splits=splits, tokenizer=tokenizer, append_eos=append_eos, validation_part=part, source={"of": "a test"})


def write(folder: Path, cache: TextCache, store: Store, told: list[tuple[str, int]] | None = None) -> Manifest:
    return write_text_cache(folder, cache, store, lambda split, documents: (told if told is not None else []).append((split, documents)))


def documents(folder: Path, split: str) -> list[list[int]]:
    ids, ends = np.load(folder / f"{split}.npy"), np.load(folder / f"{split}.documents.npy")
    return [part.tolist() for part in np.split(ids, ends[:-1])]


def test_every_nonempty_text_is_a_document_for_any_batches(tmp_path: Path, workspace: Workspace, gpt2: PreparedTokenizer) -> None:
    told: list[tuple[str, int]] = []
    manifest = write(tmp_path / "one", cache_of(gpt2, train=texts(TRAIN), test=texts(TEST)), workspace.store, told)
    assert sum(documents for split, documents in told if split == "train") == len(TRAIN)
    assert list(dict.fromkeys(split for split, _ in told)) == ["train", "test"]
    assert told[0] == ("train", 0)  # a bar begins with its split, not with what is done of it
    written = documents(tmp_path / "one", "train")
    assert all(document.index(EOS) == len(document) - 1 for document in written)
    assert manifest.counts["train"] == {"documents": 4, "tokens": sum(map(len, written))}
    assert manifest.counts["test"]["documents"] == 1
    write(tmp_path / "many", cache_of(gpt2, train=texts([], *([text] for text in TRAIN), []), test=texts(TEST)), workspace.store)
    for name in ("train.npy", "train.documents.npy", "test.npy", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    write(tmp_path / "bare", cache_of(gpt2, append_eos=False, train=texts(TRAIN)), workspace.store)
    assert documents(tmp_path / "bare", "train") == [document[:-1] for document in written]


def test_fingerprint_depends_on_text_and_settings(tmp_path: Path, workspace: Workspace, gpt2: PreparedTokenizer) -> None:
    caches = [cache_of(gpt2, part, eos, train=texts(TRAIN)) for part, eos in ((None, True), (None, True), (0.5, True), (None, False))]
    first, again, divided, bare = (write(tmp_path / "cache", cache, workspace.store).fingerprint for cache in caches)
    assert first == again
    assert len({first, divided, bare}) == 3


def test_validation_part_is_the_last_documents(tmp_path: Path, workspace: Workspace, gpt2: PreparedTokenizer) -> None:
    write(tmp_path / "whole", cache_of(gpt2, train=texts(TRAIN)), workspace.store)
    manifest = write(tmp_path / "divided", cache_of(gpt2, 0.5, train=texts(TRAIN)), workspace.store)
    train, validation = (documents(tmp_path / "divided", split) for split in ("train", "validation"))
    assert train + validation == documents(tmp_path / "whole", "train")
    assert {split: count["documents"] for split, count in manifest.counts.items()} == {"train": len(train), "validation": len(validation)}


def test_split_without_text_is_refused_by_name(tmp_path: Path, workspace: Workspace, gpt2: PreparedTokenizer) -> None:
    with pytest.raises(SourceError, match="split 'test' has 2 documents, none with any text"):
        write(tmp_path / "cache", cache_of(gpt2, train=texts(TRAIN), test=texts(["", ""])), workspace.store)
    with pytest.raises(SourceError, match="split 'train' has 0 documents"):
        write(tmp_path / "cache", cache_of(gpt2, train=texts()), workspace.store)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.usefixtures("few_code_points")
@pytest.mark.parametrize(
    "choice", [faulty(lambda text: text.startswith("Another")), EngineChoice(name=FailingEngine.name, make=FailingEngine)]
)
def test_text_with_wrong_ids_of_the_fast_engine_is_encoded_by_the_reference(
    tmp_path: Path,
    workspace: Workspace,
    gpt2: PreparedTokenizer,
    choice: EngineChoice,
    engines: EnginePool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path / "right", cache_of(gpt2, train=texts(TRAIN), test=texts(TEST)), workspace.store)
    monkeypatch.setattr(text_cache, "EnginePool", lambda: pool_of(choice, loaded=engines))
    told: list[tuple[str, int]] = []
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "doubted", cache_of(gpt2, train=texts(TRAIN), test=texts(TEST)), workspace.store, told)
    assert choice.name in caplog.text
    assert sum(documents for _, documents in told) <= len(TRAIN) + len(TEST)
    for split in ("train", "test"):
        assert documents(tmp_path / "doubted", split) == documents(tmp_path / "right", split)


def test_failed_reader_leaves_no_files(tmp_path: Path, workspace: Workspace, gpt2: PreparedTokenizer) -> None:
    def failing() -> Iterator[pa.Array]:
        yield pa.array(TRAIN)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write(tmp_path / "cache", cache_of(gpt2, train=failing), workspace.store)
    assert not list((tmp_path / "cache").iterdir())


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12), part=st.floats(0.01, 0.99) | st.integers(1, 60))
def test_document_cut_is_the_nearest_end_with_tokens_on_both_sides(lengths: list[int], part: float) -> None:
    ends = list(accumulate(lengths))
    total, wanted = ends[-1], part * ends[-1] if part < 1 else part
    possible = [end for end in ends if 0 < end < total]
    if wanted >= total or not possible:
        with pytest.raises(SourceError, match="leave nothing to train on"):
            document_cut(np.array(ends), part)
    else:
        cut = ends[document_cut(np.array(ends), part) - 1]
        assert cut in possible
        assert abs(total - cut - wanted) == min(abs(total - end - wanted) for end in possible)


def test_document_cut_of_no_documents_is_an_error() -> None:
    with pytest.raises(SourceError, match="of 0 tokens in 0 documents leave nothing to train on"):
        document_cut(np.zeros(0, np.int64), 0.5)
