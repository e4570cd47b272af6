"""The documents of a token array as ranges of tokens, and their text for display."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phyagi_assets.declare.document_id import document_id
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import HASHES, SplitArrays, array_path
from phyagi_assets.formats.cache_tokenizer import decode_for_display
from phyagi_assets.formats.trained_bits import mark_trained
from phyagi_assets.steps.exclusions import hashes_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The range of tokens that a document occupies in a token array."""

    id: str
    file: int
    """Number of its source file."""
    row: int
    """0-based row of the document in the file."""
    start: int
    """Index of its first token."""
    end: int
    """Index after its last token."""

    @classmethod
    def of(cls, documents: SplitArrays, index: int) -> "Span":
        """Return the range of a document, given its index in the token array."""
        start = int(documents.ends[index - 1]) if index else 0
        file, row = documents.origins[index].tolist()
        return cls(id=document_id(int(documents.hashes[index])), file=file, row=row, start=start, end=int(documents.ends[index]))

    def beginning(self, documents: SplitArrays, tokens: int) -> str:
        """Return the text of the first tokens of the document, with ⟦ and ⟧ around the trained parts if there is a mask."""
        stop = min(self.end, self.start + tokens)
        trained = None if documents.mask is None else documents.mask.between(self.start, stop)
        return mark_trained(documents.ids[self.start : stop], trained, lambda piece: decode_for_display(documents.cache, piece))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The beginning of one document."""

    where: str
    """Split, index in the split, source file, row and id of the document."""
    tokens: int
    """Number of tokens of the whole document."""
    text: str
    """Text of its first tokens, with ⟦ and ⟧ around the parts that are trained on if the document is a conversation."""

    @classmethod
    def of(cls, documents: SplitArrays, index: int, tokens: int) -> "Sample":
        """Return the beginning of a document of a split, given its index and the largest number of tokens."""
        span = Span.of(documents, index)
        where = f"{documents.split}[{index}], {documents.manifest.details['files'][span.file]} row {span.row + 1:,}, id {span.id}"
        return cls(where=where, tokens=span.end - span.start, text=span.beginning(documents, tokens))


def spans_of(folder: Path, split: str, ids: Collection[str]) -> Iterator[Span]:
    """Find documents in a token array of a cache.

    Yields
    ------
    Span
        The range of each document that was found, in the order of the array.

    Raises
    ------
    StoreError
        The cache has no hashes of its documents, or its arrays do not fit each other.
    """
    path = array_path(folder, split, HASHES)
    if array_path(folder, split).is_file() and not path.is_file():
        raise StoreError(f"{path}: is missing; materialize again, and clean --old-plans what was built before")
    documents = SplitArrays.of(folder, split)
    for document in np.flatnonzero(np.isin(documents.hashes, hashes_of(ids))).tolist():
        yield Span.of(documents, document)
