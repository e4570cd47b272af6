"""The command that excludes documents."""

import click

from phyagi_assets.cli.common import WholeNumber, number_option, open_workspace, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import LARGEST
from phyagi_assets.settings import Settings
from phyagi_assets.suggestions import unknown_name


@verb()
@click.argument("corpus")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Id of a document, as shown by explain and inspect; can be repeated.")
@click.option("--match", metavar="REGEX", help="Exclude every document whose text matches; start with (?i) to ignore case.")
@click.option("--reason", default="", help="Reason to keep in the record.")
@number_option("--until", type=WholeNumber(1, LARGEST), metavar="POSITION", help="Position that training has reached.  [default: an epoch]")
@click.option("--dry-run", is_flag=True, help="Record nothing.")
@with_settings
def remove(
    output: Output, corpus: str, ids: tuple[str, ...], match: str | None, reason: str, until: int | None, dry_run: bool, settings: Settings
) -> None:
    """Exclude documents, and show where mixtures have used them.

    \b
    phyagi-assets remove shakespeare --id 8c1f6d0a55e2b793 --reason "on request"
    phyagi-assets remove shakespeare --match "jane@example.com" --dry-run

    The ids of the excluded documents, but not their text, are recorded in CORPUS.removed.jsonl beside the declaration. The next
    refresh or materialize rebuilds the partitions that contain such a document, and excludes it from new ones. To bring a document
    back, delete its line from the file.
    """
    if bool(ids) == bool(match):
        raise PhyagiAssetsError("choose documents with --id or with --match")
    from phyagi_assets.cli.render import show_removal
    from phyagi_assets.declare.catalog import load_catalog
    from phyagi_assets.inspection.remove import remove_documents

    catalog = load_catalog(settings.require_data())
    if corpus not in catalog.corpora:
        raise PhyagiAssetsError(unknown_name(corpus, "declared corpus", "declared corpora", catalog.corpora))
    output.messages()
    workspace = open_workspace(settings)
    report = remove_documents(catalog, corpus, workspace, ids=ids, match=match, reason=reason, until=until, dry_run=dry_run)
    output.report(report, lambda console: show_removal(console, report))
