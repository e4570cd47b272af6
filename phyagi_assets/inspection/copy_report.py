"""The report of a command that has copied a store."""

from collections.abc import Sequence
from typing import Literal

from phyagi_assets.inspection.report import Report


class CopyReport(Report):
    """The outcome of copying versions from one store to another."""

    report: Literal["copy"] = "copy"
    version: Literal[1] = 1
    source: str
    """Path or address of the store that was copied."""
    target: str
    """Path or address of the other store."""
    copied: int
    """Number of versions that were copied."""
    bytes: int
    """Size of the versions that were copied, in bytes."""
    present: int
    """Number of versions that the other store had already."""
    referring: int
    """Number of versions of ``raw_dataset`` that refer to objects in buckets, which were not copied."""
    left_out: int = 0
    """Number of versions that are not copied, because they are damaged or name one that is."""
    problems: Sequence[str] = ()
    """Damaged files, and plans that are not copied because of them."""
