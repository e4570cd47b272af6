"""The files of a source, local or remote, and the partitions that they form."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import FORMAT_OF_SUFFIX, Format, HeldOut
from phyagi_assets.sources.compression import plain_suffix
from phyagi_assets.sources.local_file import LocalFile
from phyagi_assets.sources.readable import Readable, Stamp

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One file in the listing of a source."""

    name: str
    """Path relative to the folder that the source's glob starts from. It does not change if that folder is moved."""
    origin: str
    """Absolute path or URI of the file."""
    size: int
    """Size in bytes."""
    stamp: Stamp
    path: Path | None = None
    """Path of a local file; None for a remote file."""
    split: HeldOut | None = None
    """Split that the source assigns to the file. Without one, the documents of the file are divided into splits by their hash."""
    configuration: str = ""
    """Configuration of a dataset on the Hub to which the file belongs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A file that fits the pattern of a source but is not read."""

    origin: str
    """Absolute path or URI of the file."""
    reason: str
    """Short phrase, such as ``hidden``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The files that one path of a source names."""

    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...] = ()


def also_left_out(left_out: Sequence[LeftOut]) -> str:
    """Return the end of a message about a path that matches nothing: the number of files left out, with an example; else ``""``."""
    return f"; {len(left_out)} left out, such as {left_out[0].origin} ({left_out[0].reason})" if left_out else ""


def held_out(split: str) -> HeldOut | None:
    """Return a name as a held-out split, or None if the documents of a source's split of that name are divided by their hash."""
    return next((known for known in get_args(HeldOut) if known == split), None)


_LIKE_HELD_OUT = re.compile(r"(^|[_.-])(dev|eval|evaluation|holdout|test|testing|val|valid|validation)($|[_.-])", re.IGNORECASE)


@cache
def warn_of_split(split: str, place: str) -> None:
    """Log a warning, once per process, if a source's split is trained on although its name suggests that it is held out."""
    if held_out(split) is None and _LIKE_HELD_OUT.search(split):
        logger.warning(
            "%s: its split %r is trained on, because only splits called validation and test are held out; to hold it out, name its files "
            "in source.path, as in {train: …, validation: …}",
            place,
            split,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive rows of a file to read; by default, all of them."""

    file: Readable
    index: int = 0
    """Index of the file in its partition."""
    start: int = 0
    """Beginning of the span: an offset in bytes in a file of lines, or the index of a row group in a Parquet file."""
    stop: int | None = None
    """End of the span (exclusive), in the same unit; None means the end of the file."""
    first: int = 0
    """0-based number of the first row of the span in the file; `start` if it is not known."""
    is_numbered: bool = True
    """Whether the number of the first row is known. It is not if counting the lines before the span would fetch them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """The slice of a corpus that is built, refreshed and tracked on its own."""

    key: str
    files: tuple[SourceFile, ...]

    @property
    def bytes(self) -> int:
        """Total size of the source files, in bytes."""
        return sum(file.size for file in self.files)

    @property
    def is_local(self) -> bool:
        """Whether all files are local, so that the raw artifact refers to them instead of holding a snapshot."""
        return all(file.path is not None for file in self.files)

    @property
    def splits(self) -> dict[str, HeldOut]:
        """Splits that the source assigns to files, by name of the file."""
        return {file.name: file.split for file in self.files if file.split is not None}


def readable(partition: Partition) -> list[LocalFile]:
    """Return the local files of a partition for reading."""
    return [LocalFile(name=file.name, origin=file.origin, path=file.path) for file in partition.files if file.path]


def format_of(corpus: Corpus, name: str) -> Format:
    """Return the format of a file; see `known_format`.

    Raises
    ------
    DeclarationError
        No format is declared and the suffix is unknown.
    """
    found = known_format(corpus, name)
    if found is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        message = f"the suffix of {name!r} does not determine the format ({known} do)"
        raise corpus.error(f"{message}; set source.format, or leave the file out of source.path, as with *.jsonl", "source", "format")
    return found


def known_format(corpus: Corpus, name: str) -> Format | None:
    """Return the format of a file: the declared one, else the one of its suffix; None if the suffix is unknown.

    Parameters
    ----------
    name
        Name of the file; the suffix of a compression is ignored.
    """
    return corpus.config.source.format or FORMAT_OF_SUFFIX.get(plain_suffix(name))
