"""The command that excludes documents."""

import click

from phyagi_assets.cli.common import EPILOG, LAST_POSITION, folder_options, log_to, report_errors
from phyagi_assets.cli.console import new_console
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings


@click.command(epilog=EPILOG)
@click.argument("corpus")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Id of a document, as shown by explain and inspect; can be repeated.")
@click.option("--match", metavar="REGEX", help="Exclude every document whose text matches; start with (?i) to ignore case.")
@click.option("--reason", default="", help="Reason to keep in the record.")
@click.option(
    "--until", type=click.IntRange(1, LAST_POSITION), metavar="POSITION", help="Position reached by training.  [default: an epoch]"
)
@click.option("--dry-run", is_flag=True, help="Record nothing.")
@folder_options
def remove(
    corpus: str,
    ids: tuple[str, ...],
    match: str | None,
    reason: str,
    until: int | None,
    dry_run: bool,
    data: str | None,
    store: str | None,
) -> None:
    """Exclude documents from a corpus, and show where mixtures have used them.

    \b
    phyagi-assets remove shakespeare --id 8c1f6d0a55e2b793 --reason "on request"
    phyagi-assets remove shakespeare --match "jane@example.com" --dry-run

    The ids of the excluded documents, but not their text, are recorded in CORPUS.removed.jsonl beside the declaration. The next
    refresh or materialize rebuilds the partitions that contain such a document, and excludes it from new ones. To bring a document
    back, delete its line from the file.
    """
    with report_errors():
        if bool(ids) == bool(match):
            raise PhyagiAssetsError("choose documents with --id or with --match")
        settings = Settings.resolve(data=data, store=store)
        from datetime import date

        from phyagi_assets.cli.render import show_exposures, show_found
        from phyagi_assets.declare.catalog import load_catalog
        from phyagi_assets.declare.removals import Removal, add_removals, read_removals, removals_file
        from phyagi_assets.formatting import counted
        from phyagi_assets.inspection.documents import matching, with_ids
        from phyagi_assets.inspection.exposure import exposures
        from phyagi_assets.steps.step import Workspace
        from phyagi_assets.store.places import open_store

        catalog = load_catalog(settings.require_data())
        if corpus not in catalog.corpora:
            raise PhyagiAssetsError(f"{corpus!r} is not a declared corpus; declared corpora: {', '.join(catalog.corpora) or 'none'}")
        declared, console = catalog.corpora[corpus], new_console()
        log_to(new_console(stderr=True))
        workspace = Workspace(data=settings.data, store=open_store(settings.store))
        try:
            removals = {one: Removal(id=one, reason=reason, on=date.today().isoformat()) for one in ids}
        except ValueError as problem:
            raise PhyagiAssetsError(str(problem)) from None
        found = list(matching(declared, match, workspace)) if match else with_ids(declared, removals, workspace.store)
        missing = removals.keys() - {document.id for document in found} - read_removals(declared).keys()
        if missing or not (found or removals):
            sought = (
                f"in the artifacts of {corpus} has the id {', '.join(sorted(missing))}" if missing else f"of {corpus} matches {match!r}"
            )
            raise PhyagiAssetsError(f"no document {sought}; nothing is recorded")
        removals |= {document.id: Removal(id=document.id, reason=reason, on=date.today().isoformat()) for document in found}
        show_found(console, found)
        show_exposures(console, exposures(corpus, removals, workspace.store, until))
        if dry_run:
            console.print(f"{counted(len(removals), 'document')} would be removed", highlight=False)
            return
        new = add_removals(declared, removals.values())
        console.print(f"{counted(len(new), 'document')} recorded in {removals_file(declared)}", highlight=False, soft_wrap=True)
        readers = [name for name, mixture in catalog.mixtures.items() if any(part.corpus == corpus for part in mixture.config.datasets)]
        console.print(
            f"To exclude them: phyagi-assets materialize {' '.join(readers or [corpus])}", highlight=False, markup=False, soft_wrap=True
        )
        console.print(
            "To delete older versions that contain them: phyagi-assets clean --old-plans --yes",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
