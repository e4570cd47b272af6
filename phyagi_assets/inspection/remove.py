"""Exclusion of documents from a corpus: find them, record them, and find the positions at which mixtures use them."""

from collections.abc import Collection
from datetime import date
from functools import partial
from typing import Literal

from phyagi_assets.declare.catalog import Catalog
from phyagi_assets.declare.removals import Removal, add_removals, read_removals, removals_file
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.documents import FoundDocument, matching, with_ids
from phyagi_assets.inspection.exposure import Exposure, exposures
from phyagi_assets.inspection.report import Report
from phyagi_assets.steps.step import Workspace


class RemoveReport(Report):
    """The documents to exclude from a corpus, and the positions at which mixtures use them."""

    report: Literal["remove"] = "remove"
    version: Literal[1] = 1
    corpus: str
    is_dry_run: bool
    """Whether nothing was recorded."""
    ids: tuple[str, ...]
    """Ids of the documents."""
    recorded: tuple[str, ...]
    """Ids of the documents that this command recorded; the others were recorded before."""
    file: str
    """Path of the file that lists the excluded documents of the corpus."""
    documents: tuple[FoundDocument, ...]
    """The documents that were found, one for each place in the source."""
    exposures: tuple[Exposure, ...]
    mixtures: tuple[str, ...]
    """Names of the mixtures that read the corpus."""


def remove_documents(
    catalog: Catalog,
    corpus: str,
    workspace: Workspace,
    *,
    ids: Collection[str],
    match: str | None,
    reason: str,
    until: int | None,
    dry_run: bool,
) -> RemoveReport:
    """Exclude documents from a corpus: those with the given ids, or those whose text matches a regular expression.

    Parameters
    ----------
    until
        End of the range of training positions that is searched for the documents, exclusive; None for the end of an epoch.

    Raises
    ------
    PhyagiAssetsError
        An id or the regular expression is not valid, or no document matches.
    SourceError
        The source cannot be listed or read.
    """
    declared, removal = catalog.corpora[corpus], partial(Removal, reason=reason, on=date.today().isoformat())
    try:
        removals = {id_: removal(id=id_) for id_ in ids}
    except ValueError as problem:
        raise PhyagiAssetsError(str(problem)) from None
    found = list(matching(declared, match, workspace)) if match else with_ids(declared, removals, workspace.store)
    missing = removals.keys() - {document.id for document in found} - read_removals(declared).keys()
    if missing or not (found or removals):
        sought = f"in the artifacts of {corpus} has the id {', '.join(sorted(missing))}" if missing else f"of {corpus} matches {match!r}"
        raise PhyagiAssetsError(f"no document {sought}; nothing is recorded")
    removals |= {document.id: removal(id=document.id) for document in found}
    exposed = tuple(exposures(corpus, removals, workspace.store, until))
    new = [] if dry_run else add_removals(declared, removals.values())
    return RemoveReport(
        corpus=corpus,
        is_dry_run=dry_run,
        ids=tuple(removals),
        recorded=tuple(each.id for each in new),
        file=str(removals_file(declared)),
        documents=tuple(found),
        exposures=exposed,
        mixtures=tuple(name for name, mixture in catalog.mixtures.items() if corpus in mixture.config.corpora),
    )
