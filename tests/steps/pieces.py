"""A corpus whose cache is in pieces, and the same as one array."""

from dataclasses import replace
from pathlib import Path

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from tests.support import declare, declare_corpus, write_jsonl

BYTES = "tokenizers/bytes"
TEXTS = [f"document {i}: " + "words and more of them " * (i % 7) if i % 11 else "" for i in range(300)]


def build_all(workspace: Workspace) -> Artifact:
    """Build the corpus and the mixtures, and return the cache."""
    catalog = load_catalog(workspace.data)
    corpus = catalog.corpora["c"]
    (partition,) = workspace.sources.partitions(corpus).values()
    build_raw(corpus, partition, workspace)
    build_tokenized(corpus, partition, workspace)
    cache = build_cache(corpus, partition, workspace)
    assert not cache.failures
    for mixture in catalog.mixtures.values():
        assert not build_mixture(mixture, catalog.corpora, {"c": ["all"]}, workspace).failures
    return cache.artifact


def build_stores(folder: Path) -> dict[str, Artifact]:
    """Return the caches of a corpus as one array and in pieces, each in a store with mixtures of every kind."""
    data = folder / "data"
    save_byte_tokenizer(data / BYTES)
    write_jsonl(data / "c.jsonl", TEXTS)
    declare_corpus(data, "c", "c.jsonl", tokenizer=BYTES, splits={"validation": 0.2}, engine="tokenizers")
    for name, keys in {"plain": {}, "packed": {"packing": "best_fit"}, "window": {"shuffle": {"window": "4KB"}}}.items():
        declare(data, "mixtures", name=name, seq_len=100, datasets=[{"corpus": "c", "weight": 1.5}], **keys)
    one = Workspace(data=data, store=LocalStore(data.parent / "one"))
    pieces = replace(one, store=LocalStore(data.parent / "pieces"), chunk_bytes=4096)
    return {"one": build_all(one), "pieces": build_all(pieces)}
