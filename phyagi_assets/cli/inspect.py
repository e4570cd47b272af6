"""The command that shows artifacts."""

import click

from phyagi_assets.cli.common import open_workspace, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.settings import Settings


@verb()
@click.argument("name", metavar="PATH|NAME")
@with_settings
def inspect(output: Output, name: str, settings: Settings) -> None:
    """Show the metadata, statistics and first words of an artifact.

    \b
    Name it by
      a mixture or a corpus      demo, shakespeare
      an address in the store    shakespeare/numpy_cache/hamlet
      a path                     data/store/demo/mixed_dataset, …/hamlet/train.npy
    """
    from phyagi_assets.cli.render_inspection import show_inspection
    from phyagi_assets.inspection.named import inspect_named

    workspace = open_workspace(settings)
    report = inspect_named(name, workspace.store, workspace if settings.data.is_dir() else None)
    output.report(report, lambda console: show_inspection(console, report))
