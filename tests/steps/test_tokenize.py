"""The ids of documents, compared with those of ``transformers``."""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers
import xxhash
from datasets import Features, List, Value, load_from_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import MissingArtifactsError, SourceChangedError, SourceError
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.engines import ReferenceEngine
from tests.support import DATA, GPT2, build, build_partition, copy_store, declare_corpus, list_partitions, write_jsonl, write_text
from tests.tokenizers.faulty_engines import REFUSING, faulty, pool_of, store_contents

EOS = 50256


@pytest.fixture(scope="module")
def reference() -> Any:
    return transformers.AutoTokenizer.from_pretrained(GPT2)


def _wanted(reference: Any, text: str) -> list[int]:
    return [*reference(text, verbose=False).input_ids, EOS] if text else []


def _rows(artifact: Artifact) -> list[Any]:
    return list(load_from_disk(str(artifact.path)).with_format("numpy")["input_ids"])


def _assert_rows(artifact: Artifact, wanted: list[list[int]]) -> None:
    rows = _rows(artifact)
    assert [len(row) for row in rows] == [len(ids) for ids in wanted]
    for row, ids in zip(rows, wanted, strict=True):
        assert np.array_equal(row, ids)


@pytest.fixture(scope="module")
def samples(
    prepared_store: Path, engines: EnginePool, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> dict[str, dict[str, tuple[Partition, list[Built]]]]:
    """The artifacts of two partitions of each sample corpus, or of all with ``--soak``, by corpus and partition."""
    root = tmp_path_factory.mktemp("samples") / "store"
    copy_store(prepared_store, root)
    workspace = Workspace(data=DATA, store=LocalStore(root), engines=engines)
    most = None if pytestconfig.getoption("soak") else 2
    return {
        name: {
            key: (partition, build_partition(corpus, partition, workspace))
            for key, partition in islice(list_partitions(corpus, DATA).items(), most)
        }
        for name, corpus in load_catalog(DATA).corpora.items()
    }


def _documents(partition: Partition) -> list[str]:
    (file,) = partition.files
    text = file.path.read_bytes().decode()
    return [json.loads(line)["text"] for line in text.splitlines()] if file.path.suffix == ".jsonl" else [text]


@pytest.mark.parametrize("corpus", ["shakespeare", "factbook"])
def test_documents_of_the_sample_corpora_have_the_ids_of_transformers(
    samples: Mapping[str, Mapping[str, tuple[Partition, list[Built]]]], reference: Any, corpus: str
) -> None:
    for partition, (_, tokenized, _) in samples[corpus].values():
        _assert_rows(tokenized.artifact, [_wanted(reference, text) for text in _documents(partition)])


def test_token_counts_of_the_sample_corpora_equal_those_of_tokenizers(
    samples: Mapping[str, Mapping[str, tuple[Partition, list[Built]]]],
) -> None:
    direct = tokenizers.Tokenizer(BPE.from_file(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt")))
    direct.pre_tokenizer = ByteLevel(add_prefix_space=False)
    for partitions in samples.values():
        for partition, (_, tokenized, cache) in partitions.values():
            counted = {"train": 0, "validation": 0}
            texts = _documents(partition)
            for text, encoding in zip(texts, direct.encode_batch_fast(texts), strict=True):
                split = "validation" if xxhash.xxh3_64_intdigest(text.encode()) < 0.05 * 2**64 else "train"
                counted[split] += len(encoding) + 1
            found = {split: of["tokens"] for split, of in cache.artifact.manifest.counts.items()}
            assert found == {split: tokens for split, tokens in counted.items() if tokens}
            assert tokenized.artifact.manifest.counts["tokens"] == sum(counted.values())


AWKWARD = [
    "", " ", "   ", "\t \n\n", "\0", "a\0b\0", "one\r\ntwo\r\n", "\r", "e\u0301\u0301 n\u0303", "\u0301", "\ufeffBOM",
    "👩\u200d👩\u200d👧\u200d👦👍🏽🇩🇪🏴\U000e0067\U000e0062\U000e007f", "to <|endoftext|> from", "<|endoftext|>", "<|endoftext|><|endof",
    "I\u2019m, I'M, I'\u017f", "नमस्ते שלום 日本語", "\U0010ffff\ue000", "a" * 1_000_000, " " * 100_000, "",
]  # fmt: skip


def test_awkward_documents_have_the_ids_of_transformers(workspace: Workspace, reference: Any) -> None:
    write_jsonl(workspace.data / "c.jsonl", AWKWARD)
    ((_, tokenized, _),) = build(declare_corpus(workspace.data, "c", "c.jsonl"), workspace).values()
    _assert_rows(tokenized.artifact, [_wanted(reference, text) for text in AWKWARD])
    assert tokenized.artifact.manifest.counts["empty"] == 2


def test_document_of_ten_megabytes_has_the_ids_of_transformers(workspace: Workspace, reference: Any) -> None:
    plays = [path.read_text(encoding="utf-8").strip() for path in sorted((DATA / "raw" / "shakespeare").glob("*.txt"))[:3]]
    text = "".join(f"Play {i}\n{play}\n" for i in range(24) for play in plays)
    assert len(write_text(workspace.data / "c.txt", text).read_bytes()) > 10_000_000
    ((_, tokenized, _),) = build(declare_corpus(workspace.data, "c", "c.txt"), workspace).values()
    # No token crosses the line ends around the plays, so each play is encoded once, with them.
    of_plays = [reference(f"\n{play}\n", verbose=False).input_ids for play in plays]
    wanted = [ids for i in range(24) for of_play in of_plays for ids in (reference(f"Play {i}").input_ids, of_play)]
    _assert_rows(tokenized.artifact, [[*chain.from_iterable(wanted), EOS]])


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=12).filter(any), skipped=st.sets(st.integers(0, 12)))
def test_documents_keep_their_order_around_excluded_ones(workspace: Workspace, reference: Any, texts: list[str], skipped: set[int]) -> None:
    rows: list[str | None] = list(texts)
    for i in sorted(skipped):
        rows.insert(i, None)
    write_jsonl(workspace.data / "c.jsonl", rows)
    ((_, tokenized, _),) = build(declare_corpus(workspace.data, "c", "c.jsonl", on_invalid="skip"), workspace).values()
    _assert_rows(tokenized.artifact, [_wanted(reference, text) for text in texts])
    counts = tokenized.artifact.manifest.counts
    assert (counts["documents"], counts["invalid"], counts["empty"]) == (len(texts), len(skipped), texts.count(""))
    assert counts["text_bytes"] == len("".join(texts).encode())


def test_datasets_opens_the_folder_with_its_columns(workspace: Workspace) -> None:
    write_jsonl(workspace.data / "c.jsonl", ["one two", "", "three"])
    ((_, tokenized, _),) = build(declare_corpus(workspace.data, "c", "c.jsonl"), workspace).values()
    dataset = load_from_disk(str(tokenized.artifact.path))
    columns = {"length": Value("int64"), "hash": Value("uint64"), "file": Value("int32"), "row": Value("int64")}
    assert dataset.features == Features({"input_ids": List(Value("uint16")), **columns})
    assert dataset["length"][:] == [3, 0, 2]
    assert dataset["row"][:] == [0, 1, 2]
    assert dataset["hash"][0] == xxhash.xxh3_64_intdigest(b"one two")


def test_documents_have_no_eos_if_none_is_declared(workspace: Workspace, reference: Any) -> None:
    write_jsonl(workspace.data / "c.jsonl", ["one two", "", "three"])
    ((_, tokenized, _),) = build(declare_corpus(workspace.data, "c", "c.jsonl", append_eos=False), workspace).values()
    _assert_rows(tokenized.artifact, [reference(text).input_ids for text in ("one two", "", "three")])


def test_empty_document_has_length_0_for_a_tokenizer_with_a_prefix(data: Path) -> None:
    save_byte_tokenizer(data / "tk")
    tokenizer = tokenizers.Tokenizer.from_file(str(data / "tk" / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 256)])
    tokenizer.save(str(data / "tk" / "tokenizer.json"))
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=EnginePool(REFUSING))
    write_jsonl(data / "c.jsonl", ["", "ab", ""])
    ((_, tokenized, _),) = build(declare_corpus(data, "c", "c.jsonl", tokenizer="tk"), workspace).values()
    _assert_rows(tokenized.artifact, [[], [256, 64, 65, 256], []])


@pytest.mark.parametrize(
    ("rows", "keys", "refusal"),
    [
        ([None], {"on_invalid": "skip"}, r"c\.jsonl: none of its rows \(1\) has text; row 1: 'text' is null; declare its"),
        ([None, None], {}, r"c\.jsonl: none of its rows \(2\) has text; row 1: 'text' is null; declare its"),
        (["good", None], {}, r"c\.jsonl: row 2: .* on_invalid: skip"),
        ([{"body": "text"}], {}, r"c\.jsonl: has no column 'text'"),
    ],
)
def test_failed_tokenization_leaves_the_store_unchanged(workspace: Workspace, rows: list[Any], keys: dict[str, Any], refusal: str) -> None:
    write_jsonl(workspace.data / "c.jsonl", ["as it was"])
    corpus = declare_corpus(workspace.data, "c", "c.jsonl", **keys)
    build(corpus, workspace)
    write_jsonl(workspace.data / "c.jsonl", rows)
    partition = workspace.sources.partitions(corpus)["all"]
    build_raw(corpus, partition, workspace)
    before = store_contents(workspace.store.root)
    with pytest.raises(SourceError, match=refusal):
        build_tokenized(corpus, partition, workspace)
    assert store_contents(workspace.store.root) == before
    assert any(path.endswith("tokenized_arrow/all") for path in before)


def test_file_changed_since_the_raw_dataset_is_refused(workspace: Workspace) -> None:
    write_text(workspace.data / "c.txt", "one")
    corpus = declare_corpus(workspace.data, "c", "c.txt")
    partition = workspace.sources.partitions(corpus)["all"]
    with pytest.raises(MissingArtifactsError, match="c/raw_dataset/all"):
        build_tokenized(corpus, partition, workspace)
    build_raw(corpus, partition, workspace)
    before = store_contents(workspace.store.root)
    write_text(workspace.data / "c.txt", "two")
    with pytest.raises(
        SourceChangedError, match=r"c\.txt: changed; .* 'all' are not what c/raw_dataset/all pinned any more; materialize that again"
    ):
        build_tokenized(corpus, partition, workspace)
    assert store_contents(workspace.store.root) == before


@pytest.mark.parametrize(("left", "keys"), [(0, {}), (5, {}), (len('{"text": "one"}\n'), {"on_invalid": "skip"})])
def test_file_truncated_during_reading_is_named(workspace: Workspace, left: int, keys: dict[str, Any]) -> None:
    for name in ("a", "b", "c"):
        write_jsonl(workspace.data / "c" / f"{name}.jsonl", ["one", "two"])
    corpus = declare_corpus(workspace.data, "c", "c/*.jsonl", **keys)
    partition = workspace.sources.partitions(corpus)["all"]
    build_raw(corpus, partition, workspace)
    before = store_contents(workspace.store.root)
    cut = workspace.data / "c" / "b.jsonl"
    with pytest.raises(SourceChangedError, match=rf"^{re.escape(str(cut))}: changed; .* pinned any more"):
        build_tokenized(corpus, partition, workspace, lambda _consumed: os.truncate(cut, left))
    assert store_contents(workspace.store.root) == before


@pytest.mark.usefixtures("few_code_points")
def test_engine_mismatch_encodes_the_partition_with_the_reference_and_logs_a_warning(
    workspace: Workspace, engines: EnginePool, reference: Any, caplog: pytest.LogCaptureFixture
) -> None:
    doubted = replace(workspace, engines=pool_of(faulty(lambda text: "xyzzy" in text), loaded=engines))
    texts = ["plugh", "say xyzzy", "", *(f"room {i}" for i in range(50))]
    write_jsonl(workspace.data / "c" / "wrong.jsonl", texts)
    write_jsonl(workspace.data / "c" / "right.jsonl", ["plugh"])
    with caplog.at_level(logging.WARNING):
        built = build(declare_corpus(workspace.data, "c", "c/*.jsonl", partition_by="file"), doubted)
    _assert_rows(built["wrong"][1].artifact, [_wanted(reference, text) for text in texts])
    (warning,) = caplog.messages
    assert warning.startswith("c/tokenized_arrow/wrong: faulty 1 and tokenizers")
    assert "'say xyzzy'; all of the partition is encoded again by tokenizers" in warning
    used = {key: steps[1].artifact.manifest.produced_with["engine"] for key, steps in built.items()}
    assert used == {"wrong": ReferenceEngine.name, "right": "faulty 1"}


@pytest.mark.parametrize("verify", ["sample", "full"])
@pytest.mark.usefixtures("few_code_points")
def test_full_verification_finds_a_mismatch_that_a_sample_misses(
    workspace: Workspace, engines: EnginePool, reference: Any, verify: str
) -> None:
    doubted = replace(workspace, engines=pool_of(faulty(lambda text: "xyzzy" in text), loaded=engines))
    texts = ["The quick brown fox jumps over the lazy dog. " * 3] * 2_000
    texts[1_890] = "xyzzy"
    write_jsonl(workspace.data / "c.jsonl", texts)
    ((_, tokenized, _),) = build(declare_corpus(workspace.data, "c", "c.jsonl", verify=verify), doubted).values()
    found = _rows(tokenized.artifact)[1_890].tolist() == _wanted(reference, "xyzzy")
    assert found == (verify == "full")
