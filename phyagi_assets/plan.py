"""``mixture.json``, the plan: what a mixture materializes to, and all that training code needs to read it.

The pipeline writes it and the datasets read it, so it knows of neither: the standard library is enough.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from phyagi_assets.errors import StoreError

PLAN = "mixture.json"
FORMAT = 1


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
    """One corpus of the mixture."""

    name: str
    weight: float
    """Factor on the corpus's own number of training samples."""
    partitions: tuple[PlannedPartition, ...]

    def shards(self, split: str) -> list[Shard]:
        """The arrays of a split, in the partitions' order."""
        return [partition.shards[split] for partition in self.partitions if split in partition.shards]

    def total(self, split: str, count: str) -> int:
        """The sum of ``tokens``, ``documents`` or ``samples`` over a split."""
        return sum(getattr(shard, count) for shard in self.shards(split))

    @property
    def drawn(self) -> int:
        """Training samples that an epoch of the mixture takes of it."""
        return math.ceil(self.total("train", "samples") * Fraction(str(self.weight)))  # 10 × 1.1 is 11, as declared


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which shards, what weights, which order."""

    name: str
    seq_len: int
    seed: int
    dtype: str
    """Of every array."""
    tokenizer: str
    """Folder of the tokenizer, relative to the plan's own folder; empty where there is none."""
    corpora: tuple[PlannedCorpus, ...]
    format: int = FORMAT

    def total(self, split: str, count: str) -> int:
        """The sum of ``tokens``, ``documents`` or ``samples`` over a split of all corpora."""
        return sum(corpus.total(split, count) for corpus in self.corpora)

    @property
    def drawn(self) -> int:
        """Training samples in an epoch of the mixture."""
        return sum(corpus.drawn for corpus in self.corpora)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan.

        Raises
        ------
        StoreError
            The file is not there, is no plan, or is one of a later format than this package knows.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found = record.get("format")
            if found != FORMAT:
                raise StoreError(f"{path}: is a plan of format {found!r}, and this version of phyagi-assets reads format {FORMAT}")
            corpora = tuple(_corpus(corpus) for corpus in record.pop("corpora"))
            return cls(**record, corpora=corpora)
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


def samples_in(tokens: int, seq_len: int) -> int:
    """Whole sequences in an array: the last token is only ever a label, so it begins none."""
    return max(tokens - 1, 0) // seq_len
