"""Irregular files, which earlier versions of the package read differently: text with a byte order mark, and misnamed files.

Today's output for these files differs from that of earlier versions. Therefore their partitions get other fingerprints, while all other
partitions keep theirs.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.sources.compression import UnreadableContentError, contents, is_compressed
from phyagi_assets.sources.files import Partition, format_of
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.signatures import BOM, HEAD, compression_of
from phyagi_assets.store.state import State

WITH_BOM = "begins with a byte order mark"
MISNAMED = "is not what its name says"
_START = 64
"""Number of bytes that show whether a file is compressed or begins with a byte order mark."""


def irregular_files(
    corpus: Corpus,
    partition: Partition,
    raw_fingerprint: str,
    cache: State,
    available: Callable[[], Sequence[Readable] | None],
    published: Callable[[], Mapping[str, str] | None],
) -> dict[str, str]:
    """Find the irregular files of a partition.

    Earlier versions encoded the byte order mark of text files. If a corpus skips invalid rows, they skipped every row of a JSON Lines file
    whose content was something else, such as compressed data.

    Parameters
    ----------
    raw_fingerprint
        Fingerprint of the content of the files.
    cache
        Record in the store of the irregular files of a fingerprint.
    available
        Function that returns the files to read, called if the cache does not know their content. It returns None if they would have to be
        fetched first; they then count as regular.
    published
        Function that returns the irregular files that a published artifact of the same content and settings lists, if there is one; called
        if the cache does not know their content.
    """
    if not any(_may_be_irregular(corpus, file.name) for file in partition.files):
        return {}
    key = [raw_fingerprint, corpus.config.source.format, corpus.config.on_invalid]
    with suppress(ValueError, KeyError, TypeError):  # no cache yet, or a damaged one: inspect the files
        known = cache.recall()
        if known["of"] == key:
            return dict(known["found"])
    listed = published()
    if listed is not None:
        found: dict[str, str | None] = dict(listed)
    elif (files := available()) is not None:
        found = _found(corpus, files)
    else:
        return {}
    irregular = {name: what for name, what in found.items() if what}
    if None not in found.values():  # a file that could not be read is inspected again
        cache.remember({"of": key, "found": irregular})
    return irregular


def _found(corpus: Corpus, files: Sequence[Readable]) -> dict[str, str | None]:
    found: Iterable[str | None] = map(partial(_irregularity, corpus), files)  # no threads: a partition may have 100,000 local files
    if any(file.path is None for file in files):
        found = concurrently(partial(_irregularity, corpus), files)
    return {file.name: what for file, what in zip(files, found, strict=True) if what != ""}


def _may_be_irregular(corpus: Corpus, name: str) -> bool:
    """Return whether earlier versions may have read a file of this format differently."""
    try:
        kind = format_of(corpus, name)
    except DeclarationError:  # its reader reports it
        return False
    return kind == "text" or (kind == "json" and corpus.config.on_invalid == "skip")


def _irregularity(corpus: Corpus, file: Readable) -> str | None:
    """Return how a file is irregular; an empty string if it is not, and None if it cannot be read."""
    if not _may_be_irregular(corpus, file.name):
        return ""
    try:
        if format_of(corpus, file.name) == "json":
            return "" if _begins_as_json_lines(file) else MISNAMED
        start = file.read_range(0, _START)
        if compression_of(start) is None and not is_compressed(file.name):
            return WITH_BOM if start.startswith(BOM) else ""
        return WITH_BOM if any(opened.head.startswith(BOM) for opened in contents(file)) else ""
    except (OSError, UnreadableContentError):  # its reader reports why
        return None


def _begins_as_json_lines(file: Readable) -> bool:
    """Return whether the first row of a file is an object, judged by the head of the file."""
    head = file.head()
    if not head or compression_of(head):
        return not head or is_compressed(file.name)
    line = head.removeprefix(BOM).lstrip().partition(b"\n")[0].strip()
    if len(head) == HEAD and b"\n" not in head.lstrip():
        return line.startswith(b"{") and b"\x00" not in line
    try:
        return not line or isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
