"""Write mixtures into stores, without the pipeline."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.formats.npy import ArrayWriter
from phyagi_assets.formats.plan import PLAN, Plan, PlannedPartition, Shard
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import Manifest
from tests.order.plans import plan_of

Tokens = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Numbers of tokens, by corpus, partition and split."""


def store_mixture(store: Store, tokens: Tokens, name: str = "mix", **keys: Any) -> Plan:
    """Write and publish caches of token arrays whose documents have 1 to 9 tokens, and a mixture of them."""
    draw = np.random.default_rng(0)
    home = store.version_path(f"{name}/mixed_dataset", "0" * 32)
    found = {}
    for corpus, parts in tokens.items():
        found[corpus] = []
        for key, counts in parts.items():
            wanted = Manifest.expected("numpy_cache", code_version="1", inputs={}, settings={"key": key, "corpus": corpus, **counts})

            def fill(folder: Path, counts: Mapping[str, int] = counts, wanted: Manifest = wanted) -> Manifest:
                for split, count in counts.items():
                    with ArrayWriter(folder / f"{split}.npy", np.uint16) as writer:
                        writer.append(draw.integers(0, 1 << 16, count, dtype=np.uint16))
                    ends = np.cumsum(draw.integers(1, 10, count // 2 + 1))
                    with ArrayWriter(folder / f"{split}.documents.npy", np.int64) as writer:
                        writer.append(np.append(ends[ends < count], count))
                return wanted

            artifact = store.write(f"{corpus}/numpy_cache/{key}", wanted, fill)
            store.publish(artifact)
            path = store.version_path(artifact.address, artifact.fingerprint)
            shards = {
                split: Shard(path=os.path.relpath(path / f"{split}.npy", home), tokens=count, documents=1)
                for split, count in counts.items()
            }
            found[corpus].append(PlannedPartition(key=key, fingerprint=artifact.fingerprint, shards=shards))
    wanted = Manifest.expected(
        "mixed_dataset", code_version="1", inputs={}, settings={"name": name, **{k: f"{v}" for k, v in keys.items()}}
    )
    plan = replace(plan_of(found, **keys), name=name, fingerprint=wanted.fingerprint, tokenizer=os.path.relpath(path / "tokenizer", home))

    def fill_plan(folder: Path) -> Manifest:
        (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
        return wanted

    store.publish(store.write(f"{name}/mixed_dataset", wanted, fill_plan))
    return plan


def copied(store: LocalStore, to: Store) -> None:
    """Copy all versions of a store to another one, and publish them."""
    for address in store.list():
        artifact = store.open(address)
        assert artifact
        to.publish(to.put(artifact))
