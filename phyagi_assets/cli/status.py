"""The command that shows the state of corpora and mixtures."""

import sys

import click

from phyagi_assets.cli.common import FAILED, MISUSED, open_workspace, print_error, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.settings import Settings


@verb()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_settings
def status(output: Output, names: tuple[str, ...], settings: Settings) -> None:
    """Show what is up to date, stale or failed.

    Lists partitions and mixtures with their sizes and the times at which they were built.

    Files of the store are not compared with their records: use check for that. To see why a partition is stale, use
    materialize --dry-run. The exit code is 1 if a source or a list of removed documents cannot be read, and 2 if a
    declaration cannot be used.
    """
    from phyagi_assets.cli.render_state import show_status
    from phyagi_assets.declare.catalog import read_catalog
    from phyagi_assets.inspection.status import status as status_of

    catalog, _ = read_catalog(settings.require_data())
    chosen = catalog.select(names)
    output.messages()
    report = status_of(chosen, open_workspace(settings))
    output.report(report, lambda console: show_status(console, report))
    unlisted = [corpus.problem for corpus in report.corpora if corpus.problem]
    for problem in [*unlisted, *(f"{reason}; {name} was left out" for name, reason in report.left_out.items())]:
        print_error(problem)
    sys.exit(FAILED if unlisted else MISUSED if report.left_out else 0)
