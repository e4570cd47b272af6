"""The YAML schemas: what a corpus and a mixture may declare.

The models are frozen and refuse unknown keys and wrong types; :mod:`phyagi_assets.declare.catalog` reads the files and turns what the
models find into errors with a line. Nothing here touches the disk.
"""

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

import regex
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from phyagi_assets.declare.cron import looks_like_cron
from phyagi_assets.declare.field_types import Clock, Name, Owners, Place, Span, TokenizerName, Zone

Format = Literal["text", "json", "csv", "parquet", "arrow"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SpecialTokens = Literal["allow", "text", "error"]
HeldOut = Literal["validation", "test"]

FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}


SMALLEST_AMOUNT, LARGEST_WEIGHT = 1e-6, 1e6
"""Bounds of weights and shares. Beyond them, an epoch has less than a sample of a corpus, or more samples than positions can count."""
LONGEST_REGEX = 1_000
"""Characters in a regex, at most."""
LONGEST_SAMPLE = 1 << 30
"""Tokens in a sample, at most."""


class Declared(BaseModel):
    """What every declaration has in common: immutable, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SourceConfig(Declared):
    """Where the documents of a corpus are and how to read them."""

    path: Annotated[
        Annotated[Place, Tag("[one]")] | Annotated[dict[Split, Place], Field(min_length=1), Tag("[each]")],
        Discriminator(lambda path: "[each]" if isinstance(path, dict) else "[one]"),
    ]
    """Where the files are, or where those of each split are.

    A file or a glob (``**`` crosses folders), relative to the data folder or absolute; a folder that ``datasets.save_to_disk`` wrote;
    ``s3://bucket/folder/*.jsonl``; ``hf://org/name`` or, for some of its files, ``hf://org/name/folder/*.jsonl``.
    """
    name: Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(lambda name: (name,) if isinstance(name, str) else name)] = ()
    """Of a dataset on the Hub, the configuration, or several."""
    revision: str | None = None
    """Of a dataset on the Hub: a branch, tag or commit. By default its main branch."""
    format: Format | None = None
    """How to read the files; guessed from their suffix by default."""
    sample_by: Literal["document", "paragraph", "line"] = "document"
    """For text files: what a document is (the whole file, what blank lines separate, or each line)."""
    delimiter: str | None = None
    """For CSV files: the character between columns; by default a tab in files that are named ``.tsv``, and a comma in others."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
            raise ValueError(f"{delimiter!r} is not a delimiter; use one ASCII character, as in ';', or \"\\t\" for a tab")
        return delimiter

    @property
    def paths(self) -> tuple[str, ...]:
        """Every place that is named."""
        return (self.path,) if isinstance(self.path, str) else tuple(self.path.values())

    @model_validator(mode="after")
    def _of_the_hub(self) -> Self:
        for key in ("name", "revision"):
            if getattr(self, key) and not any(path.startswith("hf://") for path in self.paths):
                raise ValueError(f"{key} is of datasets on the Hub, as in path: hf://org/name; {', '.join(self.paths)} is none")
        return self


class LimitsConfig(Declared):
    """What a partition may hold of what should not be there; a check fails beyond it, and the partition is not published."""

    duplicates: float | None = Field(default=None, ge=0, le=1)
    """Share of its documents whose text stands in it before."""
    invalid: float | None = Field(default=None, ge=0, le=1)
    """Share of its rows that were left out with ``on_invalid: skip``."""


class CorpusConfig(Declared):
    """One file under ``data/corpora``: a named source of documents and what is made of it."""

    name: Name
    """The corpus: a folder of the store, and the first part of its asset keys."""
    description: str = ""
    """A sentence for the catalog: what it is, where it comes from, under what licence."""
    owners: Owners = ()
    """Who answers for it: e-mail addresses, or ``team:name``."""
    source: SourceConfig
    partition_by: str = "none"
    """``none``, ``file``, ``configuration`` (of a dataset on the Hub), or a regex with one group over the path, whose match names the
    partition."""
    columns: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)] = ("text",)
    """The columns that hold the text; several are joined with `separator`."""
    separator: str = "\n\n"
    tokenizer: TokenizerName
    """A folder relative to the data folder, or a Hub name, with ``@revision`` where one is wanted."""
    append_eos: bool = True
    """Whether the tokenizer's EOS follows every non-empty document."""
    special_tokens: SpecialTokens = "allow"
    """How to encode text that spells a special token, such as ``<|endoftext|>``: as the token (the default of ``transformers``),
    ordinary text (its ``split_special_tokens``), or an error that names the file and row."""
    dtype: Literal["auto", "uint16", "int32"] = "auto"
    """Of the token arrays; ``auto`` is uint16 where every id of the tokenizer fits, else int32."""
    splits: dict[HeldOut, float] = Field(default_factory=dict)
    """Share of the documents that each split takes, by hash of the text; the rest is ``train``."""
    on_invalid: Literal["error", "skip"] = "error"
    """What a row whose text is null or no string gets: refusal of the partition, or to be left out and counted."""
    refresh: Clock | None = None
    """How often to look at the source for what is new or changed: a cron expression, or a span such as ``10 minutes``."""
    timezone: Zone = "UTC"
    """Time zone of a cron expression in `refresh`."""
    fresh_within: Span | None = None
    """A span such as ``2 days``, within which something new is expected."""
    limits: LimitsConfig = LimitsConfig()
    verify: Literal["sample", "full"] = "sample"
    """How much of the fast engine's work is done again by the reference tokenizer and compared."""

    @field_validator("partition_by")
    @classmethod
    def _one_group(cls, rule: str) -> str:
        if rule in ("none", "file", "configuration"):
            return rule
        if len(rule) > LONGEST_REGEX:
            raise ValueError(f"the regex has {len(rule):,} characters; use at most {LONGEST_REGEX:,}")
        try:
            groups = regex.compile(rule).groups
        except (regex.error, OverflowError, RecursionError, MemoryError) as problem:
            raise ValueError(f"{rule!r} is not none, file, configuration or a valid regex: {problem}") from None
        if groups != 1:
            raise ValueError(f"the regex {rule!r} has {groups} groups; exactly one names the partition, as in 'part-(\\d+)'")
        return rule

    @field_validator("timezone")
    @classmethod
    def _of_a_cron_expression(cls, zone: str, info: ValidationInfo) -> str:
        if not looks_like_cron(info.data.get("refresh") or ""):
            raise ValueError("a time zone applies to a cron expression, as in refresh: 0 3 * * *; add one, or remove timezone")
        return zone

    @field_validator("splits")
    @classmethod
    def _shares(cls, splits: dict[str, float]) -> dict[str, float]:
        for name, share in splits.items():
            if not SMALLEST_AMOUNT <= share < 1:
                raise ValueError(f"{name} takes {share} of the documents; use a share from {SMALLEST_AMOUNT:f} up to, but not including, 1")
        if sum(splits.values()) >= 1:
            raise ValueError(f"the shares add up to {sum(splits.values()):g}; less than 1 leaves something to train on")
        return splits


class MixturePart(Declared):
    """One corpus in a mixture."""

    corpus: str
    weight: float | None = Field(default=None, ge=SMALLEST_AMOUNT, le=LARGEST_WEIGHT, allow_inf_nan=False)
    """Factor on the corpus's own number of samples: 1.5 is one and a half epochs of it in an epoch of the mixture. By default 1."""
    share: float | None = Field(default=None, ge=SMALLEST_AMOUNT, le=1)
    """Part of the mixture's samples, in place of a weight."""
    max_epochs: float | None = Field(default=None, gt=0, le=LARGEST_WEIGHT, allow_inf_nan=False)
    """How often a run may read it; ``phyagi-assets plan`` tells where that is exceeded."""

    @model_validator(mode="before")
    @classmethod
    def _whole_by_default(cls, declared: Any) -> Any:
        unsaid = isinstance(declared, dict) and declared.get("weight") is None and declared.get("share") is None
        return {**declared, "weight": 1.0} if unsaid else declared

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if self.weight is not None and self.share is not None:
            raise ValueError("has both a weight and a share; a corpus has one of them")
        return self


class MixtureConfig(Declared):
    """One file under ``data/mixtures``: weighted corpora, read as sequences of one length."""

    name: Name
    description: str = ""
    owners: Owners = ()
    seq_len: int = Field(default=2048, ge=1, le=LONGEST_SAMPLE)
    """Tokens in a sample."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    """Of the shuffle."""
    concat: Literal["interleaved", "sequential"] = "interleaved"
    """Whether corpora are mixed at every position, or read one after the other."""
    shuffle: bool = True
    """Whether the samples of a corpus come in another order each epoch, or as they stand in its arrays."""
    fresh_within: Span | None = None
    """A span such as ``2 days``, within which a new plan is expected."""
    datasets: Annotated[tuple[MixturePart, ...], Field(strict=False, min_length=1)]

    @field_validator("datasets")
    @classmethod
    def _each_once(cls, parts: tuple[MixturePart, ...]) -> tuple[MixturePart, ...]:
        names = [part.corpus for part in parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"corpus {name!r} stands in it {names.count(name)} times; give it one weight")
        shares = [Fraction(str(part.share)) for part in parts if part.share is not None]
        if len(shares) == len(parts) and sum(shares) != 1:
            raise ValueError(f"the shares add up to {float(sum(shares)):g}, and make 1 together; or give a corpus a weight instead")
        if len(shares) < len(parts) and sum(shares) >= 1:
            raise ValueError(f"the shares add up to {float(sum(shares)):g}; less than 1 leaves something to the corpora with weights")
        return parts
