"""The command ``clean``: remove superseded and undeclared versions."""

import math
from datetime import timedelta

import click

from phyagi_assets.cli.common import number_option, open_workspace, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.settings import Settings


class _Hours(click.FloatRange):
    """Number of hours in a range, under the name that messages use."""

    name = "number of hours"


def _checked(context: click.Context, option: click.Parameter, hours: float) -> float:
    if math.isnan(hours):  # no comparison excludes it
        raise click.BadParameter("nan is not a number of hours", context, option)
    return hours


@verb()
@click.option("--old-plans", is_flag=True, help="Also remove superseded plans, and the versions that only they name.")
@click.option("--yes", is_flag=True, help="Remove what is listed; without this option, nothing is removed.")
@number_option(
    "--grace",
    metavar="HOURS",
    type=_Hours(min=0, max=1_000_000),
    callback=_checked,
    default=24,
    show_default=True,
    help="Keep versions written or published within this many hours, because a run may be reading them.",
)
@with_settings
def clean(output: Output, old_plans: bool, yes: bool, grace: float, settings: Settings) -> None:
    """List versions that can be removed; with --yes, remove them.

    A version can be removed if a newer one has replaced it, if its partition is gone from the source, or if its corpus or
    mixture is no longer declared. Versions that a plan names are kept, because a training run may still read them. With
    --old-plans, only the versions that the published plan of each mixture names are kept; use it if no run reads an older plan.

    A second copy of a version can be removed too. Materialize leaves one when it restores the links of a store that was copied without
    them.

    Links and files that the store did not create are listed and never removed.
    """
    from phyagi_assets.cli.render import show_removable
    from phyagi_assets.declare.catalog import load_catalog
    from phyagi_assets.inspection.garbage import Cleaning, CleanReport
    from phyagi_assets.store.data_folders import of_others

    catalog = load_catalog(settings.require_data()).select(())  # an error if nothing is declared, as in a folder that is not mounted
    workspace = open_workspace(settings)
    partitions = {name: set(workspace.sources.partitions(corpus)) for name, corpus in catalog.corpora.items()}
    cleaning = Cleaning(
        store=workspace.store,
        partitions=partitions,
        mixtures=set(catalog.mixtures),
        old_plans=old_plans,
        grace=timedelta(hours=grace),
        others=of_others(workspace.store, settings.data, {*catalog.corpora, *catalog.mixtures}),
    )
    if yes and settings.has_store:
        workspace.store.remove_abandoned_files(everywhere=True)  # left by an earlier clean that was killed
    found = cleaning.find()
    removed = (cleaning.remove(found) if found else []) if yes else None
    report = CleanReport.of(found, cleaning, removed)
    output.report(report, lambda console: show_removable(console, report, grace))
