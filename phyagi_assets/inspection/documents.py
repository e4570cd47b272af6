"""Search for documents of a corpus, by id in its caches or by text in its source."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.errors import PhyagiAssetsError, SourceError
from phyagi_assets.formats.cache_folder import SplitArrays
from phyagi_assets.formats.cache_tokenizer import decode_for_display
from phyagi_assets.inspection.spans import spans_of
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Partition, SourceFile, readable
from phyagi_assets.sources.readable import Readable
from phyagi_assets.steps import cache
from phyagi_assets.steps.raw import pinned_objects, raw_address, readable_files
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store

_SHOWN = 32
"""Number of tokens of a document whose text is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundDocument:
    """A document that was found, and its location in the source."""

    id: str
    partition: str
    """Key of the partition."""
    file: str
    """Name of the source file, as in the listing of the source."""
    row: int
    """Row in the file, 0-based."""
    text: str
    """Beginning of the text."""


def with_ids(corpus: Corpus, ids: Collection[str], store: Store) -> list[FoundDocument]:
    """Return the documents with some ids, from all versions of the corpus's caches in the store."""
    found: dict[tuple[str, str, str, int], FoundDocument] = {}
    for version in store.survey().versions:
        if (version.address.name, version.address.step) != (corpus.config.name, cache.STEP):
            continue
        folder, manifest = version.folder(), version.manifest
        for split in manifest.counts:
            tokens = SplitArrays.of(folder, split).ids
            for span in spans_of(folder, split, ids):
                document = FoundDocument(
                    id=span.id,
                    partition=version.address.key,
                    file=manifest.details["files"][span.file],
                    row=span.row,
                    text=decode_for_display(folder, tokens[span.start : min(span.end, span.start + _SHOWN)]),
                )
                found.setdefault((document.id, document.partition, document.file, document.row), document)
    return list(found.values())


def _listed_files(partition: Partition, raw: Artifact | None, pinned: Sequence[SourceFile], workspace: Workspace) -> Sequence[Readable]:
    """Return the files of a partition to read, as the source lists them; copied files are read from the snapshot."""
    if raw and not pinned:
        return readable_files(partition, raw, workspace)
    copies = {file.name: file for file in readable_files(partition, raw, workspace)} if raw else {}
    local = {file.name: file for file in readable(partition)}
    return [workspace.sources.pinned(file) if file in pinned else local.get(file.name) or copies[file.name] for file in partition.files]


def matching(corpus: Corpus, pattern: str, workspace: Workspace) -> Iterator[FoundDocument]:
    """Yield the documents whose text matches a regular expression (RE2), from local files and fetched snapshots.

    Raises
    ------
    PhyagiAssetsError
        The pattern is not a valid regular expression.
    SourceError
        The source cannot be listed or read, or a partition was never fetched.
    """
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as problem:
        reason = str(problem).removeprefix("Invalid regular expression: ")
        raise PhyagiAssetsError(f"'{pattern}' is not a valid regular expression: {reason}") from None
    for partition in workspace.sources.partitions(corpus).values():
        raw = workspace.store.open(raw_address(corpus, partition.key))
        pinned = pinned_objects(corpus, partition, workspace) or ()
        if raw is None and not all(file.path or file in pinned for file in partition.files):
            raise SourceError(
                f"{corpus.path}: partition {partition.key!r} was never fetched, so its text is unknown; "
                f"materialize {corpus.config.name} first"
            )
        files = _listed_files(partition, raw, pinned, workspace)
        for documents in read_documents(corpus, files):
            for place in np.flatnonzero(pc.match_substring_regex(documents.texts, pattern).to_numpy(zero_copy_only=False)).tolist():
                yield FoundDocument(
                    id=document_id(int(text_hashes(documents.texts[place : place + 1])[0])),
                    partition=partition.key,
                    file=partition.files[documents.files[place]].name,
                    row=int(documents.rows[place]),
                    text=documents.texts[place].as_py()[: 4 * _SHOWN],
                )
