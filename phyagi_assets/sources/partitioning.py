"""Divide the files of a source into partitions with legible, stable and safe keys."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.compression import plain_name
from phyagi_assets.sources.files import Partition, SourceFile

WHOLE = "all"
"""Key of the only partition of a corpus that is not divided."""

_LONGEST = 200
"""Longest key of a partition, in bytes, so that the key and a fingerprint together are still a valid name of a file."""
_LONGEST_SEARCH = 1.0
"""Time limit for matching a regex with one path, in seconds: a regex that backtracks could take years."""
_UNFIT = re.compile(r"[^\w.-]|^[._-]|(?<=\.)\.")


def partitioned(corpus: Corpus, files: Iterable[SourceFile]) -> dict[str, Partition]:
    """Divide files into partitions by the rule of a corpus, and return these by key, sorted.

    Raises
    ------
    DeclarationError
        With ``partition_by: file``, two files would have the same key; or a file does not match the regex; or a key is too long.
    """
    divided: dict[str, list[SourceFile]] = {}
    for file in files:
        try:
            key = _key(corpus, file)
        except SourceError as problem:
            raise corpus.error(f"{file.origin}: {problem}, or leave the file out of source.path", "partition_by") from None
        if corpus.config.partition_by == "file" and key in divided:
            twin = divided[key][0].name
            raise corpus.error(
                f"{twin!r} and {file.name!r} would both be partition {key!r}; rename one, or divide by a regex", "partition_by"
            )
        divided.setdefault(key, []).append(file)
    return {key: Partition(key=key, files=tuple(divided[key])) for key in sorted(divided)}


def _key(corpus: Corpus, file: SourceFile) -> str:
    rule = corpus.config.partition_by
    if rule == "none":
        return WHOLE
    if rule == "configuration":
        if not file.configuration:
            message = f"{file.origin!r} belongs to no configuration; only those of hf://org/name do: use none, file, or a regex"
            raise corpus.error(message, "partition_by")
        return safe_name(file.configuration)
    if rule == "file":
        plain = plain_name(file.name)
        return safe_name(plain.removesuffix(PurePosixPath(plain).suffix))
    import regex

    try:
        match = regex.search(rule, file.name, timeout=_LONGEST_SEARCH)
    except TimeoutError:
        message = f"the regex '{rule}' takes more than {_LONGEST_SEARCH:g} s for {file.name!r}; write it without nested repeats"
        raise corpus.error(message, "partition_by") from None
    if match is None or not match[1]:
        raise corpus.error(
            f"the group of '{rule}' matches nothing in {file.name!r}; narrow source.path, or widen the regex", "partition_by"
        )
    return safe_name(match[1])


def safe_name(name: str) -> str:
    """Return a legible name that is valid as a name of a file and as a Dagster partition key.

    Slashes become ``--``; other characters that are not valid in both are percent-encoded.

    Raises
    ------
    SourceError
        The name is too long.
    """
    kept = _UNFIT.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name.replace("/", "--"))
    if len(kept.encode()) > _LONGEST:
        raise SourceError(f"{name!r} is too long for the name of a partition ({_LONGEST} bytes); divide by a regex with a shorter group")
    return kept
