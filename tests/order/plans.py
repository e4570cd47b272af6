"""Plans made of literals."""

from collections.abc import Mapping, Sequence
from typing import Any

from phyagi_assets.config import MixturePart
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.pipeline.planning import first_segment
from phyagi_assets.plan import Plan, PlannedCorpus, PlannedPartition, Shard

Samples = Mapping[str, Mapping[str, int]]
"""By corpus and partition."""


def partition(key: str, version: str = "1", *, seq_len: int = 4, **samples: int) -> PlannedPartition:
    """A partition with samples in some splits."""
    shards = {
        split: Shard(path=f"{key}@{version}/{split}.npy", tokens=count * seq_len + 1, documents=1, samples=count)
        for split, count in samples.items()
    }
    return PlannedPartition(key=key, fingerprint=f"{key}@{version}", shards=shards)


def partitions(samples: Samples, *, seq_len: int = 4, splits: Sequence[str] = ("train",)) -> dict[str, list[PlannedPartition]]:
    """Partitions with as many samples in each split, by corpus."""
    return {
        corpus: [partition(f"{corpus}-{key}", seq_len=seq_len, **dict.fromkeys(splits, count)) for key, count in of.items()]
        for corpus, of in samples.items()
    }


def plan_of(found: Mapping[str, Sequence[PlannedPartition]], parts: Sequence[MixturePart] | None = None, **keys: Any) -> Plan:
    """A plan over partitions; by default, every corpus has weight 1."""
    corpora = tuple(PlannedCorpus(name=name, partitions=tuple(of)) for name, of in found.items())
    parts = parts or [MixturePart(corpus=name) for name in found]
    said = {"seed": 42, "concat": "interleaved", "shuffle": True, "fingerprint": "first", "seq_len": 4, **keys}
    segments = (first_segment(parts, corpora, said["seed"]),)
    return Plan(name="mix", dtype="uint16", tokenizer="", corpora=corpora, segments=segments, **said)


def read(order: MixtureOrder, start: int, stop: int) -> list[tuple[str, int]]:
    """The samples at positions: the array's path, and which of its samples."""
    import numpy as np

    found = order.locate(np.arange(start, stop))
    return [(order.shards[shard].shard.path, row) for shard, row in zip(found.shard.tolist(), found.row.tolist(), strict=True)]
