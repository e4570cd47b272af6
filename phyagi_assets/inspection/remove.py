"""Exclusion of documents from a corpus: find them, record them, and find the positions at which mixtures use them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal

from phyagi_assets.declare.catalog import Catalog
from phyagi_assets.declare.removals import Removal, add_removals, read_removals, removals_file
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.documents import FoundDocument, matching, with_ids
from phyagi_assets.inspection.exposure import Exposure, exposures
from phyagi_assets.inspection.report import Report
from phyagi_assets.steps.step import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The documents to exclude: those with some ids, or those whose text matches a regular expression."""

    ids: Collection[str] = ()
    match: str | None = None
    reason: str = ""
    """Reason to record."""


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


def remove_documents(
    catalog: Catalog, corpus: str, wanted: Wanted, workspace: Workspace, *, until: int | None = None, dry_run: bool = False
) -> RemoveReport:
    """Exclude documents from a corpus.

    Parameters
    ----------
    until
        End of the range of training positions that is searched for the documents, exclusive; by default, the end of an epoch.
    dry_run
        Whether to record nothing.

    Raises
    ------
    PhyagiAssetsError
        An id or the regular expression is not valid, or no document has it.
    SourceError
        The source cannot be listed or read.
    """
    declared, today = catalog.corpora[corpus], date.today().isoformat()
    try:
        removals = {one: Removal(id=one, reason=wanted.reason, on=today) for one in wanted.ids}
    except ValueError as problem:
        raise PhyagiAssetsError(str(problem)) from None
    found = list(matching(declared, wanted.match, workspace)) if wanted.match else with_ids(declared, removals, workspace.store)
    missing = removals.keys() - {document.id for document in found} - read_removals(declared).keys()
    if missing or not (found or removals):
        sought = (
            f"in the artifacts of {corpus} has the id {', '.join(sorted(missing))}" if missing else f"of {corpus} matches {wanted.match!r}"
        )
        raise PhyagiAssetsError(f"no document {sought}; nothing is recorded")
    removals |= {document.id: Removal(id=document.id, reason=wanted.reason, on=today) for document in found}
    exposed = tuple(exposures(corpus, removals, workspace.store, until))
    new = [] if dry_run else add_removals(declared, removals.values())
    return RemoveReport(
        corpus=corpus,
        is_dry_run=dry_run,
        ids=tuple(removals),
        recorded=tuple(removal.id for removal in new),
        file=str(removals_file(declared)),
        documents=tuple(found),
        exposures=exposed,
        mixtures=tuple(name for name, mixture in catalog.mixtures.items() if corpus in mixture.config.corpora),
    )
