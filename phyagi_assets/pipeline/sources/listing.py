"""The files of a source, and the partitions that they make up."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.config import FORMAT_OF_SUFFIX, Format
from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.opening import plain_name

WHOLE = "all"
"""The one partition of a corpus that is not divided."""

_GLOB = re.compile(r"[*?[]")
_LONGEST = 200
"""Bytes of a partition's name: with a fingerprint behind it, it is still a file's name."""
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
    guessed = FORMAT_OF_SUFFIX.get(Path(plain_name(file.name)).suffix.lower())
    if declared is None and guessed is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise corpus.error(
            f"the suffix of {file.name!r} does not tell its format ({known} do); name it with source.format", "source", "format"
        )
    return declared or guessed  # type: ignore[return-value]


def _list_files(corpus: Corpus, data: Path) -> list[SourceFile]:
    declared = corpus.config.source.path
    try:
        parts = Path(os.path.normpath(Path(declared).expanduser())).parts
    except RuntimeError as problem:
        raise corpus.error(f"{declared!r}: {problem}", "source", "path") from None
    if data.joinpath(*parts).is_dir():
        raise corpus.error(f"{data.joinpath(*parts)} is a folder; name its files, as in {declared.rstrip('/')}/*.txt", "source", "path")
    # The folder above the first part with a wildcard. The data folder's own name may look like one.
    wild = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts) - 1)
    start = Path(os.path.normpath(data.joinpath(*parts[:wild])))
    if any("**" in part and part != "**" for part in parts[wild:]):  # versions of Python differ in what they make of it
        raise corpus.error(f"{declared!r} is no glob: '**' stands alone between slashes, as in raw/**/*.txt", "source", "path")
    found = sorted(path for path in start.glob("/".join(parts[wild:])) if path.is_file())
    if not found:
        raise corpus.error(f"no file matches {start.joinpath(*parts[wild:])}", "source", "path")
    for path in found:
        if not _is_unicode(path):
            raise SourceError(f"{os.fsencode(path)!r}: the file's name is not UTF-8; rename it")
    return [SourceFile(name=path.relative_to(start).as_posix(), path=path) for path in found]


def _is_unicode(path: Path) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path))


def _partition_key(corpus: Corpus, file: SourceFile) -> str:
    rule = corpus.config.partition_by
    if rule == "none":
        return WHOLE
    if rule == "file":
        plain = plain_name(file.name)
        return _safe(plain.removesuffix(Path(plain).suffix))
    match = re.search(rule, file.name)
    if match is None or not match[1]:
        raise corpus.error(
            f"{file.name!r} has nothing that the group of {rule!r} matches; narrow source.path, or widen the regex", "partition_by"
        )
    return _safe(match[1])


def _safe(name: str) -> str:
    """A legible name that is a plain file name and a plain Dagster partition key; what neither takes is percent-encoded."""
    kept = _UNFIT.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name.replace("/", "--"))
    if len(kept.encode()) > _LONGEST:
        raise SourceError(f"{name!r} is too long for the name of a partition ({_LONGEST} bytes); divide by a regex with a shorter group")
    return kept
