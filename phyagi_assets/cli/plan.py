"""The command that forecasts a run over a mixture."""

import click

from phyagi_assets.cli.common import open_workspace, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings
from phyagi_assets.suggestions import unknown_name


@verb()
@click.argument("name")
@click.option("--tokens", metavar="N", help="Tokens that the run reads, such as 300B.  [default: an epoch of the mixture]")
@with_settings
def plan(output: Output, name: str, tokens: str | None, settings: Settings) -> None:
    """Forecast a run over a mixture before anything is built.

    Lists the tokens and epochs of each corpus, marks corpora that would be read more often than max_epochs allows, and estimates
    the disk space and time that building takes. For partitions that are not built yet, numbers are estimated from the beginning of
    their text.
    """
    from phyagi_assets.cli.render import show_forecast
    from phyagi_assets.declare.catalog import read_catalog
    from phyagi_assets.formatting import parsed
    from phyagi_assets.inspection.forecast import forecast

    catalog, _ = read_catalog(settings.require_data())
    catalog.select([name])
    if name not in catalog.mixtures:
        raise PhyagiAssetsError(unknown_name(name, "declared mixture", "declared mixtures", catalog.mixtures))
    output.messages()
    workspace = open_workspace(settings)
    try:
        limit = parsed(tokens) if tokens is not None else None
    except ValueError as problem:
        raise PhyagiAssetsError(f"--tokens: {problem}") from None
    if limit == 0:
        raise PhyagiAssetsError(f"--tokens: is {tokens}; a run reads at least one token")
    found = forecast(catalog.mixtures[name], catalog.corpora, workspace, limit)
    output.report(found, lambda console: show_forecast(console, found))
