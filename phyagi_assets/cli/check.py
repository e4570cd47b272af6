"""The command that checks declarations and the store."""

import sys
from collections import Counter
from pathlib import Path

import click

from phyagi_assets.cli.common import FAILED, MISUSED, open_workspace, print_error, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.settings import Settings


@verb()
@click.option("--discard", is_flag=True, help="Remove damaged artifacts from the store; materialize builds them again.")
@with_settings
def check(output: Output, discard: bool, settings: Settings) -> None:
    """Validate declarations, and compare the store with checksums.

    All problems are listed, not only the first one. Damaged artifacts are kept unless you pass --discard: then they are removed, and the
    next materialize builds them again, byte for byte. Files that the store did not create are listed and never removed.
    """
    from phyagi_assets.cli.render import show_check
    from phyagi_assets.inspection.check import check_everything

    settings.require_data()
    workspace = open_workspace(settings)
    linked = [settings.store, *filter(Path.is_symlink, settings.store.glob("*"))] if isinstance(settings.store, Path) else []
    report = check_everything(workspace, linked, discard=discard and settings.has_store)
    for message, count in Counter(problem.message for problem in report.problems).items():
        print_error(f"{message} ({count:,} times)" if count > 1 else message)
    output.report(report, lambda console: show_check(console, report))
    sys.exit(MISUSED if report.has("declaration") else FAILED if report.problems else 0)
