"""The files of a source and the partitions that they make up, wherever they lie."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import get_args

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.schema import FORMAT_OF_SUFFIX, Format, HeldOut
from phyagi_assets.sources.compression import plain_name

Stamp = tuple[str | int, ...]
"""What tells without reading a file whether its content may be another than before: size and times, an ETag, the Hub's object id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One file of a source, as a listing knows it."""

    name: str
    """Path relative to the folder that the source's glob starts from; the same wherever that lies."""
    origin: str
    """Where it is: an absolute path, or a URI."""
    size: int
    """Bytes."""
    stamp: Stamp
    path: Path | None = None
    """Where a local file lies; None for what lies elsewhere."""
    split: HeldOut | None = None
    """The split that its source puts it in. The documents of the others are divided by their hash."""
    configuration: str = ""
    """The configuration of a dataset on the Hub that it belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A file that the pattern of a source fits, and that is not a document of the source."""

    origin: str
    """Absolute path or URI."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The files that one path of a source names."""

    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...] = ()


def held_out(split: str) -> HeldOut | None:
    """The split of that name that a source has of its own; the documents of all others are divided by their hash."""
    return next((known for known in get_args(HeldOut) if known == split), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A file to be read; its origin is what messages call it."""

    name: str
    origin: str
    path: Path

    def __str__(self) -> str:
        return self.origin

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive rows of a file to be read; by default, all of it."""

    file: LocalFile
    index: int = 0
    """Of the file in its partition."""
    start: int = 0
    stop: int | None = None
    """Where it begins and ends, in bytes of a file of lines and in row groups of a Parquet file; None is the end of the file."""
    first: int = 0
    """0-based number of its first row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """The slice of a corpus that is built, refreshed and tracked on its own."""

    key: str
    files: tuple[SourceFile, ...]

    @property
    def bytes(self) -> int:
        """Of source."""
        return sum(file.size for file in self.files)

    @property
    def is_local(self) -> bool:
        """Whether its files are held by reference and not as a snapshot."""
        return all(file.path is not None for file in self.files)

    @property
    def splits(self) -> dict[str, HeldOut]:
        """The splits that the source itself puts files in, by the files' names."""
        return {file.name: file.split for file in self.files if file.split is not None}


def readable(partition: Partition, snapshot: Path | None = None) -> list[LocalFile]:
    """The files to read: where they lie, or where they lie in a snapshot."""
    places = [file.path or (snapshot / file.name if snapshot else None) for file in partition.files]
    return [LocalFile(name=file.name, origin=file.origin, path=place) for file, place in zip(partition.files, places, strict=True) if place]


def format_of(corpus: Corpus, name: str) -> Format:
    """How to read a file: as declared, else by its suffix.

    Raises
    ------
    DeclarationError
        Nothing is declared and the suffix says nothing.
    """
    declared = corpus.config.source.format
    guessed = FORMAT_OF_SUFFIX.get(PurePosixPath(plain_name(name)).suffix.lower())
    if declared is None and guessed is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise corpus.error(f"the suffix of {name!r} does not tell its format ({known} do); name it with source.format", "source", "format")
    return declared or guessed  # type: ignore[return-value]
