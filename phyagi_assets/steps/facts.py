"""Facts about an artifact for people to read: named values that the UI and the command render in their own ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A table."""

    rows: Sequence[Mapping[str, str | int | float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A short list of names, such as file names."""

    items: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A passage of text from the data."""

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
