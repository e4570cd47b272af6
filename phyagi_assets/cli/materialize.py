"""Commands that plan and build mixtures, and clean the store."""

import os
import sys
from datetime import timedelta

import click

from phyagi_assets.cli.common import EPILOG, FAILED, LAST_POSITION, MISUSED, folder_options, log_to, print_error, report_errors
from phyagi_assets.cli.console import new_console
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import counted
from phyagi_assets.settings import Settings


@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--at", type=click.IntRange(1, LAST_POSITION), metavar="POSITION", help="Change a mixture from this position on.")
@click.option("--jobs", "-j", type=click.IntRange(1, 1024), help="Processes that build in parallel.  [default: one for every 8 processors]")
@folder_options
def materialize(names: tuple[str, ...], at: int | None, jobs: int | None, data: str | None, store: str | None) -> None:
    """Bring corpora and mixtures up to date, through Dagster.

    Like make, this command builds only what has changed. The NAME of a mixture also builds its corpora. Without a NAME, everything
    that is declared is built.

    A mixture whose corpora or weights have changed gets a new plan with a new order. If a training run is using the mixture, pass the
    position that it has reached as --at: the order up to that position does not change.
    """
    with report_errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.build.examine import examine_catalog
        from phyagi_assets.build.outcome import Outcome
        from phyagi_assets.cli.progress import BarProgress
        from phyagi_assets.cli.render import catalog_trees
        from phyagi_assets.declare.catalog import read_catalog
        from phyagi_assets.orchestration.recorded_digests import RecordedDigests
        from phyagi_assets.steps.step import Workspace
        from phyagi_assets.store.data_folders import claim
        from phyagi_assets.store.places import open_store

        console = new_console()
        catalog, _ = read_catalog(settings.require_data())
        chosen = catalog.select(names)
        if at is not None and (len(names) != 1 or names[0] not in catalog.mixtures):
            raise PhyagiAssetsError("--at is a position of one mixture; name that mixture, and nothing else")
        workspace = Workspace(data=settings.data, store=open_store(settings.store))
        if workspace.store.is_remote:
            workspace.store.names()  # before anything is written: some servers create a bucket that is not there
        # Duplicate stderr for the progress bar: Dagster captures the original into the logs of its runs.
        messages = new_console(file=os.fdopen(os.dup(2), "w"))
        progress = BarProgress(messages)
        log_to(messages)
        claim(workspace.store, settings.data, [*chosen.corpora, *chosen.mixtures])
        if restored := workspace.store.restore_all():
            messages.print(
                f"{counted(restored, 'artifact')} without a link, as in a copied store; the links were restored", highlight=False
            )
        recorded = RecordedDigests(settings.create_dagster_home())
        examined = examine_catalog(chosen, workspace)
        if at is None and examined.is_current and recorded.match(examined.digests()):
            workspace.store.remove_abandoned_files()
            outcome = Outcome(current=examined.count)
        else:
            recorded.forget([*chosen.corpora, *chosen.mixtures])
            from phyagi_assets.orchestration.instance import open_instance
            from phyagi_assets.orchestration.materialize import Runner

            with open_instance(settings) as instance:
                runner = Runner(chosen, workspace, instance, progress)
                work = runner.stale(examined)
                with progress.over(len(work), sum(item.bytes for item in work)):
                    outcome = runner.run(work, at, jobs)
            recorded.remember(runner.recorded())
        for tree in catalog_trees(chosen, workspace.store, {name: corpus.partitions for name, corpus in examined.corpora.items()}):
            console.print(tree)
        console.print(f"{len(outcome.built)} built, {outcome.current} up to date, {len(outcome.failed)} failed", highlight=False)
        for name, reason in outcome.failed.items():
            print_error(f"{name}: {reason}")
        broken = () if names else catalog.broken
        for each in broken:
            print_error(f"{each.reason}; {each.name} was left out")
        sys.exit(FAILED if outcome.failed else MISUSED if broken else 0)


@click.command(epilog=EPILOG)
@click.argument("name")
@click.option("--tokens", metavar="N", help="Tokens that the run reads, such as 300B.  [default: an epoch of the mixture]")
@folder_options
def plan(name: str, tokens: str | None, data: str | None, store: str | None) -> None:
    """Show what a run over a mixture would read, before anything is built.

    Lists the tokens and epochs of each corpus, marks corpora that would be read more often than max_epochs allows, and estimates
    the disk space and time that building takes. For partitions that are not built yet, numbers are estimated from the beginning of
    their text.
    """
    with report_errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.cli.render import show_forecast
        from phyagi_assets.declare.catalog import read_catalog
        from phyagi_assets.formatting import parsed
        from phyagi_assets.inspection.forecast import forecast
        from phyagi_assets.steps.step import Workspace
        from phyagi_assets.store.places import open_store

        catalog, _ = read_catalog(settings.require_data())
        catalog.select([name])
        if name not in catalog.mixtures:
            raise PhyagiAssetsError(f"{name!r} is not a declared mixture; declared mixtures: {', '.join(catalog.mixtures) or 'none'}")
        console = new_console()
        log_to(new_console(stderr=True))
        workspace = Workspace(data=settings.data, store=open_store(settings.store))
        count = parsed(tokens) if tokens is not None else None
        show_forecast(console, forecast(catalog.mixtures[name], catalog.corpora, workspace, count))


@click.command(epilog=EPILOG)
@click.option("--old-plans", is_flag=True, help="Also remove superseded plans, and the versions that only they name.")
@click.option("--yes", is_flag=True, help="Remove what is listed; without this option, nothing is removed.")
@click.option(
    "--grace",
    metavar="HOURS",
    type=click.FloatRange(min=0, max=1e6),
    default=24,
    show_default=True,
    help="Keep versions written or published within this many hours, because a run may be reading them.",
)
@folder_options
def clean(old_plans: bool, yes: bool, grace: float, data: str | None, store: str | None) -> None:
    """List versions in the store that are no longer needed, and remove them with --yes.

    A version is no longer needed if it is superseded, if its partition has disappeared from the source, or if its corpus or
    mixture is no longer declared. Versions named by a plan are kept, because a training run may still read them. With
    --old-plans, only those named by the published plan of each mixture are kept: use it when no run reads an older plan.

    Links and files that the store did not create are listed and never removed.
    """
    with report_errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.cli.render import show_removable
        from phyagi_assets.declare.catalog import load_catalog
        from phyagi_assets.inspection.garbage import Cleaning
        from phyagi_assets.steps.step import Workspace
        from phyagi_assets.store.data_folders import of_others
        from phyagi_assets.store.places import open_store

        catalog = load_catalog(settings.require_data())
        workspace = Workspace(data=settings.data, store=open_store(settings.store))
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
        removed = cleaning.remove(found) if yes and found else []
        show_removable(new_console(), found, cleaning, removed=removed if yes else None)
