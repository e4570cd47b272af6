"""The documents of a partition: batches of even size, each document with the file and row that it came from."""

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
"""Text that a batch holds, unless one document is longer: enough for the engine's threads, little enough for the stages to overlap."""
BATCH_DOCUMENTS = 1 << 16
"""Documents that a batch holds at most, about: each takes memory beside its text, empty ones too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTally:
    """What the rows of a file are, or of a part of it."""

    valid: int = 0
    """Rows with text."""
    invalid: int = 0
    """Rows without."""
    first_problem: str = ""
    """The first of these: file, row and what is wrong."""

    def __add__(self, other: "RowTally") -> "RowTally":
        return RowTally(
            valid=self.valid + other.valid, invalid=self.invalid + other.invalid, first_problem=self.first_problem or other.first_problem
        )

    @property
    def is_without_text(self) -> bool:
        """Whether there are rows, and none with text: then the file is at fault, and not its rows."""
        return self.invalid > 0 and self.valid == 0

    def first_in(self, file: LocalFile) -> str:
        """The first problem, without the name of the file."""
        return self.first_problem.removeprefix(f"{file}: ")

    def error(self, file: LocalFile) -> SourceError:
        """Say that a file has no row with text."""
        message = f"none of its rows ({self.invalid:,}) has text; {self.first_in(file)}"
        return SourceError(f"{file}: {message}; give the file its right format or columns, or leave it out of source.path")


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """A batch of documents.

    The arrays are parallel: the text, the index of its file in the partition, and its 0-based row there.
    """

    texts: pa.Array
    files: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    tallies: tuple[tuple[int, "RowTally"], ...] = ()
    """For spans that ended since the batch before and had rows without text, or are not all of their file: index of the file, and what
    its rows were."""
    removed: int = 0
    """Documents that were left out of the batch because they are removed."""
    consumed: int = 0
    """Bytes of source that the batch stands for."""

    @property
    def invalid(self) -> int:
        """Rows that were left out of spans that ended since the batch before."""
        return sum(tally.invalid for _, tally in self.tallies)

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
        A file cannot be read as what it is declared to be, or has rows and not one with text; or a row has no text and the corpus says
        ``on_invalid: error``.
    """
    return read_spans(corpus, (Span(file=file, index=index) for index, file in enumerate(files)))


def read_spans(corpus: Corpus, spans: Iterable[Span]) -> Iterator[Documents]:
    """Stream the documents of spans of a partition's files, such as make a piece.

    Raises
    ------
    SourceError
        As for `read_documents`. Whether a file that is read in several spans has a row with text is seen where their tallies come
        together.
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
    """Makes documents of the rows of one span, and decides what becomes of rows without text."""

    def __init__(self, span: Span, separator: str, *, skips: bool) -> None:
        self._span, self._separator, self._skips = span, separator, skips
        self._valid = self._invalid = 0
        self._first_problem = ""

    def documents(self, rows: Rows) -> Documents:
        """The documents among some rows.

        Raises
        ------
        SourceError
            A row has no text, others have, and such rows are not skipped.
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
        """What is left to say when all rows are read: how many were skipped.

        Raises
        ------
        SourceError
            None of them has text.
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
    """Pieces of about a batch's size: rows of some formats come in blocks as large as the file's writer made them."""
    pieces = max(1, documents.text_bytes // BATCH_BYTES)
    step = -(-len(documents.texts) // pieces) or 1
    for start in range(0, max(1, len(documents.texts)), step):
        part = slice(start, start + step)
        yield Documents(
            texts=documents.texts[part],
            files=documents.files[part],
            rows=documents.rows[part],
            consumed=documents.consumed if start == 0 else 0,
        )


def _merged(pieces: list[Documents]) -> Documents:
    if len(pieces) == 1:
        return pieces[0]
    return Documents(
        texts=pa.concat_arrays([piece.texts for piece in pieces]),
        files=np.concatenate([piece.files for piece in pieces]),
        rows=np.concatenate([piece.rows for piece in pieces]),
        tallies=tuple(tally for piece in pieces for tally in piece.tallies),
        consumed=sum(piece.consumed for piece in pieces),
    )
