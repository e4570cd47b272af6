"""The YAML schema of corpora."""

import re
from collections.abc import Iterable
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from phyagi_assets.declare.cron import looks_like_cron
from phyagi_assets.declare.field_types import Clock, Name, NonEmpty, Owners, Place, Span, TokenizerName, Zone
from phyagi_assets.declare.schema import SMALLEST_AMOUNT, Declared
from phyagi_assets.declare.splits import Split
from phyagi_assets.errors import translate_missing_packages

Format = Literal["text", "json", "csv", "parquet", "arrow"]
SpecialTokens = Literal["allow", "text", "error"]
EngineName = Literal["auto", "gigatoken", "fastokens", "tokenizers"]
HeldOut = Literal["validation", "test"]
TrainOn = Literal["assistant", "last_assistant", "all"]
TOKENIZERS_TEMPLATE = "tokenizer"
"""Value of ``chat_template`` for the tokenizer's own template."""
LONGEST_REGEX = 1_000
"""Largest length of a regex, in characters."""

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
    name: Annotated[
        tuple[NonEmpty, ...], Field(strict=False), BeforeValidator(lambda name: (name,) if isinstance(name, str) else name)
    ] = ()
    """Configuration of a dataset on the Hub, or several configurations."""
    revision: NonEmpty | None = None
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
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
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


_CONVERSATION_KEYS = ("messages", "chat_template", "template_date", "train_on")
"""Keys of a corpus that only conversations have."""


def _date_of_text(value: object) -> object:
    """Return the day that text such as ``2026-01-31`` names, which YAML reads as text if it is quoted; other values unchanged."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


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
    """Day that a template writes in place of today's date, so that the ids do not depend on the day of the build."""
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
    splits: dict[HeldOut, Annotated[float, Field(ge=SMALLEST_AMOUNT, lt=1)]] = Field(default_factory=dict)
    """Share of the documents in each split, chosen by the hash of the text; all other documents are in ``train``."""
    on_invalid: Literal["error", "skip"] = "error"
    """Treatment of a row whose text is null or not a string: ``error`` rejects the partition, ``skip`` leaves the row out and counts it."""
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
            for key in _CONVERSATION_KEYS[1:]:
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
        """Leave out the keys of conversations and of snapshots if there are none, so that the digests of declarations do not change."""
        left_out = () if self.messages is not None else _CONVERSATION_KEYS
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
            raise ValueError(f"'{rule}' is not none, file, configuration or a valid regex: {problem}") from None
        if groups != 1:
            raise ValueError(f"the regex '{rule}' has {groups} groups; exactly one names the partition, as in 'part-(\\d+)'")
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
        if sum(splits.values()) >= 1:
            raise ValueError(f"the shares add up to {sum(splits.values()):g}; less than 1 leaves something to train on")
        return splits
