"""The reason why a row has no text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowProblem:
    """The reason why a row has no text."""

    found: str
    """What is wrong with the row: the end of a sentence that begins with the name of the row."""
    is_of_encoding: bool = False
    """Whether the row is not UTF-8: then the whole file has to be converted, and correcting the row is not enough."""
