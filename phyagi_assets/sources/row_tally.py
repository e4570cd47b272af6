"""Counts of the rows of files, with and without text, and the messages about those without."""

from collections.abc import Mapping
from dataclasses import dataclass

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.rows import RowProblem
from phyagi_assets.sources.signatures import CONVERT


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTally:
    """Counts of the rows with and without text in a file or a part of it."""

    valid: int = 0
    """Number of rows with text."""
    invalid: int = 0
    """Number of rows without text."""
    row: int = 0
    """0-based number of the first row without text in the file."""
    problem: str = ""
    """Problem of that row; empty if there is none."""
    is_of_encoding: bool = False
    """Whether that row is not UTF-8."""
    lines: int = 0
    """Number of lines, in a file of lines."""

    @classmethod
    def from_problems(cls, problems: Mapping[int, RowProblem]) -> "RowTally":
        """Return the counts of rows without text, given the problem of each by the number of the row."""
        row = min(problems)
        return cls(invalid=len(problems), row=row, problem=problems[row].found, is_of_encoding=problems[row].is_of_encoding)

    def __add__(self, other: "RowTally") -> "RowTally":
        first = other if not self.problem or (other.problem and other.row < self.row) else self  # templates fail after rows are read
        return RowTally(
            valid=self.valid + other.valid,
            invalid=self.invalid + other.invalid,
            row=first.row,
            problem=first.problem,
            is_of_encoding=first.is_of_encoding,
            lines=self.lines + other.lines,
        )

    @property
    def is_without_text(self) -> bool:
        """Whether there are rows but none has text, which points to a problem with the file and not with single rows."""
        return self.invalid > 0 and self.valid == 0

    @property
    def first_problem(self) -> str:
        """Message about the first row without text, to follow the name of the file."""
        return f"row {self.row + 1}: {self.problem}"

    @property
    def remedy(self) -> str:
        """Advice on how to correct that row."""
        return CONVERT if self.is_of_encoding else "correct the row"

    def error(self, file: object, corpus: Corpus) -> SourceError:
        """Return the error for a file, or a member of an archive, that has no row with text, or with a conversation."""
        messages = corpus.config.messages
        content = "text" if messages is None else "a conversation"
        keys = " or columns" if messages is None else f", messages (now {messages}) or chat_template"
        message = f"none of its rows ({self.invalid:,}) has {content}; {self.first_problem}"
        remedy = CONVERT if self.is_of_encoding else f"declare its right format{keys}"
        return SourceError(f"{file}: {message}; {remedy}, or leave it out of source.path")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTally:
    """Counts of the rows of a file, or of a part of it."""

    file: int
    """Index of the file in the partition."""
    rows: RowTally
