"""The YAML schema of mixtures."""

from collections.abc import Collection
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from phyagi_assets.declare.field_types import Name, Owners, Size, Span, Tokens
from phyagi_assets.declare.schema import LARGEST_WEIGHT, SMALLEST_AMOUNT, Declared

Packing = Literal["concat", "best_fit"]
OnFailedPartition = Literal["error", "skip"]
LONGEST_SAMPLE = 1 << 30
"""Largest length of a sample, in tokens."""


class MixturePart(Declared):
    """One corpus in a mixture."""

    corpus: str
    weight: float | None = Field(default=None, ge=SMALLEST_AMOUNT, le=LARGEST_WEIGHT, allow_inf_nan=False)
    """Factor on the corpus's own number of samples: 1.5 means one and a half epochs of the corpus per epoch of the mixture. The default
    is 1, unless a share is declared."""
    share: float | None = Field(default=None, ge=SMALLEST_AMOUNT, le=1)
    """Share of the samples of the mixture, instead of a weight."""
    max_epochs: float | None = Field(default=None, gt=0, le=LARGEST_WEIGHT, allow_inf_nan=False)
    """Largest number of epochs of the corpus in a training run; ``phyagi-assets plan`` reports when a run exceeds it."""
    packing: Packing | None = None
    """How the corpus becomes samples; by default, as the mixture declares. See `MixtureConfig.packing`."""

    @model_serializer(mode="wrap")
    def _without_packing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_null_packing(serialize(self))

    @model_validator(mode="before")
    @classmethod
    def _default_weight(cls, declared: Any) -> Any:
        is_default = isinstance(declared, dict) and declared.get("weight") is None and declared.get("share") is None
        return {**declared, "weight": 1.0} if is_default else declared

    @model_validator(mode="after")
    def _check_amount(self) -> Self:
        if self.weight is not None and self.share is not None:
            raise ValueError("has both a weight and a share; a corpus has one of them")
        return self


def _without_null_packing(dumped: dict[str, Any]) -> dict[str, Any]:
    """Leave out the key `packing` if it is not declared, so that the digest of the declaration does not change."""
    return {key: value for key, value in dumped.items() if key != "packing" or value is not None}


SHORTEST_PACKED = 2
"""Smallest length of packed samples, in tokens: a sample of one token has nothing to predict."""


class WindowConfig(Declared):
    """A shuffle within a window."""

    window: Size
    """Size of the window, in bytes of tokens."""


def _checked_parts(parts: tuple[MixturePart, ...]) -> tuple[MixturePart, ...]:
    names = [part.corpus for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"corpus {name!r} is listed {names.count(name)} times; give it one weight")
    shares = [Fraction(str(part.share)) for part in parts if part.share is not None]
    if len(shares) == len(parts) and sum(shares) != 1:
        raise ValueError(f"the shares add up to {float(sum(shares)):g}, and must add up to 1; correct them, or give a corpus a weight")
    if len(shares) < len(parts) and sum(shares) >= 1:
        raise ValueError(f"the shares add up to {float(sum(shares)):g}; less than 1 leaves something to the corpora with weights")
    return parts


Parts = Annotated[tuple[MixturePart, ...], Field(strict=False, min_length=1), AfterValidator(_checked_parts)]


class MixtureStage(Declared):
    """A part of training with its own corpora and weights."""

    until: Tokens | None = None
    """Number of tokens of training at which the stage ends, counted from the beginning of training; it is rounded down to whole samples.
    The last stage continues after it."""
    datasets: Parts
    """Corpora of the stage, with their weights or shares."""


class MixtureConfig(Declared):
    """One file in ``data/mixtures``: weighted corpora, read as samples of one length."""

    name: Name
    description: str = ""
    owners: Owners = ()
    seq_len: int = Field(default=2048, ge=1, le=LONGEST_SAMPLE)
    """Length of a sample, in tokens."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed of the shuffle."""
    concat: Literal["interleaved", "sequential"] = "interleaved"
    """Whether the corpora are mixed throughout, or read one after another."""
    shuffle: Annotated[
        Annotated[bool, Tag("[one]")] | Annotated[WindowConfig, Tag("[window]")],
        Discriminator(lambda shuffle: "[one]" if not isinstance(shuffle, dict | BaseModel) else "[window]"),
    ] = True
    """Whether the samples of a corpus are shuffled in each epoch, or read in the order of its token arrays; or a window, within which they
    are shuffled so that a reader of a bucket fetches few blocks at a time."""
    packing: Packing | None = None
    """How a corpus becomes samples: ``concat`` cuts one stream of all documents, ``best_fit`` packs whole documents and pads the rest. By
    default, conversations are packed and text is not."""
    on_failed_partition: OnFailedPartition = "error"
    """Treatment of a partition that failed for a reason that lasts until an input changes: ``error`` refuses the mixture, ``skip`` leaves
    the partition out until it is built, and reports it wherever the mixture is shown."""
    fresh_within: Span | None = None
    """Span of time, such as ``2 days``, within which a new plan is expected."""
    datasets: Parts | None = None
    """Corpora of the mixture, with their weights or shares."""
    stages: Annotated[tuple[MixtureStage, ...], Field(strict=False, min_length=1)] | None = None
    """Consecutive stages, instead of `datasets`. Each stage has its own corpora and a number of tokens."""
    evaluation: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    """Corpora that are never trained on. All of their documents are read, regardless of their splits, by ``validation_by_corpus``."""
    _conversations: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="after")
    def _check_one_of_both(self) -> Self:
        if (self.datasets is None) == (self.stages is None):
            found = "neither datasets nor stages" if self.datasets is None else "both datasets and stages"
            raise ValueError(f"has {found}; list the corpora in datasets, or in the datasets of each stage")
        return self

    @property
    def timeline(self) -> tuple[tuple[int, tuple[MixturePart, ...]], ...]:
        """First position of each stage, and its corpora; one stage from position 0 on without `stages`."""
        if self.stages is None:
            return ((0, self.datasets or ()),)
        starts = [0, *((stage.until or 0) // self.seq_len for stage in self.stages[:-1])]
        return tuple(zip(starts, (stage.datasets for stage in self.stages), strict=True))

    @property
    def all_parts(self) -> tuple[tuple[tuple[str | int, ...], MixturePart], ...]:
        """The corpora of all stages, each with the path of its key in the declaration."""
        if self.stages is None:
            return tuple((("datasets", i), part) for i, part in enumerate(self.datasets or ()))
        return tuple((("stages", k, "datasets", i), part) for k, stage in enumerate(self.stages) for i, part in enumerate(stage.datasets))

    @property
    def parts(self) -> tuple[MixturePart, ...]:
        """The corpora that are trained on, each as its first stage declares it."""
        return tuple({part.corpus: part for _, part in reversed(self.all_parts)}[name] for name in self.trained)

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the corpora that are trained on, in the order of their first stage."""
        return tuple(dict.fromkeys(part.corpus for _, part in self.all_parts))

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of all corpora, those for evaluation last."""
        return (*self.trained, *self.evaluation)

    @property
    def skips_failed(self) -> bool:
        """Whether the mixture is built without partitions whose failure persists until an input changes."""
        return self.on_failed_partition == "skip"

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out newer keys if they are not declared, so that the digest of the declaration does not change."""
        unused = {key for key in ("datasets", "stages", "evaluation") if not getattr(self, key)}
        unused |= set() if self.skips_failed else {"on_failed_partition"}
        return {key: value for key, value in _without_null_packing(serialize(self)).items() if key not in unused}

    def with_conversations(self, corpora: Collection[str]) -> Self:
        """Return a copy that knows which of the corpora are conversations, which are packed by default."""
        config = self.model_copy()
        config._conversations = frozenset(corpora)
        return config

    def packing_of(self, part: MixturePart) -> Packing:
        """Return the packing of one of the corpora."""
        is_packed = part.corpus in self._conversations and self.seq_len >= SHORTEST_PACKED
        return part.packing or self.packing or ("best_fit" if is_packed else "concat")

    def is_packed_by_default(self, part: MixturePart) -> bool:
        """Return whether a corpus is packed although neither it nor the mixture declares so."""
        return self.packing_of(part) == "best_fit" and not (part.packing or self.packing)
