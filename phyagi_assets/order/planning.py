"""Make plans from caches and weights.

A plan is either new or extends an earlier plan. An extended plan keeps the order before a position and adds a segment that begins there.

Each corpus is read as one stream of tokens across its partitions, so that an epoch omits fewer tokens than one sample has. A group that a
later segment adds begins with the tokens that the earlier groups left over. Packed samples leave no tokens over: their groups consist of
whole partitions.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.formats.plan import (
    Ancestor,
    Cut,
    Group,
    Plan,
    PlannedCorpus,
    PlannedPartition,
    Segment,
    Source,
    TokenRange,
    samples_in,
)
from phyagi_assets.formats.plan_formats import FORMAT
from phyagi_assets.order.group_schedule import GroupSchedule
from phyagi_assets.order.schedule import Interleaved
from phyagi_assets.order.windows import block_for
from phyagi_assets.store.fingerprint import text_digest

_MAX_RATE_SUM = 1 << 51
"""Largest sum of the rates, which are integers."""

Partitions = Mapping[str, Sequence[PlannedPartition]]
"""Partitions to read, in order, by corpus. A corpus is packed if its partitions have an index."""


def amounts(parts: Sequence[MixturePart], samples: Sequence[int]) -> list[tuple[int, int]]:
    """Return the rate of each corpus and its number of samples in an epoch of the mixture.

    A weight multiplies the corpus's number of samples, as an exact decimal, rounded up. A share fixes the corpus's part of all samples;
    corpora with weights divide the rest among themselves. If all corpora have shares, an epoch has as many samples as all corpora together.
    """
    weighted = [math.ceil(own * Fraction(str(part.weight or 0))) for part, own in zip(parts, samples, strict=True)]
    shares = [Fraction(str(part.share or 0)) for part in parts]
    left = 1 - sum(shares)
    if left == 1:
        return [(drawn, drawn) for drawn in weighted]
    exact = [share or left * Fraction(drawn, sum(weighted)) for share, drawn in zip(shares, weighted, strict=True)]
    whole = math.lcm(*(part.denominator for part in exact))
    rates = [max(1, round(part * min(whole, _MAX_RATE_SUM))) for part in exact]
    length = math.ceil(sum(weighted) / left) if left else sum(samples)
    return list(zip(rates, Interleaved(rates).draws_before(length).tolist(), strict=True))


def first_plan(plan: Plan, parts: Sequence[MixturePart]) -> Plan:
    """Return a plan with one segment, in which each corpus is one shuffle group, given the plan without segments."""
    corpora, seed = plan.corpora, plan.seed
    groups = [_groups(corpus, range(len(corpus.partitions)), [], [], f"{seed}/{corpus.name}/0/0", plan.seq_len) for corpus in corpora]
    segment = Segment(start=0, sources=_sources(parts, range(len(corpora)), groups))
    return replace(plan, segments=(_with_blocks(segment, plan, known=set()),))


def _with_blocks(segment: Segment, plan: Plan, known: Container[int]) -> Segment:
    """Return a segment whose groups are shuffled within the window of the plan, if it has one. Groups with known keys do not change.

    Groups that are read at the same time share the window in proportion to the samples drawn from them.
    """
    window, total = plan.window_samples, segment.total_rate

    def blocked(group: Group, source: Source) -> Group:
        if not window or group.packed or group.key in known:
            return group
        share = Fraction(1)
        if plan.concat == "interleaved":
            share = Fraction(source.rate, total) * Fraction(group.samples, max(source.samples, 1))
        return replace(group, block=block_for(int(window * share), group.samples))

    return replace(
        segment,
        sources=tuple(replace(source, groups=tuple(blocked(group, source) for group in source.groups)) for source in segment.sources),
    )


def extended(
    plan: Plan, fingerprint: str, start: int, parts: Sequence[MixturePart], partitions: Partitions, *, pad_id: int | None = None
) -> Plan:
    """Return a plan with one more segment.

    A shuffle group whose partitions are all still read continues, so that no sample repeats before every sample was read once.
    All other tokens form one new group, which begins with the tokens that the continued groups left over.

    Parameters
    ----------
    start
        First position of the segment, after the first position of the earlier plan's last segment.
    parts, partitions
        Corpora of the segment, and the partitions to read of each.
    pad_id
        Token id that pads the last sample of splits other than ``train``; by default the pad id of the earlier plan.
    """
    corpora = {corpus.name: corpus for corpus in plan.corpora}
    places: dict[str, dict[tuple[str, str, str], int]] = {}
    for name, wanted in partitions.items():
        known = corpora.get(name, PlannedCorpus(name=name, partitions=()))
        versions = {partition.version: partition for partition in (*known.partitions, *wanted)}
        corpora[name] = PlannedCorpus(name=name, partitions=tuple(versions.values()))
        places[name] = {version: place for place, version in enumerate(versions)}
    index = {name: number for number, name in enumerate(corpora)}
    before = _groups_before(plan, start)
    groups = []
    for part in parts:
        corpus, number = corpora[part.corpus], index[part.corpus]
        read = [places[part.corpus][partition.version] for partition in partitions[part.corpus]]
        old, draws = before.get(number, ((), ()))
        groups.append(_groups(corpus, read, old, draws, f"{plan.seed}/{corpus.name}/{len(plan.segments)}/0", plan.seq_len))
    segment = Segment(start=start, sources=_sources(parts, [index[part.corpus] for part in parts], groups))
    segment = _with_blocks(segment, plan, known={group.key for groups, _ in before.values() for group in groups})
    ancestors = [Ancestor(fingerprint=plan.fingerprint, agrees_until=start)]
    ancestors += [Ancestor(fingerprint=ancestor.fingerprint, agrees_until=min(ancestor.agrees_until, start)) for ancestor in plan.ancestors]
    return replace(
        plan,
        fingerprint=fingerprint,
        corpora=tuple(corpora.values()),
        segments=(*plan.segments, segment),
        ancestors=tuple(ancestors),
        pad_id=plan.pad_id if pad_id is None else pad_id,
        format=FORMAT,
    )


def _groups_before(plan: Plan, start: int) -> dict[int, tuple[Sequence[Group], Sequence[int]]]:
    """Return the groups of each corpus in the last segment that reads it, and the number of draws from each group in that segment."""
    found: dict[int, tuple[Sequence[Group], Sequence[int]]] = {}
    ends = [*(segment.start for segment in plan.segments[1:]), start]
    for segment, end in zip(plan.segments, ends, strict=True):
        counts = GroupSchedule(segment, plan.concat).draws_before(end - segment.start)
        found |= {source.corpus: (source.groups, draws) for source, draws in zip(segment.sources, counts, strict=True)}
    return found


Stages = Sequence[tuple[int, Sequence[MixturePart]]]
"""First position and corpora of each stage."""


def stages_from(position: int, stages: Stages) -> Stages:
    """Return the stage at a position, with the position as its start, and all later stages."""
    current = max(number for number, (start, _) in enumerate(stages) if start <= position)
    return [(position, stages[current][1]), *stages[current + 1 :]]


def until(plan: Plan, position: int) -> Plan:
    """Return a plan without the segments that begin at a position or later, and without the partitions that only they read."""
    kept = [segment for segment in plan.segments if segment.start < position]
    read: dict[int, int] = {}
    for source in (source for segment in kept for source in segment.sources):
        read[source.corpus] = max(read.get(source.corpus, -1), *source.partitions)
    # Later segments list their corpora and partitions after those of earlier segments, so that no index changes.
    corpora = [replace(corpus, partitions=corpus.partitions[: read.get(number, -1) + 1]) for number, corpus in enumerate(plan.corpora)]
    return replace(plan, segments=tuple(kept), corpora=tuple(corpora[: max(read) + 1]), evaluation=())


def evaluated_corpus(name: str, partitions: Sequence[PlannedPartition]) -> PlannedCorpus:
    """Return a corpus that is not trained on: each of its token arrays becomes the validation split of a partition."""
    shards = [(partition, partition.shards[split]) for partition in partitions for split in SPLITS if split in partition.shards]
    divided = (replace(partition, shards={"validation": shard}, index=None) for partition, shard in shards)
    return PlannedCorpus(name=name, partitions=tuple(divided))


def with_evaluation(plan: Plan, corpora: Sequence[PlannedCorpus]) -> Plan:
    """Return a plan with additional corpora from `evaluated_corpus`."""
    numbers = range(len(plan.corpora), len(plan.corpora) + len(corpora))
    return replace(plan, corpora=(*plan.corpora, *corpora), evaluation=tuple(numbers))


def _groups(
    corpus: PlannedCorpus, wanted: Sequence[int], old: Sequence[Group], drawn: Sequence[int], seed: str, seq_len: int
) -> tuple[Group, ...]:
    """Return the shuffle groups of a corpus: groups that continue, and one with all tokens that are in none of their samples.

    Parameters
    ----------
    wanted
        Indices of the partitions to read.
    old, drawn
        Groups of the previous segment, and the number of draws from each in that segment.
    seed
        Text from which the key of the new group's permutation is derived.
    """
    packed = any(corpus.partitions[index].index for index in wanted)
    continued = [
        replace(group, offset=group.offset + draws)
        for group, draws in zip(old, drawn, strict=True)
        if group.samples and set(group.partitions) <= set(wanted) and group.packed == packed
    ]
    new = _packed_group(corpus, wanted, continued, seed) if packed else _stream_group(corpus, wanted, old, continued, seed, seq_len)
    return (*continued, new) if new.partitions else tuple(continued)


def _packed_group(corpus: PlannedCorpus, wanted: Sequence[int], continued: Sequence[Group], seed: str) -> Group:
    """Return a group with the packed samples of the partitions that no continued group reads."""
    read = {index for group in continued for index in group.partitions}
    unread = tuple(index for index in wanted if index not in read)
    samples = sum(corpus.partitions[index].packed_samples("train") for index in unread)
    return Group(partitions=unread, samples=samples, offset=0, key=_key(seed), crosses=False, packed=True)


def _stream_group(
    corpus: PlannedCorpus, wanted: Sequence[int], old: Sequence[Group], continued: Sequence[Group], seed: str, seq_len: int
) -> Group:
    """Return a group with the tokens that no sample of a continued group contains. Partitions that were read before come first."""
    left = _uncovered_ranges(corpus, wanted, continued, seq_len)
    listed = {index for group in continued for index in group.partitions} | {each.partition for each in left}
    empty = [TokenRange(partition=index, start=0, stop=0) for index in wanted if index not in listed]
    known = {index for group in old for index in group.partitions}
    parts = sorted([*left, *empty], key=lambda part: (part.partition not in known, part.partition, part.start))
    cuts = [
        Cut(place=place, start=part.start, stop=part.stop)
        for place, part in enumerate(parts)
        if part.tokens and part.tokens != corpus.partitions[part.partition].shards["train"].tokens
    ]
    return Group(
        partitions=tuple(part.partition for part in parts),
        samples=samples_in(sum(part.tokens for part in parts), seq_len),
        offset=0,
        key=_key(seed),
        cuts=tuple(cuts),
    )


def _key(seed: str) -> int:
    return int(text_digest(seed)[:16], 16)


def _uncovered_ranges(corpus: PlannedCorpus, wanted: Sequence[int], groups: Sequence[Group], seq_len: int) -> list[TokenRange]:
    """Return the training tokens of partitions that are in no sample of the groups."""
    covered: dict[int, list[tuple[int, int]]] = {}
    for group in groups:
        rest = group.samples * seq_len
        for part in group.token_ranges(corpus):
            tokens = min(part.tokens, rest) if group.crosses else samples_in(part.tokens, seq_len) * seq_len
            rest -= tokens
            covered.setdefault(part.partition, []).append((part.start, part.start + tokens))
    left = []
    for index in wanted:
        shard = corpus.partitions[index].shards.get("train")
        tokens, at = shard.tokens if shard else 0, 0
        for start, stop in [*sorted(covered.get(index, ())), (tokens, tokens)]:
            if at < start:
                left.append(TokenRange(partition=index, start=at, stop=start))
            at = max(at, stop)
    return left


def _sources(parts: Sequence[MixturePart], corpora: Sequence[int], groups: Sequence[tuple[Group, ...]]) -> tuple[Source, ...]:
    samples = [sum(group.samples for group in own) for own in groups]
    return tuple(
        Source(corpus=corpus, weight=part.weight, share=part.share, rate=rate, drawn=drawn, groups=own)
        for part, corpus, own, (rate, drawn) in zip(parts, corpora, groups, amounts(parts, samples), strict=True)
    )
