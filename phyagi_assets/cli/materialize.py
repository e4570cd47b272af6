"""The command that builds corpora and mixtures."""

import logging
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from phyagi_assets.cli.common import WholeNumber, exit_after, number_option, open_workspace, with_settings
from phyagi_assets.cli.imports import keep_pandas_out
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import LARGEST, counted
from phyagi_assets.settings import Settings

if TYPE_CHECKING:
    from phyagi_assets.build.examine import ExaminedCatalog
    from phyagi_assets.build.outcome import Outcome
    from phyagi_assets.build.selection import Selection
    from phyagi_assets.steps.step import Workspace

logger = logging.getLogger(__name__)


@verb()
@click.argument("names", nargs=-1, metavar="[TARGET]...")
@number_option("--at", type=WholeNumber(1, LARGEST), metavar="POSITION", help="Change a mixture from this position on.")
@number_option(
    "--jobs",
    "-j",
    type=WholeNumber(1, 1024),
    help="Processes that build in parallel.  [default: one for every 8 processors]",
)
@click.option(
    "--executor", metavar="WHERE", help="Where to build: local, ray or ray:ADDRESS.  [default: ray if RAY_ADDRESS is set, otherwise local]"
)
@click.option("--dry-run", is_flag=True, help="Show what would be built, and why; build and write nothing.")
@with_settings
def materialize(
    output: Output, names: tuple[str, ...], at: int | None, jobs: int | None, executor: str | None, dry_run: bool, settings: Settings
) -> None:
    """Build the corpora and mixtures that are missing or stale.

    Like make, this command builds only what has changed. Without a TARGET, everything that is declared is built. Dagster records what was
    built.

    \b
    A TARGET is
      a mixture, with its corpora    demo
      a corpus                       shakespeare
      one partition                  shakespeare/hamlet
      a corpus up to a step          shakespeare/tokenized_arrow
      one partition up to a step     shakespeare/tokenized_arrow/hamlet

    A mixture whose corpora or weights have changed gets a new plan with a new order. If a training run is using the mixture, pass the
    position that it has reached as --at: the order up to that position does not change.
    """
    from phyagi_assets.build.selection import select
    from phyagi_assets.cli.render import show_outcome
    from phyagi_assets.declare.catalog import read_catalog
    from phyagi_assets.execution.ray_address import chosen_executor, default_executor
    from phyagi_assets.inspection.materialize_report import MaterializeReport

    executor = default_executor() if executor is None else executor
    chosen_executor(executor)
    catalog, _ = read_catalog(settings.require_data())
    selection = select(catalog, names)
    chosen = selection.catalog
    if at is not None and (len(names) != 1 or names[0] not in catalog.mixtures):
        raise PhyagiAssetsError("--at is a position of one mixture; name that mixture, and nothing else")
    workspace = open_workspace(settings)
    broken = () if names else catalog.broken
    if dry_run:
        from phyagi_assets.cli.render_state import show_dry_run
        from phyagi_assets.inspection.dry_run import dry_run as find_stale
        from phyagi_assets.store.read_only import read_only

        output.messages()
        with read_only(workspace.store) as view:
            found = find_stale(selection, replace(workspace, store=view))
        output.report(found, lambda console: show_dry_run(console, found))
        exit_after(found.failed, broken)
    if workspace.store.is_remote:
        workspace.store.names()  # before anything is written: some servers create a missing bucket
    examined, outcome = _bring_up_to_date(output, settings, selection, workspace, at, jobs, executor)
    partitions = {name: corpus.partitions for name, corpus in examined.corpora.items()}
    report = MaterializeReport.of(outcome, broken)
    output.report(report, lambda console: show_outcome(console, report, chosen, workspace.store, partitions))
    exit_after(report.failed, broken)


def _bring_up_to_date(
    output: Output, settings: Settings, selection: "Selection", workspace: "Workspace", at: int | None, jobs: int | None, executor: str
) -> tuple["ExaminedCatalog", "Outcome"]:
    """Build stale artifacts. Dagster is not imported if there are none and its instance has recorded all versions."""
    from phyagi_assets.build.examine import examine_selection
    from phyagi_assets.build.outcome import Outcome
    from phyagi_assets.cli.progress import ConsoleProgress
    from phyagi_assets.orchestration.recorded_digests import RecordedDigests
    from phyagi_assets.store.data_folders import claim

    names = [*selection.catalog.corpora, *selection.catalog.mixtures]
    progress = ConsoleProgress(output, output.messages(detached=True))
    claim(workspace.store, settings.data, names)
    if restored := workspace.store.restore_all():
        logger.info("%s without a link, as in a copied store; the links were restored", counted(restored, "artifact"))
    recorded = RecordedDigests(settings.create_dagster_home())
    with progress.before("Examining sources"):
        examined = examine_selection(selection, workspace)
    if at is None and examined.is_current and recorded.match(examined.digests()):
        workspace.store.remove_abandoned_files()
        outcome = Outcome(current=examined.count)
    else:
        recorded.forget(names)
        keep_pandas_out()
        with ExitStack() as opened:
            with progress.before("Starting Dagster"):
                from phyagi_assets.orchestration.instance import open_instance
                from phyagi_assets.orchestration.materialize import Runner

                instance = opened.enter_context(open_instance(settings))
                runner = Runner(selection.catalog, workspace, instance, progress, selection.flow)
                work = runner.stale(examined)
            with progress.track({item.name: item.steps for item in work}, sum(item.bytes for item in work)):
                outcome = runner.run(work, at, jobs, executor)
        if selection.is_whole:
            recorded.remember(runner.recorded())
    return examined, outcome
