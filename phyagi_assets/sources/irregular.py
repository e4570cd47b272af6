"""Files that earlier versions of the package read in another way: text with a byte order mark, and what is not what its name says.

What is made of them is not what was made of them before, so their partitions get other fingerprints, and all others keep theirs.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError
from phyagi_assets.sources.compression import UnreadableContentError, contents, head_of, is_compressed
from phyagi_assets.sources.files import LocalFile, Partition, format_of
from phyagi_assets.sources.signatures import BOM, HEAD, compression_of
from phyagi_assets.store.local import Store
from phyagi_assets.store.state import recall, remember

WITH_BOM = "begins with a byte order mark"
MISNAMED = "is not what its name says"


_MEMORY = ".irregular"


class IrregularFiles:
    """The irregular files of one partition, remembered by the content of its files.

    Parameters
    ----------
    store
        Where they are remembered.
    address
        Of the partition's tokenized artifact.
    """

    def __init__(self, store: Store, address: str) -> None:
        self._memory = store.root / _MEMORY / f"{address}.json"

    def find(
        self, corpus: Corpus, partition: Partition, raw_fingerprint: str, at_hand: Callable[[], Sequence[LocalFile] | None]
    ) -> dict[str, str]:
        """What is irregular about files, by their names.

        Text had its byte order mark encoded. JSON Lines whose rows may be skipped were left out whole where a file was something else,
        such as compressed.

        Parameters
        ----------
        raw_fingerprint
            Of what the files hold.
        at_hand
            Gives the files, where they are not known by their content; None where they have to be fetched, which counts as regular.
        """
        if not any(_may_be_irregular(corpus, file.name) for file in partition.files):
            return {}
        source = corpus.config.source
        key = [raw_fingerprint, source.format, corpus.config.on_invalid]
        with suppress(ValueError, KeyError, TypeError):  # none yet, or not one of irregular files: look again
            known = recall(self._memory)
            if known["of"] == key:
                return dict(known["found"])
        files = at_hand()
        if files is None:
            return {}
        found = {file.name: what for file in files if (what := _irregularity(corpus, file))}
        remember(self._memory, {"of": key, "found": found})
        return found


def _may_be_irregular(corpus: Corpus, name: str) -> bool:
    """Whether files of this format were ever read in another way."""
    try:
        kind = format_of(corpus, name)
    except DeclarationError:  # its reader says so
        return False
    return kind == "text" or (kind == "json" and corpus.config.on_invalid == "skip")


def _irregularity(corpus: Corpus, file: LocalFile) -> str:
    if not _may_be_irregular(corpus, file.name):
        return ""
    try:
        if format_of(corpus, file.name) == "json":
            return "" if _begins_as_json_lines(file) else MISNAMED
        return WITH_BOM if any(opened.head.startswith(BOM) for opened in contents(file.path)) else ""
    except (OSError, UnreadableContentError):  # its reader says why
        return ""


def _begins_as_json_lines(file: LocalFile) -> bool:
    """Whether the first row is an object, as far as the head of the file tells."""
    head = head_of(file.path)
    if not head or compression_of(head):
        return not head or is_compressed(file.path)
    line = head.removeprefix(BOM).lstrip().partition(b"\n")[0].strip()
    if len(head) == HEAD and b"\n" not in head.lstrip():
        return line.startswith(b"{") and b"\x00" not in line
    try:
        return not line or isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
