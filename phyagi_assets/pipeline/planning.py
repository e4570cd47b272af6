"""Caches and weights → a plan.

A plan is made anew, or goes on from an earlier one: then what the earlier one says of the positions before stays as it is, and a
segment is added that begins where it is told to.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from phyagi_assets.config import MixturePart
from phyagi_assets.order.mixture_order import group_draws
from phyagi_assets.order.schedule import Interleaved
from phyagi_assets.pipeline.fingerprint import text_digest
from phyagi_assets.plan import Ancestor, Group, Plan, PlannedCorpus, PlannedPartition, Segment, Source

_FINEST = 1 << 51
"""Rates are whole numbers that sum up to this at most."""

Partitions = Mapping[str, Sequence[PlannedPartition]]
"""What is to be read of each corpus, in order."""


def amounts(parts: Sequence[MixturePart], samples: Sequence[int]) -> list[tuple[int, int]]:
    """The rate of each corpus, and the samples of it in an epoch of the mixture.

    Weights are factors on the corpora's own samples, as exact decimals, rounded up. Shares are parts of all samples; corpora with
    weights divide what shares leave. Where all have shares, an epoch has as many samples as the corpora together.

    Parameters
    ----------
    parts
        As declared.
    samples
        Of each corpus.
    """
    weighted = [math.ceil(own * Fraction(str(part.weight or 0))) for part, own in zip(parts, samples, strict=True)]
    shares = [Fraction(str(part.share or 0)) for part in parts]
    left = 1 - sum(shares)
    if left == 1:
        return [(drawn, drawn) for drawn in weighted]
    exact = [share or left * Fraction(drawn, sum(weighted)) for share, drawn in zip(shares, weighted, strict=True)]
    whole = math.lcm(*(part.denominator for part in exact))
    rates = [max(1, round(part * min(whole, _FINEST))) for part in exact]
    length = math.ceil(sum(weighted) / left) if left else sum(samples)
    return list(zip(rates, Interleaved(rates).given(length).tolist(), strict=True))


def first_segment(parts: Sequence[MixturePart], corpora: Sequence[PlannedCorpus], seed: int) -> Segment:
    """Everything from position 0 on: each corpus shuffled as one."""
    groups = [(_group(corpus, range(len(corpus.partitions)), seed, 0, 0),) for corpus in corpora]
    return Segment(start=0, sources=_sources(parts, range(len(corpora)), groups))


def extended(plan: Plan, fingerprint: str, start: int, parts: Sequence[MixturePart], partitions: Partitions) -> Plan:
    """The plan with a segment more.

    What is left of a corpus's partitions goes on being shuffled where it was, so that no sample comes twice before each has come once;
    what has been added since is a group of its own beside it, and so is what remains of a group that has lost a partition.

    Parameters
    ----------
    plan
        The earlier plan.
    fingerprint
        Of the new one.
    start
        Where the segment begins, after the beginning of the earlier plan's last one.
    parts, partitions
        What it reads.
    """
    corpora = {corpus.name: corpus for corpus in plan.corpora}
    places: dict[str, dict[tuple[str, str], int]] = {}
    for name, wanted in partitions.items():
        known = corpora.get(name, PlannedCorpus(name=name, partitions=()))
        versions = {(partition.key, partition.fingerprint): partition for partition in (*known.partitions, *wanted)}
        corpora[name] = PlannedCorpus(name=name, partitions=tuple(versions.values()))
        places[name] = {version: place for place, version in enumerate(versions)}
    index = {name: number for number, name in enumerate(corpora)}
    before = {source.corpus: source for source in plan.current.sources}
    draws = group_draws(plan.current, plan.concat, start - plan.current.start)
    groups = []
    for part in parts:
        corpus, number = corpora[part.corpus], index[part.corpus]
        read = [places[part.corpus][partition.key, partition.fingerprint] for partition in partitions[part.corpus]]
        old = before[number].groups if number in before else ()
        given = [draws[number, ordinal] for ordinal in range(len(old))]
        groups.append(tuple(_continued(corpus, read, old, given, plan.seed, len(plan.segments))))
    segment = Segment(start=start, sources=_sources(parts, [index[part.corpus] for part in parts], groups))
    ancestors = [Ancestor(fingerprint=plan.fingerprint, agrees_until=start)]
    ancestors += [Ancestor(fingerprint=of.fingerprint, agrees_until=min(of.agrees_until, start)) for of in plan.ancestors]
    return Plan(
        name=plan.name,
        fingerprint=fingerprint,
        seq_len=plan.seq_len,
        seed=plan.seed,
        dtype=plan.dtype,
        tokenizer=plan.tokenizer,
        concat=plan.concat,
        shuffle=plan.shuffle,
        corpora=tuple(corpora.values()),
        segments=(*plan.segments, segment),
        ancestors=tuple(ancestors),
    )


def _continued(
    corpus: PlannedCorpus, wanted: Sequence[int], old: Sequence[Group], given: Sequence[int], seed: int, segment: int
) -> Iterator[Group]:
    left = set(wanted)
    ordinal = 0
    for group, draws in zip(old, given, strict=True):
        kept = [index for index in group.partitions if index in left]
        left -= set(kept)
        if len(kept) == len(group.partitions):
            yield Group(partitions=group.partitions, samples=group.samples, offset=group.offset + draws, key=group.key)
        elif kept:
            yield _group(corpus, kept, seed, segment, ordinal)
            ordinal += 1
    if left:
        yield _group(corpus, sorted(left), seed, segment, ordinal)


def _group(corpus: PlannedCorpus, partitions: Sequence[int], seed: int, segment: int, ordinal: int) -> Group:
    shards = (corpus.partitions[index].shards.get("train") for index in partitions)
    key = int(text_digest(f"{seed}/{corpus.name}/{segment}/{ordinal}")[:16], 16)
    return Group(partitions=tuple(partitions), samples=sum(shard.samples for shard in shards if shard), offset=0, key=key)


def _sources(parts: Sequence[MixturePart], corpora: Sequence[int], groups: Sequence[tuple[Group, ...]]) -> tuple[Source, ...]:
    own = [sum(group.samples for group in of) for of in groups]
    return tuple(
        Source(
            corpus=corpus,
            weight=part.weight,
            share=part.share,
            rate=rate,
            drawn=drawn,
            groups=of,
        )
        for part, corpus, of, (rate, drawn) in zip(parts, corpora, groups, amounts(parts, own), strict=True)
    )
