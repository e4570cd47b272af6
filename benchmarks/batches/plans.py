"""Plans of mixtures over token arrays that the pipeline did not build."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.formats.plan import PLAN, Group, Plan, PlannedCorpus, PlannedPartition, Segment, Shard, Source, samples_in


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedArrays:
    """A corpus of token arrays of one length."""

    paths: Sequence[str]
    tokens: int
    """Number of tokens of each array."""
    weight: float


def write_plan(folder: Path, corpora: Sequence[PlannedArrays], seq_len: int) -> None:
    """Write the plan of a mixture of corpora, shuffled and interleaved, into a folder."""
    planned = [_planned(corpus, number) for number, corpus in enumerate(corpora)]
    sources = [_source(corpus, number, seq_len) for number, corpus in enumerate(corpora)]
    plan = Plan(
        name="bench",
        fingerprint="bench",
        seq_len=seq_len,
        seed=1,
        dtype="uint16",
        tokenizer="",
        concat="interleaved",
        shuffle=True,
        corpora=tuple(planned),
        segments=(Segment(start=0, sources=tuple(sources)),),
    )
    (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")


def _planned(corpus: PlannedArrays, number: int) -> PlannedCorpus:
    shards = [Shard(path=path, tokens=corpus.tokens, documents=1) for path in corpus.paths]
    partitions = [PlannedPartition(key=str(key), fingerprint="bench", shards={"train": shard}) for key, shard in enumerate(shards)]
    return PlannedCorpus(name=f"corpus{number}", partitions=tuple(partitions))


def _source(corpus: PlannedArrays, number: int, seq_len: int) -> Source:
    samples = samples_in(len(corpus.paths) * corpus.tokens, seq_len)
    group = Group(partitions=tuple(range(len(corpus.paths))), samples=samples, offset=0, key=number)
    drawn = int(samples * corpus.weight)
    return Source(corpus=number, weight=corpus.weight, share=None, rate=drawn, drawn=drawn, groups=(group,))
