"""The command that builds corpora and mixtures."""

import logging
import sys

import click

from phyagi_assets.cli.common import FAILED, LAST_POSITION, MISUSED, folder_options, print_error
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import counted
from phyagi_assets.settings import Settings

logger = logging.getLogger(__name__)


@verb()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--at", type=click.IntRange(1, LAST_POSITION), metavar="POSITION", help="Change a mixture from this position on.")
@click.option("--jobs", "-j", type=click.IntRange(1, 1024), help="Processes that build in parallel.  [default: one for every 8 processors]")
@folder_options
def materialize(output: Output, names: tuple[str, ...], at: int | None, jobs: int | None, data: str | None, store: str | None) -> None:
    """Bring corpora and mixtures up to date, through Dagster.

    Like make, this command builds only what has changed. The NAME of a mixture also builds its corpora. Without a NAME, everything
    that is declared is built.

    A mixture whose corpora or weights have changed gets a new plan with a new order. If a training run is using the mixture, pass the
    position that it has reached as --at: the order up to that position does not change.
    """
    settings = Settings.resolve(data=data, store=store)
    from phyagi_assets.build.examine import examine_catalog
    from phyagi_assets.build.outcome import Outcome
    from phyagi_assets.cli.progress import BarProgress
    from phyagi_assets.cli.render import show_outcome
    from phyagi_assets.declare.catalog import read_catalog
    from phyagi_assets.inspection.materializing import MaterializeReport
    from phyagi_assets.orchestration.recorded_digests import RecordedDigests
    from phyagi_assets.steps.step import Workspace
    from phyagi_assets.store.data_folders import claim
    from phyagi_assets.store.places import open_store

    catalog, _ = read_catalog(settings.require_data())
    chosen = catalog.select(names)
    if at is not None and (len(names) != 1 or names[0] not in catalog.mixtures):
        raise PhyagiAssetsError("--at is a position of one mixture; name that mixture, and nothing else")
    workspace = Workspace(data=settings.data, store=open_store(settings.store))
    if workspace.store.is_remote:
        workspace.store.names()  # before anything is written: some servers create a bucket that is not there
    messages = output.messages(detached=True)
    progress = BarProgress(messages, quiet=output.quiet)
    claim(workspace.store, settings.data, [*chosen.corpora, *chosen.mixtures])
    if restored := workspace.store.restore_all():
        logger.info("%s without a link, as in a copied store; the links were restored", counted(restored, "artifact"))
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
    partitions = {name: corpus.partitions for name, corpus in examined.corpora.items()}
    broken = () if names else catalog.broken
    report = MaterializeReport.of(outcome, broken)
    output.report(report, lambda console: show_outcome(console, report, chosen, workspace.store, partitions))
    for name, reason in outcome.failed.items():
        print_error(f"{name}: {reason}")
    for each in broken:
        print_error(f"{each.reason}; {each.name} was left out")
    sys.exit(FAILED if outcome.failed else MISUSED if broken else 0)
