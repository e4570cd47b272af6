"""The command that shows artifacts."""

import click

from phyagi_assets.cli.common import with_settings
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
    from phyagi_assets.steps.step import Workspace
    from phyagi_assets.store.places import open_store

    stored = open_store(settings.store)
    workspace = Workspace(data=settings.data, store=stored) if settings.data.is_dir() else None
    report = inspect_named(name, stored, workspace)
    output.report(report, lambda console: show_inspection(console, report))
