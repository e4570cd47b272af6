"""The documents of a partition, read in batches of even size. Each document has the file and the row that it came from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.fetch_ahead import fetched_ahead
from phyagi_assets.sources.files import Span, format_of
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.readers import Block, read_blocks
from phyagi_assets.sources.row_tally import FileTally, RowTally
from phyagi_assets.sources.rows import ReadOptions, RowProblem, Rows

BATCH_BYTES = 2 << 20
"""Approximate size of a batch as it is read, in bytes, unless one document is longer: large enough that a thread spends its time on the
text and not on taking batches, and small enough for a few of them to stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """A batch of documents.

    `texts`, `files` and `rows` have one item per document.
    """

    texts: pa.Array
    """Text of each document (string); JSON if it is a conversation."""
    files: npt.NDArray[np.int32]
    """Index of each document's file in the partition, 1-D."""
    rows: npt.NDArray[np.int64]
    """0-based row of each document in its file, 1-D."""
    tallies: tuple[FileTally, ...] = ()
    """Counts of each span that ended since the previous batch and that has rows without text or is only a part of its file."""
    parts: tuple["SpanPart", ...] = ()
    """The parts of spans that the batch consists of, in order."""
    removed: int = 0
    """Number of documents that were left out of the batch because they are removed on request."""
    consumed: int = 0
    """Bytes of the source files that were read for the batch."""

    @property
    def invalid(self) -> int:
        """Number of rows without text in the spans that ended since the previous batch."""
        return sum(tally.rows.invalid for tally in self.tallies)

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
        return self._only(~removed, removed=int(removed.sum()))

    def without_invalid(self, problems: Mapping[int, RowProblem], part: npt.NDArray[np.int64]) -> "Documents":
        """Return the batch without documents that turned out to be invalid, which are counted as rows without text.

        Parameters
        ----------
        problems
            Problem of each such document, by its index in the batch.
        part
            Index in `parts` of the part that each document belongs to, 1-D.
        """
        if not problems:
            return self
        kept = np.ones(len(self.texts), dtype=bool)
        kept[list(problems)] = False
        parts = list(self.parts)
        for i, problem in problems.items():
            tally = parts[part[i]].tally + RowTally(valid=-1) + RowTally.from_problems({int(self.rows[i]): problem})
            parts[part[i]] = replace(parts[part[i]], tally=tally)
        return self._only(kept, parts=tuple(parts))

    def _only(self, kept: npt.NDArray[np.bool_], **changes: Any) -> "Documents":
        return replace(self, texts=self.texts.filter(pa.array(kept)), files=self.files[kept], rows=self.rows[kept], **changes)


def read_documents(corpus: Corpus, files: Sequence[Readable]) -> Iterator[Documents]:
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
    tallies = SpanTallies(corpus)
    for batch in read_batches(corpus, spans):
        yield tallies.checked(batch.documents())


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanPart:
    """Counts of the rows of a span, or of a part of it, in one batch."""

    span: Span
    tally: RowTally
    ends: bool
    """Whether the span ends with this part."""
    member: str = ""
    """Name of the member of a zip archive that the part is from; empty if the file is not an archive."""

    @property
    def place(self) -> str:
        """File of the part, with the member of an archive, for messages."""
        return f"{self.span.file}{f': its member {self.member!r}' if self.member else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch of documents that has been read, and may not be parsed yet."""

    parts: Sequence[tuple[Span, Block | None]]
    """Blocks with their spans; None stands for the end of a span."""
    separator: str
    """Text between the columns of a document."""

    @property
    def size(self) -> int:
        """Size of the batch in memory, in bytes."""
        return sum(block.size for _, block in self.parts if block)

    def documents(self) -> Documents:
        """Parse the batch, which any thread may do. The rows without text are left out and counted in `Documents.parts`."""
        found: list[Documents] = []
        for span, block in self.parts:
            if block is None:
                found.append(replace(_NO_DOCUMENTS, parts=(SpanPart(span=span, tally=RowTally(), ends=True),)))
            else:
                found += (_documents(rows, span, self.separator) for rows in block.rows())
        return _merged(found)


def read_batches(corpus: Corpus, spans: Iterable[Span]) -> Iterator[Batch]:
    """Stream the documents in spans of a partition's files in batches that are not parsed yet."""
    config = corpus.config
    options = ReadOptions(
        columns=config.columns, sample_by=config.source.sample_by, delimiter=config.source.delimiter, messages=config.messages
    )
    parts: list[tuple[Span, Block | None]] = []
    size = 0
    with closing(fetched_ahead(corpus, spans)) as fetched:
        for span, file in fetched:
            for block in read_blocks(replace(span, file=file), format_of(corpus, span.file.name), options):
                parts.append((span, block))
                size += block.size
                if size >= BATCH_BYTES:
                    yield Batch(parts=parts, separator=config.separator)
                    parts, size = [], 0
            parts.append((span, None))
            size += _SPAN_BYTES
    if parts:
        yield Batch(parts=parts, separator=config.separator)


class SpanTallies:
    """Counts of the rows with and without text in each span, added up batch by batch."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus, self._skips = corpus, corpus.config.on_invalid == "skip"
        self._tally = RowTally()
        self._of_member: tuple[str, RowTally] | None = None

    def checked(self, documents: Documents) -> Documents:
        """Return the next batch, with the tallies of the spans that end with it.

        Raises
        ------
        SourceError
            A row has no text and such rows are not skipped, or none of the rows of a file or of a member of an archive has text.
        """
        tallies: list[FileTally] = []
        for part in documents.parts:
            self._check_member(part)
            self._tally += part.tally
            if self._tally.invalid and self._tally.valid and not self._skips:
                problem = f"{part.place}: {self._tally.first_problem}"
                raise SourceError(f"{problem}; {self._tally.remedy}, or declare on_invalid: skip to leave out and count such rows")
            if part.ends:
                tallies += self._ended(part.span)
                self._tally = RowTally()
        return replace(documents, tallies=tuple(tallies))

    def _check_member(self, part: SpanPart) -> None:
        """Add a part to the counts of its member of an archive, and check those of the member that ended before it."""
        place, tally = self._of_member or ("", RowTally())
        if place and place != part.place and tally.is_without_text:
            raise tally.error(place, self._corpus)
        before = tally if place == part.place else RowTally()
        self._of_member = (part.place, before + part.tally) if part.member else None

    def _ended(self, span: Span) -> Iterator[FileTally]:
        tally = self._tally
        is_whole = span.start == 0 and span.stop is None
        if tally.is_without_text and is_whole:
            raise tally.error(span.file, self._corpus)
        if tally.invalid and not self._skips:
            raise SourceError(f"{span.file}: {tally.first_problem}; {tally.remedy}")
        if tally.invalid or not is_whole:
            yield FileTally(file=span.index, rows=tally)


def _documents(rows: Rows, span: Span, separator: str) -> Documents:
    """Return the documents in some rows of a span."""
    texts, numbers = rows.columns[0], rows.numbers
    if len(rows.columns) > 1:
        texts = pc.binary_join_element_wise(*rows.columns, separator, null_handling="emit_null")
    tally = RowTally(valid=len(texts), lines=rows.lines)
    if texts.null_count or rows.problems:
        valid = np.asarray(texts.is_valid())
        problems = dict.fromkeys(numbers[~valid].tolist(), RowProblem("its text is null")) | rows.problems
        texts, numbers = texts.drop_null(), numbers[valid]
        tally = RowTally.from_problems(problems) + RowTally(valid=len(texts), lines=rows.lines)
    return Documents(
        texts=texts,
        files=np.full(len(texts), span.index, dtype=np.int32),
        rows=numbers,
        consumed=rows.consumed,
        parts=(SpanPart(span=span, tally=tally, ends=False, member=rows.member),),
    )


_NO_DOCUMENTS = Documents(texts=pa.nulls(0, pa.string()), files=np.empty(0, np.int32), rows=np.empty(0, np.int64))
_SPAN_BYTES = 64
"""Size that the end of a span counts as, in bytes, so that a batch of many empty files ends, too."""


def _merged(parts: list[Documents]) -> Documents:
    if len(parts) == 1:
        return parts[0]
    return Documents(
        texts=pa.concat_arrays([part.texts for part in parts]),
        files=np.concatenate([part.files for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
        consumed=sum(part.consumed for part in parts),
        parts=tuple(part for each in parts for part in each.parts),
    )
