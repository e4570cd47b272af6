"""Partitions without tokens: published as empty, reported, and accepted by later steps."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phyagi_assets.datasets import load_mixture
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import Removal, add_removals
from phyagi_assets.errors import DeclarationError
from phyagi_assets.inspection.exposure import exposures
from phyagi_assets.inspection.forecast import forecast
from phyagi_assets.inspection.integrity import store_problems
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.steps.tokenize import TOKENIZE
from tests.support import build, declare, declare_corpus, write_jsonl, write_text

TEXTS = [f"document {i} has words, and so it goes on for a while" for i in range(20)]


def write_stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.schema([("text", pa.string())])):
        pass


EMPTY: dict[str, Any] = {
    "a.jsonl": lambda path: write_text(path, ""),
    "b.jsonl": lambda path: write_text(path, "\n\n"),
    "c.jsonl.gz": lambda path: write_text(path, ""),
    "d.csv": lambda path: write_text(path, "id,text\n"),
    "e.csv": lambda path: write_text(path, ""),
    "f.txt": lambda path: write_text(path, ""),
    "g.txt": lambda path: write_text(path, b"\xef\xbb\xbf"),
    "h.parquet": lambda path: pq.write_table(pa.table({"text": pa.array([], pa.string())}), path),
    "i.arrow": write_stream,
    "j.jsonl": lambda path: write_jsonl(path, ["", ""]),
}


def mix(workspace: Workspace, built: dict[str, dict[str, list[Built]]], at: int | None = None) -> Built:
    catalog = load_catalog(workspace.data)
    return build_mixture(catalog.mixtures["mix"], catalog.corpora, {name: list(of) for name, of in built.items()}, workspace, at)


def test_empty_partitions_of_every_format_are_published_reported_and_mixed(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    write_jsonl(workspace.data / "raw" / "full.jsonl", TEXTS)
    for name, write in EMPTY.items():
        write(workspace.data / "raw" / name)
    corpus = declare_corpus(workspace.data, "c", "raw/*", partition_by="file")
    declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "c"}])
    with caplog.at_level(logging.WARNING):
        built = build(corpus, workspace)
    assert len(built) == len(EMPTY) + 1
    for key, (_, tokenized, cache) in built.items():
        assert not [*tokenized.failures, *cache.failures]
        assert TOKENIZE.facts(tokenized)["tokens"] == CACHE.facts(cache)["tokens"] == tokenized.artifact.manifest.counts["tokens"]
        noted = [message for message in caplog.messages if message.startswith(f"c/tokenized_arrow/{key} is published as empty")]
        assert len(noted) == (key != "full")
        assert "tokens" in str(inspect_named(f"c/numpy_cache/{key}", workspace.store).facts)
        assert "tokens" in inspect_named(f"c/tokenized_arrow/{key}", workspace.store).facts
    assert inspect_named("c", workspace.store).facts["empty partitions"].startswith(f"{len(EMPTY)}: ")

    planned = mix(workspace, {"c": built})
    assert not planned.failures
    mixture = load_mixture(planned.artifact.path)
    read = mixture.train.batch(np.arange(len(mixture.train)))
    tokens = built["full"][2].artifact.manifest.counts["train"]["tokens"]
    assert len(mixture.train) == (tokens - 1) // 16
    assert read["input_ids"].shape == (len(mixture.train), 16)
    assert mixture.explain(0, 1)
    mixture_declared = load_catalog(workspace.data).mixtures["mix"]
    assert forecast(mixture_declared, {"c": corpus}, workspace).corpora[0].tokens == tokens
    (exposed,) = exposures("c", [document_id(int(text_hashes(pa.array(TEXTS[3:4]))[0]))], workspace.store)
    assert exposed.positions
    assert list(store_problems(workspace.store, lambda _: None)) == []

    add_removals(corpus, [Removal(id=document_id(int(text_hashes(pa.array(TEXTS[3:4]))[0])), reason="")])
    again = build(corpus, workspace)
    assert [key for key, steps in again.items() if not steps[1].reused] == ["full"]
    write_jsonl(workspace.data / "raw" / "k.jsonl", TEXTS[:10])
    appended = mix(workspace, {"c": build(corpus, workspace)}, at=3)
    assert not appended.failures
    assert len(json.loads((appended.artifact.path / "mixture.json").read_text())["segments"]) == 2


def test_forecast_warns_of_a_corpus_that_seems_too_small_for_a_sample(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    write_jsonl(workspace.data / "raw" / "a.jsonl", ["Too short."])
    corpus = declare_corpus(workspace.data, "c", "raw/*")
    declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "c"}])
    forecast(load_catalog(workspace.data).mixtures["mix"], {"c": corpus}, workspace)
    assert "'c' has 4 training tokens, and one sample takes seq_len + 1 = 17" in caplog.text


def test_corpus_of_only_empty_partitions_is_an_error_in_a_mixture(workspace: Workspace) -> None:
    write_text(workspace.data / "raw" / "a.jsonl", "")
    corpus = declare_corpus(workspace.data, "c", "raw/*", partition_by="file")
    declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "c"}])
    with pytest.raises(DeclarationError, match=r"mix\.yaml:\d+: datasets\.0\.corpus: .*'c'"):
        mix(workspace, {"c": build(corpus, workspace)})
    with pytest.raises(DeclarationError, match="'c' has 0 training tokens"):
        forecast(load_catalog(workspace.data).mixtures["mix"], {"c": corpus}, workspace)
    assert inspect_named("c", workspace.store).facts["tokens"] == "0"
