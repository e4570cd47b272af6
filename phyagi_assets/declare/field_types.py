"""Types of the values in declarations that are more than plain text: names, owners, places, spans of time."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field

from phyagi_assets.declare.cron import check_cron, looks_like_cron
from phyagi_assets.declare.intervals import parse_span
from phyagi_assets.declare.odd_characters import described_character
from phyagi_assets.formatting import LARGEST, parsed, parsed_size
from phyagi_assets.suggestions import did_you_mean

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
"""Valid names of corpora and mixtures. They become folders in the store, and asset keys and groups in Dagster, which all accept these."""

LONGEST_NAME = 100

OWNER = re.compile(r"team:[A-Za-z0-9_./-]+|[^@\s]+@[^@\s]+\.[^@\s]+")


def _checked_name(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} letters is too long; it has {LONGEST_NAME} at most")
    if not NAME.fullmatch(name):
        fit = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
        hint = f", such as {fit!r}" if fit and "://" not in name else ""
        hint += f"; it contains {odd}" if (odd := described_character(name)) else ""
        raise ValueError(f"{name!r} is not a valid name; use letters, digits and underscores, beginning with a letter or digit{hint}")
    return name


def _checked_owners(owners: tuple[str, ...]) -> tuple[str, ...]:
    for owner in owners:
        if not OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} is neither an e-mail address nor team:NAME")
    return owners


def _checked_span(text: str) -> str:
    parse_span(text)
    return text


def _token_count(value: object) -> object:
    """Return a number of tokens, given as a number or as text such as ``2B tokens``."""
    return parsed(value.removesuffix("tokens")) if isinstance(value, str) else value


def _checked_clock(text: str) -> str:
    if looks_like_cron(text):
        check_cron(text)
        return text
    try:
        return _checked_span(text)
    except ValueError as problem:
        raise ValueError(f"{problem}, or a cron expression, as in 0 3 * * *") from None


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a name that is not known, one such as ../x, or a folder
        hint = did_you_mean(name, available_timezones()) or "; use a name of the IANA database, such as Europe/Berlin or UTC"
        raise ValueError(f"{name!r} is not a time zone{hint}") from None
    return name


def _checked_path(path: str) -> str:
    if "\0" in path:
        raise ValueError(f"{path!r} contains a NUL character; remove it")
    return path


def _checked_size(size: object) -> object:
    return parsed_size(size) if isinstance(size, str) else size


def _checked_tokenizer(name: str) -> str:
    if "://" in name:
        raise ValueError(f"{name!r} is not a tokenizer; name a folder, or a repository on the Hub with a revision, as in gpt2@main")
    if "@" in name and not _HUB_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a repository with a revision; write them as in openai-community/gpt2@main")
    return _checked_path(name)


def _checked_place(path: str) -> str:
    scheme, separator, rest = path.partition("://")
    if separator and scheme not in ("s3", "gs", "az", "hf"):
        known = "s3://bucket/…, gs://bucket/…, az://container/…, or hf://org/name"
        raise ValueError(f"{path!r} cannot be read; a source is a local path or glob, {known}")
    authority = rest.partition("/")[0]
    if separator and not authority.startswith("arn:") and re.search("[@:]", authority):
        raise ValueError("holds credentials; take them out and set them in the environment")
    if any("**" in part and part != "**" for part in path.split("/")):
        raise ValueError(f"{path!r} is not a valid glob: '**' must be a whole part, as in raw/**/*.txt")  # tools disagree on others
    return _checked_path(path)


_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?@[^\s@]+")

NonEmpty = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_checked_name)]
Owners = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_checked_owners)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_checked_place)]
"""Place of source files: a local path or glob, ``s3://…``, ``gs://…``, ``az://…`` or ``hf://…``."""
TokenizerName = Annotated[str, Field(min_length=1), AfterValidator(_checked_tokenizer)]
"""Folder of a tokenizer, or a repository on the Hub with its revision."""
Span = Annotated[str, AfterValidator(_checked_span)]
"""Span of time, such as ``2 days``."""
Size = Annotated[int, Field(ge=1, le=LARGEST), BeforeValidator(_checked_size)]
"""Size in bytes, a number or text such as ``8GB``."""
Zone = Annotated[str, AfterValidator(_checked_zone)]
"""Name of a time zone in the IANA database."""
Clock = Annotated[str, AfterValidator(_checked_clock)]
"""Span of time, or a cron expression."""
Tokens = Annotated[int, BeforeValidator(_token_count), Field(gt=0, le=LARGEST)]
"""Number of tokens, such as ``2B tokens``."""
