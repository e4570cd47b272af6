"""The files of a source, and the partitions that they make up."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.config import FORMAT_OF_SUFFIX, Format
from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError

WHOLE = "all"
"""The one partition of a corpus that is not divided."""

_GLOB = re.compile(r"[*?[]")
_UNFIT = re.compile(r"[^\w.-]|^[._-]|(?<=\.)\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Path relative to the folder that the source's glob starts from; the same wherever the data folder lies."""
    path: Path
    """Absolute path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """The slice of a corpus that is built, refreshed and tracked on its own."""

    key: str
    files: tuple[SourceFile, ...]


def list_partitions(corpus: Corpus, data: Path) -> dict[str, Partition]:
    """List a corpus's source and divide it.

    Parameters
    ----------
    corpus
        The declaration.
    data
        The data folder, which relative paths start from.

    Returns
    -------
    dict of str to Partition
        By key, in the order of the keys; the files of each in the order of their names.

    Raises
    ------
    DeclarationError
        The source matches no file, two files would be partitions of one name, or a file does not fit the regex.
    """
    divided: dict[str, list[SourceFile]] = {}
    for file in _list_files(corpus, data):
        key = _partition_key(corpus, file)
        if corpus.config.partition_by == "file" and key in divided:
            twin = divided[key][0].name
            raise corpus.error(
                f"{twin!r} and {file.name!r} would both be partition {key!r}; rename one, or divide by a regex", "partition_by"
            )
        divided.setdefault(key, []).append(file)
    return {key: Partition(key=key, files=tuple(divided[key])) for key in sorted(divided)}


def format_of(corpus: Corpus, file: SourceFile) -> Format:
    """How to read a file: as declared, else by its suffix.

    Raises
    ------
    DeclarationError
        Nothing is declared and the suffix says nothing.
    """
    declared = corpus.config.source.format
    guessed = FORMAT_OF_SUFFIX.get(file.path.suffix.lower())
    if declared is None and guessed is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise corpus.error(
            f"the suffix of {file.name!r} does not tell its format ({known} do); name it with source.format", "source", "format"
        )
    return declared or guessed  # type: ignore[return-value]


def _list_files(corpus: Corpus, data: Path) -> list[SourceFile]:
    declared = corpus.config.source.path
    pattern = Path(os.path.normpath(data / Path(declared).expanduser()))
    if pattern.is_dir():
        raise corpus.error(f"{pattern} is a folder; name its files, as in {declared.rstrip('/')}/*.txt", "source", "path")
    start = _fixed_part(pattern)
    found = sorted(path for path in start.glob(str(pattern.relative_to(start))) if path.is_file())
    if not found:
        raise corpus.error(f"no file matches {pattern}", "source", "path")
    return [SourceFile(name=path.relative_to(start).as_posix(), path=path) for path in found]


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part with a wildcard."""
    wild = next((i for i, part in enumerate(pattern.parts) if _GLOB.search(part)), len(pattern.parts) - 1)
    return Path(*pattern.parts[:wild])


def _partition_key(corpus: Corpus, file: SourceFile) -> str:
    rule = corpus.config.partition_by
    if rule == "none":
        return WHOLE
    if rule == "file":
        return _safe(file.name.removesuffix(file.path.suffix))
    match = re.search(rule, file.name)
    if match is None or not match[1]:
        raise corpus.error(
            f"{file.name!r} has nothing that the group of {rule!r} matches; narrow source.path, or widen the regex", "partition_by"
        )
    return _safe(match[1])


def _safe(name: str) -> str:
    """A legible name that is a plain file name and a plain Dagster partition key; what neither takes is percent-encoded."""
    kept = _UNFIT.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name.replace("/", "--"))
    if len(kept) > 150:
        raise SourceError(f"{name!r} is too long for the name of a partition (150 letters at most); divide by a regex with a shorter group")
    return kept
