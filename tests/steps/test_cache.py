"""Token arrays, and the arrays that locate their documents."""

import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import transformers
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.steps.cache_chunks import split_of
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from tests.support import GPT2, build, build_partition, declare_corpus, small_blocks, write_jsonl
from tests.tokenizers.faulty_engines import store_contents

EOS = 50256
SPLIT = {"splits": {"validation": 0.2, "test": 0.3}}
WORDS = [f"number {i} of the documents" if i % 7 else "" for i in range(200)]


def _cache(workspace: Workspace, texts: list[str] | None = None, **keys: Any) -> Artifact:
    """The cache of a corpus of one file."""
    if texts is not None:
        write_jsonl(workspace.data / "c.jsonl", texts)
    ((_, _, cache),) = build(declare_corpus(workspace.data, "c", "c.jsonl", **keys), workspace).values()
    return cache.artifact


def _documents(cache: Artifact, split: str) -> list[npt.NDArray[Any]]:
    """Return the ids of each document, divided at the document ends of the cache."""
    ends = np.load(cache.path / f"{split}.documents.npy")
    return np.split(np.load(cache.path / f"{split}.npy", mmap_mode="r"), ends[:-1])


def _texts(cache: Artifact) -> dict[str, list[str]]:
    """Return the decoded texts of each split."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(cache.path / "tokenizer")
    return {split: [tokenizer.decode(ids[:-1]) for ids in _documents(cache, split)] for split in cache.manifest.counts}


def test_cache_arrays_end_with_the_last_document(workspace: Workspace) -> None:
    cache = _cache(workspace, WORDS, **SPLIT)
    assert set(cache.manifest.counts) == set(SPLITS)
    for split, counts in cache.manifest.counts.items():
        ids = np.load(cache.path / f"{split}.npy", mmap_mode="r")
        ends = np.load(cache.path / f"{split}.documents.npy")
        assert (ids.dtype, ids.ndim, ends.dtype) == (np.uint16, 1, np.int64)
        assert (np.diff(ends, prepend=0) > 0).all()
        assert (len(ends), ends[-1]) == (counts["documents"], len(ids)) == (counts["documents"], counts["tokens"])
        assert np.array_equal(np.flatnonzero(ids == EOS), ends - 1)


@pytest.mark.parametrize(("dtype", "found"), [("auto", np.uint16), ("uint16", np.uint16), ("int32", np.int32)])
def test_dtype_is_the_declared_one_or_the_smallest_that_fits(workspace: Workspace, dtype: str, found: type[np.generic]) -> None:
    cache = _cache(workspace, ["one two"], dtype=dtype)
    ids = np.load(cache.path / "train.npy")
    assert ids.dtype == found == np.dtype(json.loads((cache.path / "config.json").read_text(encoding="utf-8"))["dtype"])
    assert ids.tolist() == [505, 734, EOS]


def test_origins_give_the_file_and_row_of_each_document(workspace: Workspace) -> None:
    texts = {name: [f"{name} {i}" if i % 3 else "" for i in range(30)] for name in ("a", "b")}
    for name, rows in texts.items():
        write_jsonl(workspace.data / "c" / f"{name}.jsonl", rows)
    ((_, _, cache),) = build(declare_corpus(workspace.data, "c", "c/*.jsonl", **SPLIT), workspace).values()
    files = cache.artifact.manifest.details["files"]
    assert files == ["a.jsonl", "b.jsonl"]
    found = set()
    for split, decoded in _texts(cache.artifact).items():
        origins = np.load(cache.artifact.path / f"{split}.origins.npy").tolist()
        for text, (file, row) in zip(decoded, origins, strict=True):
            assert text == texts[Path(files[file]).stem][row]
            found.add((file, row))
    assert found == {(file, row) for file, rows in enumerate(texts.values()) for row, text in enumerate(rows) if text}


def test_cache_has_its_tokenizer_as_a_folder_and_as_a_pickle(workspace: Workspace) -> None:
    cache = _cache(workspace, ["one two"], **SPLIT)
    loaded = transformers.AutoTokenizer.from_pretrained(cache.path / "tokenizer")
    pickled = pickle.loads((cache.path / "tokenizer.pkl").read_bytes())
    declared = transformers.AutoTokenizer.from_pretrained(GPT2)
    text = "It's <|endoftext|> naïve 👍🏽"
    assert loaded(text).input_ids == pickled(text).input_ids == declared(text).input_ids
    config = json.loads((cache.path / "config.json").read_text(encoding="utf-8"))
    assert (config["append_eos"], config["splits"], config["tokenizer"]["eos_token_id"]) == (True, SPLIT["splits"], EOS)
    assert {"manifest.json", "config.json", "tokenizer.pkl"} <= {path.name for path in cache.path.iterdir()}


SHARES = st.tuples(st.floats(0.01, 0.49), st.floats(0.01, 0.49)).map(lambda pair: dict(zip(SPLITS[1:], pair, strict=True)))


@given(hashes=st.lists(st.integers(0, 2**64 - 1)), shares=SHARES, data=st.data())
def test_split_of_a_document_does_not_depend_on_other_documents(
    hashes: list[int], shares: Mapping[str, float], data: st.DataObject
) -> None:
    alone = {value: split_of(np.array([value], np.uint64), shares)[0] for value in hashes}
    other = data.draw(st.permutations([*hashes, *data.draw(st.lists(st.integers(0, 2**64 - 1)))]))
    for value, split in zip(other, split_of(np.array(other, np.uint64), shares), strict=True):
        assert alone.get(value, split) == split


@given(value=st.integers(0, 2**64 - 1), smaller=st.floats(0.01, 0.3), larger=st.floats(0.3, 0.9))
def test_larger_validation_split_contains_the_smaller_one(value: int, smaller: float, larger: float) -> None:
    one, other = (split_of(np.array([value], np.uint64), {"validation": share})[0] for share in (smaller, larger))
    assert other == one or SPLITS[other] == "validation"


def test_splits_have_about_their_shares_and_together_all_documents() -> None:
    hashes = np.array([xxhash.xxh3_64_intdigest(f"document {i}".encode()) for i in range(10_000)], np.uint64)
    counts = np.bincount(split_of(hashes, SPLIT["splits"]), minlength=3)
    assert np.abs(counts - [5000, 2000, 3000]).max() < 200  # four standard deviations
    assert (split_of(hashes, {}) == SPLITS.index("train")).all()


def test_documents_keep_their_splits_as_the_corpus_grows_and_equal_texts_share_one(workspace: Workspace) -> None:
    texts = [text for text in WORDS if text]
    before = _texts(_cache(workspace, texts, **SPLIT))
    after = _texts(_cache(workspace, [*(f"new {i}" for i in range(100)), *reversed(texts), *texts], **SPLIT))
    for split, found in before.items():
        assert sorted(text for text in after[split] if not text.startswith("new")) == sorted(2 * found)
        assert not any(set(after[split]) & set(of) for other, of in after.items() if other != split)


def test_deleted_array_is_rebuilt_bit_for_bit(workspace: Workspace) -> None:
    cache = _cache(workspace, WORDS, **SPLIT)
    before = store_contents(cache.path)
    corpus = declare_corpus(workspace.data, "c", "c.jsonl", **SPLIT)
    partition = workspace.sources.partitions(corpus)["all"]
    assert all(artifact.is_current for artifact in partition_artifacts(corpus, partition, workspace))
    (cache.path / "train.npy").unlink()
    assert [artifact.is_current for artifact in partition_artifacts(corpus, partition, workspace)] == [True, True, False]
    assert [built.reused for built in build_partition(corpus, partition, workspace)] == [True, True, False]
    assert store_contents(cache.path) == before
    assert all(artifact.is_current for artifact in partition_artifacts(corpus, partition, workspace))


def test_same_inputs_give_the_same_bytes_in_another_store(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace(data=tmp_path / "elsewhere", store=LocalStore(tmp_path / "another"), engines=workspace.engines)
    other.data.mkdir()
    shutil.copytree(workspace.store.root / ".tokenizers" / "conformance", other.store.root / ".tokenizers" / "conformance", symlinks=True)
    for each in (workspace, other):
        _cache(each, WORDS, **SPLIT)
    assert store_contents(other.store.root) == store_contents(workspace.store.root)


def test_documents_of_many_batches_keep_their_order(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store_contents(_cache(workspace, WORDS, **SPLIT).path)
    shutil.rmtree(workspace.store.root / "c")
    monkeypatch.setattr("phyagi_assets.sources.documents.BATCH_BYTES", 200)
    small_blocks(monkeypatch, 200)
    cache = _cache(workspace, **SPLIT)
    tokenized = workspace.store.pointer("c/tokenized_arrow/all") / "data-00000-of-00001.arrow"
    assert sum(1 for _ in pa.ipc.open_stream(tokenized.read_bytes())) > 10
    manifest = "manifest.json"
    assert {name: of for name, of in store_contents(cache.path).items() if name != manifest} == {
        name: of for name, of in whole.items() if name != manifest
    }
