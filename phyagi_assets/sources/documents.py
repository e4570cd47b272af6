"""The documents of a partition, read in batches of even size. Each document has the file and the row that it came from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.files import LocalFile, Span, format_of
from phyagi_assets.sources.readers import ReadOptions, Rows, read_rows

BATCH_BYTES = 1 << 20
"""Approximate size of the text of a batch, in bytes, unless one document is longer. It is enough for the engine's threads, and small
enough for reading, encoding and writing to overlap."""
BATCH_DOCUMENTS = 1 << 16
"""Approximate largest number of documents in a batch: each document, even an empty one, takes memory besides its text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTally:
    """Counts of the rows with and without text in a file or a part of it."""

    valid: int = 0
    """Number of rows with text."""
    invalid: int = 0
    """Number of rows without text."""
    first_problem: str = ""
    """Message about the first row without text, which names the file, the row and the problem; empty if there is none."""

    def __add__(self, other: "RowTally") -> "RowTally":
        return RowTally(
            valid=self.valid + other.valid, invalid=self.invalid + other.invalid, first_problem=self.first_problem or other.first_problem
        )

    @property
    def is_without_text(self) -> bool:
        """Whether there are rows but none has text, which points to a problem with the file and not with single rows."""
        return self.invalid > 0 and self.valid == 0

    def first_in(self, file: LocalFile) -> str:
        """Return the message about the first problem without the name of the file."""
        return self.first_problem.removeprefix(f"{file}: ")

    def error(self, file: LocalFile) -> SourceError:
        """Return the error for a file that has no row with text."""
        message = f"none of its rows ({self.invalid:,}) has text; {self.first_in(file)}"
        return SourceError(f"{file}: {message}; give the file its right format or columns, or leave it out of source.path")


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """A batch of documents.

    `texts`, `files` and `rows` have one item per document.
    """

    texts: pa.Array
    """Text of each document (string)."""
    files: npt.NDArray[np.int32]
    """Index of each document's file in the partition, 1-D."""
    rows: npt.NDArray[np.int64]
    """0-based row of each document in its file, 1-D."""
    tallies: tuple[tuple[int, "RowTally"], ...] = ()
    """Index of the file and counts of its rows, for each span that ended since the previous batch and that has rows without text or is
    only a part of its file."""
    removed: int = 0
    """Number of documents that were left out of the batch because they are removed on request."""
    consumed: int = 0
    """Bytes of the source files that were read for the batch."""

    @property
    def invalid(self) -> int:
        """Number of rows without text in the spans that ended since the previous batch."""
        return sum(tally.invalid for _, tally in self.tallies)

    @property
    def text_bytes(self) -> int:
        """Size of the text in the batch, in bytes of UTF-8."""
        return int(pc.sum(pc.binary_length(self.texts)).as_py() or 0)

    @property
    def nonempty(self) -> npt.NDArray[np.bool_]:
        """Whether each document has any text, 1-D."""
        nonempty: npt.NDArray[np.bool_] = pc.binary_length(self.texts).to_numpy() > 0
        return nonempty

    def without(self, removed: npt.NDArray[np.bool_]) -> "Documents":
        """Return the batch without some of its documents.

        Parameters
        ----------
        removed
            Whether each document is left out, 1-D.
        """
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
        A file cannot be read in its format, a file has rows but none with text, or a row has no text and the corpus declares
        ``on_invalid: error``.
    """
    return read_spans(corpus, (Span(file=file, index=index) for index, file in enumerate(files)))


def read_spans(corpus: Corpus, spans: Iterable[Span]) -> Iterator[Documents]:
    """Stream the documents in spans of a partition's files, such as the spans of a chunk.

    Raises
    ------
    SourceError
        The same as in `read_documents`, except that a file in several spans is not checked for having a row with text. The caller checks
        this when it adds up the tallies.
    """
    config = corpus.config
    options = ReadOptions(columns=config.columns, sample_by=config.source.sample_by, delimiter=config.source.delimiter)
    pending: list[Documents] = []
    size = count = 0
    for span in spans:
        reader = _Reader(span, config.separator, skips=config.on_invalid == "skip")
        for rows in read_rows(span, format_of(corpus, span.file.name), options):
            for cut in _cut(reader.documents(rows)):
                pending.append(cut)
                size, count = size + cut.text_bytes, count + len(cut.texts)
                if size >= BATCH_BYTES or count >= BATCH_DOCUMENTS:
                    yield _merged(pending)
                    pending, size, count = [], 0, 0
        pending += reader.ended()
    if pending:
        yield _merged(pending)


class _Reader:
    """Converter from the rows of one span to documents, which refuses or skips rows without text."""

    def __init__(self, span: Span, separator: str, *, skips: bool) -> None:
        self._span, self._separator, self._skips = span, separator, skips
        self._valid = self._invalid = 0
        self._first_problem = ""

    def documents(self, rows: Rows) -> Documents:
        """Return the documents in some rows.

        Raises
        ------
        SourceError
            A row of the span has no text, another one has, and rows without text are not skipped.
        """
        texts, numbers = rows.columns[0], rows.numbers
        if len(rows.columns) > 1:
            texts = pc.binary_join_element_wise(*rows.columns, self._separator, null_handling="emit_null")
        if texts.null_count or rows.problems:
            valid = np.asarray(texts.is_valid())
            problems = dict.fromkeys(numbers[~valid].tolist(), "its text is null") | rows.problems
            texts, numbers = texts.drop_null(), numbers[valid]
            self._note(problems)
        self._valid += len(texts)
        if self._invalid and self._valid and not self._skips:
            raise SourceError(f"{self._first_problem}; correct the row, or let such rows be left out and counted with on_invalid: skip")
        files = np.full(len(texts), self._span.index, dtype=np.int32)
        return Documents(texts=texts, files=files, rows=numbers, consumed=rows.consumed)

    def _note(self, problems: Mapping[int, str]) -> None:
        first = min(problems)
        self._first_problem = self._first_problem or f"{self._span.file}: row {first + 1}: {problems[first]}"
        self._invalid += len(problems)

    def ended(self) -> Iterator[Documents]:
        """Yield an empty batch with the tally of the span, after its last row, if some rows have no text or the span is not a whole file.

        Raises
        ------
        SourceError
            The span is a whole file and no row has text, or a row has no text and such rows are not skipped.
        """
        tally = RowTally(valid=self._valid, invalid=self._invalid, first_problem=self._first_problem)
        is_whole = self._span.start == 0 and self._span.stop is None
        if tally.is_without_text and is_whole:
            raise tally.error(self._span.file)
        if tally.invalid and not self._skips:
            raise SourceError(f"{tally.first_problem}; correct the row")
        if tally.invalid or not is_whole:
            yield Documents(
                texts=pa.array([], pa.string()),
                files=np.empty(0, np.int32),
                rows=np.empty(0, np.int64),
                tallies=((self._span.index, tally),),
            )


def _cut(documents: Documents) -> Iterator[Documents]:
    """Cut documents into parts of about the size of a batch: in some formats, the writer of the file determines the size of blocks."""
    count = max(1, documents.text_bytes // BATCH_BYTES)
    step = -(-len(documents.texts) // count) or 1
    for start in range(0, max(1, len(documents.texts)), step):
        part = slice(start, start + step)
        yield Documents(
            texts=documents.texts[part],
            files=documents.files[part],
            rows=documents.rows[part],
            consumed=documents.consumed if start == 0 else 0,
        )


def _merged(parts: list[Documents]) -> Documents:
    if len(parts) == 1:
        return parts[0]
    return Documents(
        texts=pa.concat_arrays([part.texts for part in parts]),
        files=np.concatenate([part.files for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
        tallies=tuple(tally for part in parts for tally in part.tallies),
        consumed=sum(part.consumed for part in parts),
    )
