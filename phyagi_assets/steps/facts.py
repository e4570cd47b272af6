"""What a person is shown of an artifact: named values that the UI and the command draw in their own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A table."""

    rows: Sequence[Mapping[str, str | int | float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A few names, such as those of files."""

    items: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A passage of text as it is in the data."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """A bar chart."""

    title: str
    bars: Sequence[tuple[str, float]]
    """Label and height of each bar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A path."""

    path: str


Fact = str | int | float | bool | Rows | Listing | Text | Bars | Place
Facts = Mapping[str, Fact]
