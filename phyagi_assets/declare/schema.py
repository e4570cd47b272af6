"""The YAML schemas of corpora and mixtures.

The models are frozen and reject unknown keys and wrong types. :mod:`phyagi_assets.declare.yaml_reader` reads the files and turns
validation errors into errors that name the line. Nothing in this module accesses the disk.
"""

import re
from collections.abc import Collection, Iterable
from datetime import date
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from phyagi_assets.declare.cron import looks_like_cron
from phyagi_assets.declare.field_types import Clock, Name, Owners, Place, Size, Span, TokenizerName, Tokens, Zone
from phyagi_assets.errors import translate_missing_packages

Format = Literal["text", "json", "csv", "parquet", "arrow"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SpecialTokens = Literal["allow", "text", "error"]
EngineName = Literal["auto", "gigatoken", "fastokens", "tokenizers"]
HeldOut = Literal["validation", "test"]
TrainOn = Literal["assistant", "last_assistant", "all"]
Packing = Literal["concat", "best_fit"]
OnFailedPartition = Literal["error", "skip"]
TOKENIZERS_TEMPLATE = "tokenizer"
"""Value of ``chat_template`` that stands for the tokenizer's own template."""

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
"""Bounds of weights and shares. Beyond them, an epoch has less than one sample of a corpus, or more samples than positions can count."""
LONGEST_REGEX = 1_000
"""Largest length of a regex, in characters."""
LONGEST_SAMPLE = 1 << 30
"""Largest length of a sample, in tokens."""


class Declared(BaseModel):
    """Base of all declarations: immutable, strict about types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SourceConfig(Declared):
    """The place of the documents of a corpus, and how to read them."""

    path: Annotated[
        Annotated[Place, Tag("[one]")] | Annotated[dict[Split, Place], Field(min_length=1), Tag("[each]")],
        Discriminator(lambda path: "[each]" if isinstance(path, dict) else "[one]"),
    ]
    """Place of the files, or one place per split.

    A place is a file or a glob (``**`` matches any number of folders), relative to the data folder or absolute; a folder written by
    ``datasets.save_to_disk``; ``s3://bucket/folder/*.jsonl``, ``gs://…`` or ``az://…``; ``hf://org/name``, or ``hf://org/name/folder/*.jsonl``
    for some of its files.
    """
    name: Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(lambda name: (name,) if isinstance(name, str) else name)] = ()
    """Configuration of a dataset on the Hub, or several configurations."""
    revision: str | None = None
    """Branch, tag or commit of a dataset on the Hub; its main branch by default."""
    format: Format | None = None
    """Format of the files; by default, the suffix of each file determines it."""
    sample_by: Literal["document", "paragraph", "line"] = "document"
    """Unit that is one document in text files: the whole file, a paragraph between blank lines, or a line."""
    delimiter: str | None = None
    """Character between the columns of CSV files; by default a tab in ``.tsv`` files and a comma in others."""

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, delimiter: str | None, info: ValidationInfo) -> str | None:
        if delimiter is None:
            return None
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise ValueError(f"{delimiter!r} is not a delimiter; use one ASCII character, as in ';', or \"\\t\" for a tab")
        _require_format("csv", info)
        return delimiter

    @field_validator("sample_by")
    @classmethod
    def _check_sample_by(cls, unit: str, info: ValidationInfo) -> str:
        if unit != "document":
            _require_format("text", info)
        return unit

    @property
    def keys_of_formats(self) -> dict[str, Format]:
        """Keys that are declared and apply only to files of one format, with that format."""
        keys: dict[str, Format] = {"delimiter": "csv"} if self.delimiter else {}
        return keys | ({"sample_by": "text"} if self.sample_by != "document" else {})

    @property
    def paths(self) -> tuple[str, ...]:
        """All places that `path` names."""
        return _places(self.path)

    @model_validator(mode="after")
    def _check_hub_keys(self) -> Self:
        for key in ("name", "revision"):
            if getattr(self, key) and not any(path.startswith("hf://") for path in self.paths):
                raise ValueError(
                    f"{key} applies only to datasets on the Hub (path: hf://org/name), not to {', '.join(self.paths)}; remove it"
                )
        if self.name and not any(_HUB_DATASET.fullmatch(path) for path in self.paths):
            raise ValueError(f"name chooses a configuration of hf://org/name, and the path {self.paths[0]} names files; remove one of them")
        return self


_HUB_DATASET = re.compile(r"hf://(datasets/)?[^/]+(/[^/]*)?/?")
"""Path of a whole dataset on the Hub, without a pattern of files."""


def applies_to(kind: Format, found: Iterable[str]) -> str:
    """Return the message about a key for files of one format, if the files of a source are read as others."""
    names = {"csv": "CSV", "text": "text"}
    return f"applies to {names[kind]} files, and these are read as {' and '.join(sorted(found))}; remove it, or declare format: {kind}"


def _require_format(kind: Format, info: ValidationInfo) -> None:
    """Raise a `ValueError` if the declared format or the suffixes of the paths show that no file has the format of a key."""
    declared = info.data.get("format")
    formats = {declared} if declared else {_format_of_suffix(path) for path in _places(info.data.get("path", ""))}
    if not formats & {kind, None}:
        raise ValueError(applies_to(kind, filter(None, formats)))


def _places(path: str | dict[Split, str]) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else tuple(path.values())


def _format_of_suffix(path: str) -> Format | None:
    """Return the format that the suffix of a path determines, before that of a compression; None if it determines none."""
    suffixes = reversed(PurePosixPath(path.lower()).suffixes[-2:])
    return next((FORMAT_OF_SUFFIX[suffix] for suffix in suffixes if suffix in FORMAT_OF_SUFFIX), None)


class LimitsConfig(Declared):
    """Limits for unwanted content in a partition. A check fails above a limit, and the partition is not published."""

    duplicates: float | None = Field(default=None, ge=0, le=1)
    """Largest share of documents whose text occurs earlier in the partition; no limit by default."""
    invalid: float | None = Field(default=None, ge=0, le=1)
    """Largest share of rows that are left out by ``on_invalid: skip``; no limit by default."""


_OF_CONVERSATIONS = ("messages", "chat_template", "template_date", "train_on")
"""Keys of a corpus that only conversations have."""


def _date_of_text(given: object) -> object:
    """Return the day that text such as ``2026-01-31`` names, which YAML reads as text if it is quoted; other values unchanged."""
    try:
        return date.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        return given


_ESCAPE = re.compile(r"\\[nrt]")


class CorpusConfig(Declared):
    """One file in ``data/corpora``: a named source of documents, and how it is tokenized."""

    name: Name
    """Name of the corpus: its folder in the store, and the first part of its asset keys."""
    description: str = ""
    """Description for the catalog: contents, origin and licence."""
    owners: Owners = ()
    """Owners of the corpus: e-mail addresses, or ``team:name``."""
    source: SourceConfig
    partition_by: str = "none"
    """Rule that divides the files into partitions: ``none``, ``file``, ``configuration`` (of a dataset on the Hub), or a regex for the
    path with one group, whose match names the partition."""
    columns: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)] = ("text",)
    """Names of the columns that hold the text; the texts of several columns are joined by `separator`."""
    separator: str = "\n\n"
    messages: Annotated[str, Field(min_length=1)] | None = None
    """Name of the column that holds conversations, in place of `columns`: lists of messages with a role and a content."""
    chat_template: Annotated[str, Field(min_length=1)] = TOKENIZERS_TEMPLATE
    """Template that renders conversations as text: ``tokenizer`` for the tokenizer's own, or a file, relative to the data folder."""
    template_date: Annotated[date | None, BeforeValidator(_date_of_text)] = None
    """Day that a template which writes the date of today writes instead, so that the ids do not depend on the day of the build."""
    train_on: TrainOn = "assistant"
    """Part of a conversation that is trained on: what the assistant writes, the last of its turns, or everything."""
    tokenizer: TokenizerName
    """Folder of the tokenizer, relative to the data folder, or a repository on the Hub with ``@revision``."""
    append_eos: bool = True
    """Whether the tokenizer's EOS is appended to every non-empty document; by default, to text but not to conversations."""
    special_tokens: SpecialTokens = "allow"
    """Encoding of text that spells a special token, such as ``<|endoftext|>``: as the token (``allow``, the default of
    ``transformers``), as ordinary text (``text``, its ``split_special_tokens``), or not at all (``error``, which names file and row)."""
    dtype: Literal["auto", "uint16", "int32"] = "auto"
    """dtype of the token arrays; ``auto`` means uint16 if every id of the tokenizer fits, else int32."""
    splits: dict[HeldOut, float] = Field(default_factory=dict)
    """Share of the documents in each split, chosen by the hash of the text; all other documents are in ``train``."""
    on_invalid: Literal["error", "skip"] = "error"
    """Treatment of a row whose text is null or not a string: ``error`` refuses the partition, ``skip`` leaves the row out and counts it."""
    snapshot: bool = False
    """Whether objects are copied into a store that is in a bucket, instead of being read in their own bucket. A store on a disk always
    holds copies."""
    refresh: Clock | None = None
    """When to check the source for new or changed files: a cron expression, or a span such as ``10 minutes``. No check by default."""
    timezone: Zone = "UTC"
    """Time zone of a cron expression in `refresh`."""
    fresh_within: Span | None = None
    """Span of time, such as ``2 days``, within which new data is expected."""
    limits: LimitsConfig = LimitsConfig()
    verify: Literal["sample", "full"] = "sample"
    """Documents that the reference tokenizer encodes again, to verify the fast engine: a sample, or all."""
    engine: EngineName = "auto"
    """Engine that encodes the text; by default, the fastest one whose ids are those of ``tokenizers``. The ids do not depend on it."""

    @model_validator(mode="before")
    @classmethod
    def _default_eos(cls, declared: Any) -> Any:
        has_messages = isinstance(declared, dict) and declared.get("messages") is not None
        return {"append_eos": False, **declared} if has_messages else declared

    @model_validator(mode="after")
    def _check_messages(self) -> Self:
        if self.messages is None:
            for key in _OF_CONVERSATIONS[1:]:
                if key in self.model_fields_set:
                    raise ValueError(f"{key} applies to conversations; name their column in messages, or remove {key}")
            return self
        for key in ("columns", "separator"):
            if key in self.model_fields_set:
                raise ValueError(f"messages and {key} exclude each other: documents are conversations or text; remove one")
        if self.special_tokens == "text":
            raise ValueError("special_tokens: text would read the special tokens of the chat template as text, too; use allow or error")
        return self

    @model_serializer(mode="wrap")
    def _without_later_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the keys of conversations and of snapshots where there are none, so that the digests of declarations stay."""
        left_out = () if self.messages is not None else _OF_CONVERSATIONS
        return {key: value for key, value in serialize(self).items() if key not in left_out and (key != "snapshot" or value)}

    @model_validator(mode="after")
    def _check_snapshot(self) -> Self:
        if self.snapshot and not any("://" in path and not path.startswith("hf://") for path in self.source.paths):
            raise ValueError(
                "snapshot applies to objects in buckets; local files are read where they are, and the Hub's are copied; remove it"
            )
        return self

    @field_validator("separator")
    @classmethod
    def _check_separator(cls, separator: str) -> str:
        if _ESCAPE.search(separator):
            raise ValueError(f"has a backslash before a letter; YAML reads {separator} as a line end or a tab only in double quotes")
        return separator

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"{name!r} is listed {columns.count(name)} times, and each document would repeat its text; list it once")
        return columns

    @field_validator("partition_by")
    @classmethod
    def _check_rule(cls, rule: str) -> str:
        if rule in ("none", "file", "configuration"):
            return rule
        if len(rule) > LONGEST_REGEX:
            raise ValueError(f"the regex has {len(rule):,} characters; use at most {LONGEST_REGEX:,}")
        with translate_missing_packages():
            import regex
        try:
            groups = regex.compile(rule).groups
        except (regex.error, OverflowError, RecursionError, MemoryError) as problem:
            raise ValueError(f"{rule!r} is not none, file, configuration or a valid regex: {problem}") from None
        if groups != 1:
            raise ValueError(f"the regex {rule!r} has {groups} groups; exactly one names the partition, as in 'part-(\\d+)'")
        return rule

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, zone: str, info: ValidationInfo) -> str:
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
    """Factor on the corpus's own number of samples: 1.5 means one and a half epochs of the corpus per epoch of the mixture. The default
    is 1, unless a share is declared."""
    share: float | None = Field(default=None, ge=SMALLEST_AMOUNT, le=1)
    """Share of the samples of the mixture, instead of a weight."""
    max_epochs: float | None = Field(default=None, gt=0, le=LARGEST_WEIGHT, allow_inf_nan=False)
    """Largest number of epochs of the corpus in a training run; ``phyagi-assets plan`` reports when a run exceeds it."""
    packing: Packing | None = None
    """How the corpus becomes samples, if not as the mixture says; see `MixtureConfig.packing`."""

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
    """Leave out the key `packing` where it is not declared, so that the digest of the declaration stays what it was."""
    return {key: value for key, value in dumped.items() if key != "packing" or value is not None}


SHORTEST_PACKED = 2
"""Smallest length of packed samples, in tokens: in a sample of one token, there is nothing to predict."""


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
    """A part of training with corpora and weights of its own."""

    until: Tokens | None = None
    """Number of tokens of training at which the stage ends, counted from the beginning of training; it is rounded down to whole samples.
    The last stage goes on after it."""
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
    """Whether the corpora are mixed throughout, or read one after the other."""
    shuffle: Annotated[
        Annotated[bool, Tag("[one]")] | Annotated[WindowConfig, Tag("[window]")],
        Discriminator(lambda shuffle: "[one]" if not isinstance(shuffle, dict | BaseModel) else "[window]"),
    ] = True
    """Whether the samples of a corpus are shuffled anew in each epoch, or read in the order of its token arrays; or a window, within which
    they are shuffled so that a reader of a bucket fetches few blocks at a time."""
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
    """Corpora that are never trained on. All of their documents are read, whatever their splits, by ``validation_by_corpus``."""
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
        """Whether the mixture is built without partitions whose failure lasts until an input changes."""
        return self.on_failed_partition == "skip"

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out later keys where they are not declared, so that the digest of the declaration stays what it was."""
        unused = {key for key in ("datasets", "stages", "evaluation") if not getattr(self, key)}
        unused |= set() if self.skips_failed else {"on_failed_partition"}
        return {key: value for key, value in _without_null_packing(serialize(self)).items() if key not in unused}

    def with_conversations(self, corpora: Collection[str]) -> Self:
        """Return the same declaration, knowing which of its corpora are conversations; these are packed by default."""
        config = self.model_copy()
        config._conversations = frozenset(corpora)
        return config

    def packing_of(self, part: MixturePart) -> Packing:
        """Return how one of the corpora becomes samples."""
        is_packed = part.corpus in self._conversations and self.seq_len >= SHORTEST_PACKED
        return part.packing or self.packing or ("best_fit" if is_packed else "concat")

    def is_packed_by_default(self, part: MixturePart) -> bool:
        """Return whether a corpus is packed although neither it nor the mixture declares so."""
        return self.packing_of(part) == "best_fit" and not (part.packing or self.packing)
