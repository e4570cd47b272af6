"""Totals of the rows that the chunks of a partition were encoded to."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.formats.token_rows import rows_in
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.row_tally import RowTally
from phyagi_assets.steps.checks.tokens import CheckedRows
from phyagi_assets.steps.tokenize_chunks import COUNTS, WrittenChunk
from phyagi_assets.store.artifact import FinishedFile


@dataclass(kw_only=True, slots=True)
class RowTotals:
    """Totals of the rows that were written, and of those that were left out."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    content: str = ""
    """Digest of the text hashes in the order of the rows; it does not depend on the origin of the texts."""
    files: list[FinishedFile | Path] = field(default_factory=list)
    """File with the rows of each chunk: as its task wrote it, or a path in the folder of the artifact."""
    checked: CheckedRows = field(default_factory=CheckedRows)
    """Findings of the tasks, each of which reads its rows again."""
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=list)
    """Number of tokens of each document in the rows that tasks wrote."""
    hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    """Text hashes of the documents with tokens in the rows that tasks wrote."""
    rows: dict[int, RowTally] = field(default_factory=dict)
    """Row counts by index of the file, for files with rows without text and for files that were read in several chunks."""

    @classmethod
    def of(cls, written: Generator[WrittenChunk, None, None]) -> "RowTotals":
        """Add up the results of all chunks, in their order."""
        tally, content = cls(), xxhash.xxh3_128()
        with closing(written):
            for chunk in written:
                tally.counts |= {name: tally.counts.get(name, 0) + count for name, count in chunk.counts.items()}
                for part in chunk.tallies:
                    tally.rows[part.file] = tally.rows.get(part.file, RowTally()) + part.rows
                for batch in rows_in(chunk.documents, ["length", "hash"]):
                    lengths, hashes = (batch.column(name).to_numpy() for name in ("length", "hash"))
                    content.update(hashes.data)
                    if chunk.checked:
                        tally.lengths.append(lengths.copy())  # the file is deleted before they are used
                        tally.hashes.append(hashes[lengths > 0])
                tally.files.append(chunk.rows)
                if chunk.checked:
                    tally.checked += chunk.checked
        tally.content = content.hexdigest()
        return tally

    @property
    def all_lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each document in the rows that tasks wrote, 1-D."""
        return np.concatenate([np.zeros(0, np.int64), *self.lengths])

    def require_text(self, files: Sequence[Readable], corpus: Corpus) -> None:
        """Raise a `SourceError` if a file has rows, but none with text."""
        for index, rows in sorted(self.rows.items()):
            if rows.is_without_text:
                raise rows.error(files[index], corpus)

    def skipped(self, files: Sequence[Readable]) -> dict[str, dict[str, Any]]:
        """Return the files with left-out rows: by file name, the number of left-out rows, the number of rows, and the first problem."""
        return {
            files[index].name: {"rows": rows.invalid, "of": rows.invalid + rows.valid, "first": rows.first_problem}
            for index, rows in sorted(self.rows.items())
            if rows.invalid
        }
