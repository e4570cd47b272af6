"""The documents of a partition: batches of even size, each document with the file and row that it came from."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import LocalFile, Span, format_of
from phyagi_assets.pipeline.sources.rows import ReadOptions, Rows, read_rows

BATCH_BYTES = 1 << 20
"""Text that a batch holds, unless one document is longer: enough for the engine's threads, little enough for the stages to overlap."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """A batch of documents.

    The arrays are parallel: the text, the index of its file in the partition, and its 0-based row there.
    """

    texts: pa.Array
    files: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    invalid: int = 0
    """Rows that were left out since the batch before."""
    removed: int = 0
    """Documents that were left out of the batch because they are removed."""
    consumed: int = 0
    """Bytes of source that the batch stands for."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of text in the batch."""
        return int(pc.sum(pc.binary_length(self.texts)).as_py() or 0)

    @property
    def nonempty(self) -> npt.NDArray[np.bool_]:
        """Which documents have any text."""
        nonempty: npt.NDArray[np.bool_] = pc.binary_length(self.texts).to_numpy() > 0
        return nonempty

    def without(self, removed: npt.NDArray[np.bool_]) -> "Documents":
        """The batch without some of its documents."""
        if not removed.any():
            return self
        kept = ~removed
        return replace(
            self, texts=self.texts.filter(pa.array(kept)), files=self.files[kept], rows=self.rows[kept], removed=int(removed.sum())
        )


def read_documents(corpus: Corpus, files: Sequence[LocalFile]) -> Iterator[Documents]:
    """Stream the documents of a partition's files.

    Raises
    ------
    SourceError
        A file cannot be read as what it is declared to be; or a row has no text and the corpus says ``on_invalid: error``.
    """
    return read_spans(corpus, (Span(file=file, index=index) for index, file in enumerate(files)))


def read_spans(corpus: Corpus, spans: Iterable[Span]) -> Iterator[Documents]:
    """Stream the documents of spans of a partition's files, such as make a piece.

    Raises
    ------
    SourceError
        As for `read_documents`.
    """
    config = corpus.config
    options = ReadOptions(columns=config.columns, sample_by=config.source.sample_by)
    pending: list[Documents] = []
    size = 0
    for span in spans:
        for rows in read_rows(span, format_of(corpus, span.file.name), options):
            for cut in _cut(_documents(rows, span.index, str(span.file), config.separator, config.on_invalid)):
                pending.append(cut)
                size += cut.text_bytes
                if size >= BATCH_BYTES:
                    yield _merged(pending)
                    pending, size = [], 0
    if pending:
        yield _merged(pending)


def _documents(rows: Rows, file: int, path: str, separator: str, on_invalid: str) -> Documents:
    texts = rows.columns[0]
    if len(rows.columns) > 1:
        texts = pc.binary_join_element_wise(*rows.columns, separator, null_handling="emit_null")
    numbers = np.arange(rows.first, rows.first + len(texts), dtype=np.int64)
    invalid = 0
    if texts.null_count:
        valid = np.asarray(texts.is_valid())
        for row in numbers[~valid].tolist():
            reason = rows.problems.get(row, "its text is null")
            if not reason:  # a blank line between records is not a row
                continue
            invalid += 1
            where = f"{path}: row {row + 1}: {reason}"
            if on_invalid == "error":
                raise SourceError(f"{where}; mend the row, or let such rows be left out and counted with on_invalid: skip")
            logger.debug("%s; left out", where)
        texts, numbers = texts.drop_null(), numbers[valid]
    files = np.full(len(texts), file, dtype=np.int32)
    return Documents(texts=texts, files=files, rows=numbers, invalid=invalid, consumed=rows.consumed)


def _cut(documents: Documents) -> Iterator[Documents]:
    """Pieces of about a batch's size: rows of some formats come in blocks as large as the file's writer made them."""
    pieces = max(1, documents.text_bytes // BATCH_BYTES)
    step = -(-len(documents.texts) // pieces) or 1
    for start in range(0, max(1, len(documents.texts)), step):
        part = slice(start, start + step)
        yield Documents(
            texts=documents.texts[part],
            files=documents.files[part],
            rows=documents.rows[part],
            invalid=documents.invalid if start == 0 else 0,
            consumed=documents.consumed if start == 0 else 0,
        )


def _merged(pieces: list[Documents]) -> Documents:
    if len(pieces) == 1:
        return pieces[0]
    return Documents(
        texts=pa.concat_arrays([piece.texts for piece in pieces]),
        files=np.concatenate([piece.files for piece in pieces]),
        rows=np.concatenate([piece.rows for piece in pieces]),
        invalid=sum(piece.invalid for piece in pieces),
        consumed=sum(piece.consumed for piece in pieces),
    )
