"""Plans of a mixture for another length of samples."""

from collections.abc import Callable
from dataclasses import replace

from phyagi_assets.declare.mixture_schema import LONGEST_SAMPLE, MixturePart
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import Plan, PlannedCorpus, PlannedIndex, PlannedPartition, Source
from phyagi_assets.order.planning import extended, first_plan, with_evaluation
from phyagi_assets.store.fingerprint import text_digest

FindIndex = Callable[[str, PlannedPartition, int], PlannedIndex | None]
"""Function that returns the index of a partition, given its corpus, the partition and the length of samples; None if it was not built."""


def resized(plan: Plan, seq_len: int, find_index: FindIndex) -> Plan:
    """Return a plan with the caches and weights of a plan, and samples of another length.

    Stages begin at the same number of tokens, rounded down to whole samples. Segments before the last extension of the plan are left out.

    Returns
    -------
    Plan
        A plan whose fingerprint and order depend on the given plan and the length alone.

    Raises
    ------
    ValueError
        A corpus has too few training tokens for one sample of this length, or it is packed and has no index for this length, or the length
        The length is out of range, or a corpus has too few training tokens for one sample of this length, or is packed and has no index
    StoreError
        The plan was written by a release whose samples did not cross partitions, so it has no padding id.
    """
    if not 1 <= seq_len <= LONGEST_SAMPLE:
        raise ValueError(f"seq_len: is {seq_len:,}; use a length of samples from 1 to {LONGEST_SAMPLE:,}")
    if plan.pad_id is None:
        raise StoreError(
            f"mixture {plan.name!r}: its plan was written by an earlier release; materialize it again to read it with another seq_len"
        )
    kept = [segment for segment in plan.segments if segment.start >= (plan.ancestors[0].agrees_until if plan.ancestors else 0)]
    first, *later = ([_planned(plan, source, seq_len, find_index) for source in segment.sources] for segment in kept)
    corpora = tuple(corpus for _, corpus in first)
    fingerprint = text_digest(f"{plan.fingerprint}/{seq_len}")
    empty = replace(plan, fingerprint=fingerprint, seq_len=seq_len, corpora=corpora, segments=(), ancestors=(), evaluation=())
    found = first_plan(empty, [part for part, _ in first])
    for segment, planned in zip(kept[1:], later, strict=True):
        start = max(segment.start * plan.seq_len // seq_len, found.current.start + 1)
        parts, partitions = [part for part, _ in planned], {corpus.name: corpus.partitions for _, corpus in planned}
        found = replace(extended(found, fingerprint, start, parts, partitions), ancestors=())
    return with_evaluation(found, [plan.corpora[number] for number in plan.evaluation])


def _planned(plan: Plan, source: Source, seq_len: int, find_index: FindIndex) -> tuple[MixturePart, PlannedCorpus]:
    """Return a corpus of a segment as it was declared, with the partitions that the segment reads."""
    corpus = _corpus(plan, source, seq_len, find_index)
    tokens = plan.total("train", "tokens", source)
    if tokens <= seq_len and not source.packed:
        raise ValueError(
            f"seq_len: corpus {corpus.name!r} of mixture {plan.name!r} has {tokens:,} training tokens, but one sample takes "
            f"seq_len + 1 = {seq_len + 1:,}"
        )
    return MixturePart(corpus=corpus.name, weight=source.weight, share=source.share), corpus


def _corpus(plan: Plan, source: Source, seq_len: int, find_index: FindIndex) -> PlannedCorpus:
    """Return a corpus as the plan reads it; if it is packed, with the indices for another length of samples."""
    name, partitions = plan.corpora[source.corpus].name, plan.partitions(source)
    if source.packed:
        indices = [find_index(name, partition, seq_len) for partition in partitions]
        if bare := next((partition for partition, index in zip(partitions, indices, strict=True) if index is None), None):
            raise ValueError(
                f"seq_len: corpus {name!r} of mixture {plan.name!r} is packed, and partition {bare.key!r} has no index of samples of "
                f"{seq_len:,} tokens; to build the indices, declare a mixture of the same corpora with seq_len: {seq_len} and "
                "packing: best_fit in data/mixtures, and materialize it with: phyagi-assets materialize NAME"
            )
        partitions = [replace(partition, index=index) for partition, index in zip(partitions, indices, strict=True)]
    return PlannedCorpus(name=name, partitions=tuple(partitions))
