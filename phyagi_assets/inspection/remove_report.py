"""The report of a command that excludes documents from a corpus."""

from typing import Literal

from phyagi_assets.inspection.documents import FoundDocument
from phyagi_assets.inspection.exposure import Exposure
from phyagi_assets.inspection.report import Report


class RemoveReport(Report):
    """The documents that are to be excluded from a corpus, and where mixtures have used them."""

    report: Literal["remove"] = "remove"
    version: Literal[1] = 1
    corpus: str
    is_dry_run: bool
    """Whether nothing was recorded."""
    ids: tuple[str, ...]
    """Ids of the documents."""
    recorded: tuple[str, ...]
    """Ids of the documents that were recorded now; the others were recorded before."""
    file: str
    """Path of the file that lists the excluded documents of the corpus."""
    documents: tuple[FoundDocument, ...]
    """The documents that were found, one for each place in the source."""
    exposures: tuple[Exposure, ...]
    mixtures: tuple[str, ...]
    """Names of the mixtures that read the corpus."""
