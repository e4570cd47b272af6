"""``mixture.json``, the plan: what a mixture materializes to, and all that training code needs to read it.

The pipeline writes it and the datasets read it, so it knows of neither: the standard library is enough.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from phyagi_assets.errors import StoreError
from phyagi_assets.plan_digest import verify_plan

PLAN = "mixture.json"
FORMAT = 2

Concat = Literal["interleaved", "sequential"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One token array."""

    path: str
    """Of the ``.npy`` file, relative to the plan's own folder."""
    tokens: int
    documents: int
    samples: int
    """Whole sequences in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPartition:
    """One partition's cache, in the version that the plan was made from."""

    key: str
    fingerprint: str
    shards: Mapping[str, Shard]
    """By split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCorpus:
    """One corpus, with the caches that any segment reads."""

    name: str
    partitions: tuple[PlannedPartition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Partitions of a corpus that are shuffled together: those that came into the mixture at once."""

    partitions: tuple[int, ...]
    """Indices into the corpus's partitions."""
    samples: int
    """Training samples in them."""
    offset: int
    """Draws from them before the segment began."""
    key: int
    """Of their shuffle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A corpus in a segment."""

    corpus: int
    """Index into the plan's corpora."""
    weight: float | None
    """Factor on the corpus's own number of training samples, where that is how much of it was declared."""
    share: float | None
    """Part of the mixture's samples, where that is."""
    rate: int
    """Of the samples, in proportion to the other rates."""
    drawn: int
    """Samples of it in an epoch of the mixture."""
    groups: tuple[Group, ...]

    @property
    def samples(self) -> int:
        """The corpus's own training samples."""
        return sum(group.samples for group in self.groups)

    @property
    def amount(self) -> str:
        """How much of the corpus was declared, to be read: ``×1.5`` or ``30 %``."""
        return f"×{self.weight:g}" if self.weight is not None else f"{100 * (self.share or 0):g} %"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What is read from a position on, up to the next segment."""

    start: int
    sources: tuple[Source, ...]

    @property
    def drawn(self) -> int:
        """Samples in an epoch of the mixture."""
        return sum(source.drawn for source in self.sources)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ancestor:
    """An earlier plan of the mixture, whose order is this one's up to a position."""

    fingerprint: str
    agrees_until: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which shards, what weights, which order."""

    name: str
    fingerprint: str
    seq_len: int
    seed: int
    dtype: str
    """Of every array."""
    tokenizer: str
    """Folder of the tokenizer, relative to the plan's own folder; empty where there is none."""
    concat: Concat
    shuffle: bool
    """Whether the samples of a corpus come in another order each epoch, or as they stand in its arrays."""
    corpora: tuple[PlannedCorpus, ...]
    segments: tuple[Segment, ...]
    ancestors: tuple[Ancestor, ...] = ()
    format: int = FORMAT

    @property
    def current(self) -> Segment:
        """The last segment, which says what is read now."""
        return self.segments[-1]

    def partitions(self, source: Source) -> list[PlannedPartition]:
        """The partitions that a source reads, in their order."""
        chosen = sorted(index for group in source.groups for index in group.partitions)
        return [self.corpora[source.corpus].partitions[index] for index in chosen]

    def shards(self, source: Source, split: str) -> list[Shard]:
        """The arrays of a split that a source reads, in its partitions' order."""
        return [partition.shards[split] for partition in self.partitions(source) if split in partition.shards]

    def total(self, split: str, count: str, source: Source | None = None) -> int:
        """The sum of ``tokens``, ``documents`` or ``samples`` over a split, of one source or of all that is read now."""
        sources = self.current.sources if source is None else (source,)
        return sum(getattr(shard, count) for of in sources for shard in self.shards(of, split))

    def agrees(self, fingerprint: str, position: int) -> bool:
        """Whether another plan's order is this one's before a position."""
        earlier = {ancestor.fingerprint: ancestor.agrees_until for ancestor in self.ancestors}
        return fingerprint == self.fingerprint or position <= earlier.get(fingerprint, -1)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan.

        Raises
        ------
        StoreError
            The file is not there, is no plan, is one of another format than this package knows, or was changed since it was written.
        """
        verify_plan(path)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found = record.get("format")
            if found != FORMAT:
                raise StoreError(
                    f"{path}: is a plan of format {found!r}, and this version of phyagi-assets reads format {FORMAT}; materialize it again"
                )
            corpora = tuple(map(_corpus, record.pop("corpora")))
            segments = tuple(map(_segment, record.pop("segments")))
            ancestors = tuple(Ancestor(**ancestor) for ancestor in record.pop("ancestors"))
            return cls(**record, corpora=corpora, segments=segments, ancestors=ancestors)
        except OSError as problem:
            raise StoreError(f"{path}: cannot be read: {problem.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise StoreError(f"{path}: is no plan of a mixture: {problem}") from None


def _corpus(record: dict[str, Any]) -> PlannedCorpus:
    partitions = tuple(
        PlannedPartition(**{**partition, "shards": {split: Shard(**shard) for split, shard in partition["shards"].items()}})
        for partition in record.pop("partitions")
    )
    return PlannedCorpus(**record, partitions=partitions)


def _segment(record: dict[str, Any]) -> Segment:
    return Segment(start=record["start"], sources=tuple(map(_source, record["sources"])))


def _source(record: dict[str, Any]) -> Source:
    groups = tuple(Group(**{**group, "partitions": tuple(group["partitions"])}) for group in record.pop("groups"))
    return Source(**record, groups=groups)


def samples_in(tokens: int, seq_len: int) -> int:
    """Whole sequences in an array: the last token is only ever a label, so it begins none."""
    return max(tokens - 1, 0) // seq_len
