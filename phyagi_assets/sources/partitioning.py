"""A source's files → partitions, with names that are legible, stable and safe."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import regex

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.compression import plain_name
from phyagi_assets.sources.files import Partition, SourceFile

WHOLE = "all"
"""The one partition of a corpus that is not divided."""

_LONGEST = 200
"""Bytes of a partition's name: with a fingerprint behind it, it is still a file's name."""
_LONGEST_SEARCH = 1.0
"""Seconds that a regex may take for one path: one that backtracks takes years."""
_UNFIT = re.compile(r"[^\w.-]|^[._-]|(?<=\.)\.")


def partitioned(corpus: Corpus, files: Iterable[SourceFile]) -> dict[str, Partition]:
    """Divide files as a corpus says.

    Raises
    ------
    DeclarationError
        Two files would be partitions of one name, or one does not fit the regex.
    """
    divided: dict[str, list[SourceFile]] = {}
    for file in files:
        key = _key(corpus, file)
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
        return safe_name(file.configuration)
    if rule == "file":
        plain = plain_name(file.name)
        return safe_name(plain.removesuffix(PurePosixPath(plain).suffix))
    try:
        match = regex.search(rule, file.name, timeout=_LONGEST_SEARCH)
    except TimeoutError:
        message = f"the regex {rule!r} takes more than {_LONGEST_SEARCH:g} s for {file.name!r}; write it without repeats inside repeats"
        raise corpus.error(message, "partition_by") from None
    if match is None or not match[1]:
        raise corpus.error(
            f"{file.name!r} has nothing that the group of {rule!r} matches; narrow source.path, or widen the regex", "partition_by"
        )
    return safe_name(match[1])


def safe_name(name: str) -> str:
    """A legible name that is a plain file name and a plain Dagster partition key; what neither takes is percent-encoded."""
    kept = _UNFIT.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name.replace("/", "--"))
    if len(kept.encode()) > _LONGEST:
        raise SourceError(f"{name!r} is too long for the name of a partition ({_LONGEST} bytes); divide by a regex with a shorter group")
    return kept
