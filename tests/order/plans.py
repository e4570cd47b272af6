"""Build plans from a few literals, and read their samples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import Group, Plan, PlannedCorpus, PlannedPartition, Segment, Shard, Source, Window, samples_in
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import first_plan

Sample = tuple[tuple[str, int], ...]
"""Tokens of a sample; each token is the path of its array and its index in the array."""
SHUFFLES = [True, False, Window(window=1), Window(window=72), Window(window=300)]
"""Shuffles of whole groups, in order, and within windows; a sample of 4 tokens has 8 bytes."""
Samples = Mapping[str, Mapping[str, int]]
"""Numbers of samples, by corpus and partition."""


def partition(key: str, version: str = "1", *, seq_len: int = 4, **samples: int) -> PlannedPartition:
    """Return a partition, given its number of samples in each split."""
    return sized(key, version, **{split: count * seq_len + (split == "train") for split, count in samples.items()})


def sized(key: str, version: str = "1", **tokens: int) -> PlannedPartition:
    """Return a partition, given its number of tokens in each split."""
    shards = {split: Shard(path=f"{key}@{version}/{split}.npy", tokens=count, documents=1) for split, count in tokens.items()}
    return PlannedPartition(key=key, fingerprint=f"{key}@{version}", shards=shards)


def partitions(samples: Samples, *, seq_len: int = 4, splits: Sequence[str] = ("train",)) -> dict[str, list[PlannedPartition]]:
    """Return partitions by corpus, given their numbers of samples in each split."""
    return {
        corpus: [partition(f"{corpus}-{key}", seq_len=seq_len, **dict.fromkeys(splits, count)) for key, count in of.items()]
        for corpus, of in samples.items()
    }


def plan_of(
    found: Mapping[str, Sequence[PlannedPartition]], parts: Sequence[MixturePart] | None = None, *, crosses: bool = True, **keys: Any
) -> Plan:
    """Return a plan over partitions; by default, every corpus has weight 1. Without `crosses`, it is a plan of an earlier release."""
    corpora = tuple(PlannedCorpus(name=name, partitions=tuple(of)) for name, of in found.items())
    parts = parts or [MixturePart(corpus=name) for name in found]
    said = {"seed": 42, "concat": "interleaved", "shuffle": True, "fingerprint": "first", "seq_len": 4, "dtype": "uint16", **keys}
    plan = first_plan(Plan(name="mix", tokenizer="", corpora=corpora, segments=(), pad_id=0 if crosses else None, **said), parts)
    return plan if crosses else replace(plan, segments=(_uncrossed(plan.current, corpora, said["seq_len"]),))


def _uncrossed(segment: Segment, corpora: Sequence[PlannedCorpus], seq_len: int) -> Segment:
    """Return a first segment in the form of earlier releases, in which every corpus has weight 1."""
    sources = []
    for source in segment.sources:
        shards = [partition.shards["train"] for partition in corpora[source.corpus].partitions if "train" in partition.shards]
        samples = sum(samples_in(shard.tokens, seq_len) for shard in shards)
        group = Group(partitions=source.groups[0].partitions, samples=samples, offset=0, key=source.groups[0].key, crosses=False)
        sources.append(Source(corpus=source.corpus, weight=1.0, share=None, rate=samples, drawn=samples, groups=(group,)))
    return Segment(start=0, sources=tuple(sources), crosses=False)


def read(order: MixtureOrder, start: int, stop: int) -> list[Sample]:
    """Return the samples at a range of positions; the path of padding is empty."""
    import numpy as np

    runs = order.runs(order.locate(np.arange(start, stop)))
    samples: list[list[tuple[str, int]]] = [[] for _ in range(stop - start)]
    columns = (column.tolist() for column in (runs.sample, runs.at, runs.shard, runs.start, runs.tokens))
    for sample, at, shard, begin, tokens in zip(*columns, strict=True):
        assert len(samples[sample]) == at
        path = order.shards[shard].shard.path if shard >= 0 else ""
        samples[sample] += [(path, begin + i) for i in range(tokens)]
    return [tuple(sample) for sample in samples]


def cut(tokens: Sequence[tuple[str, int]], seq_len: int = 4) -> list[Sample]:
    """Cut a sequence of tokens into consecutive samples."""
    return [tuple(tokens[start : start + seq_len]) for start in range(0, samples_in(len(tokens), seq_len) * seq_len, seq_len)]


def stream(plan: Plan, corpus: str, split: str = "train") -> list[tuple[str, int]]:
    """Return the tokens of a corpus, one partition after the other."""
    (of,) = (planned for planned in plan.corpora if planned.name == corpus)
    shards = [part.shards[split] for part in of.partitions if split in part.shards]
    return [(shard.path, token) for shard in shards for token in range(shard.tokens)]


def group_samples(plan: Plan, source: Source, group: Group) -> list[Sample]:
    """Return the samples of a group, cut from its tokens one by one; of packed partitions, those of their indices."""
    if group.packed:
        from tests.order.packed_plans import packed_samples

        return [sample for index in group.partitions for sample in packed_samples(plan.corpora[source.corpus].partitions[index])]
    corpus, cuts = plan.corpora[source.corpus], {part.place: (part.start, part.stop) for part in group.cuts}
    streams: list[list[tuple[str, int]]] = []
    for place, index in enumerate(group.partitions):
        if shard := corpus.partitions[index].shards.get("train"):
            streams.append([(shard.path, token) for token in range(*cuts.get(place, (0, shard.tokens)))])
    if group.crosses:
        streams = [[token for of in streams for token in of]]
    return [sample for of in streams for sample in cut(of, plan.seq_len)]
