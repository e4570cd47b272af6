"""The command ``phyagi-assets``."""

import click

from phyagi_assets import __version__
from phyagi_assets.cli.check import check
from phyagi_assets.cli.clean import clean
from phyagi_assets.cli.common import EPILOG, folder_options
from phyagi_assets.cli.copy import copy
from phyagi_assets.cli.explain import explain
from phyagi_assets.cli.init import init
from phyagi_assets.cli.inspect import inspect
from phyagi_assets.cli.losses import losses
from phyagi_assets.cli.materialize import materialize
from phyagi_assets.cli.plan import plan
from phyagi_assets.cli.remove import remove
from phyagi_assets.cli.report import report
from phyagi_assets.cli.status import status
from phyagi_assets.cli.ui import ui


class _Group(click.Group):
    """The commands, listed in the order in which a new user meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands."""
        return list(self.commands)


@click.group(cls=_Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@folder_options
@click.pass_context
def main(context: click.Context, /, **before: str | None) -> None:
    """Turn declared text into training batches.

    Corpora and mixtures are YAML files in the data folder: corpora/*.yaml and mixtures/*.yaml. Their artifacts
    are kept in the store and shown in Dagster's UI.

    \b
    Start here:
      phyagi-assets init data          create a data folder with an example
      phyagi-assets materialize        build everything that it declares
      phyagi-assets inspect example    show what was built
    """
    name = context.invoked_subcommand or ""
    given = {option: value for option, value in before.items() if value is not None}
    for option in given.keys() - {parameter.name for parameter in main.commands[name].params}:
        raise click.UsageError(f"{name} has no option --{option}", context)
    context.default_map = {name: given}


for command in (init, materialize, status, plan, inspect, explain, losses, report, check, remove, clean, copy, ui):
    main.add_command(command)
