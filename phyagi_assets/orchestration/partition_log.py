"""Events of partitions in Dagster's log: materializations with their data versions, and results of checks."""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent

from phyagi_assets.build.outcome import PartitionResult, StepResult
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import CHECK_FAILED, Work
from phyagi_assets.inspection.named import LEFT_OUT
from phyagi_assets.orchestration.check_log import CheckLog
from phyagi_assets.orchestration.checks import check_results
from phyagi_assets.orchestration.corpus_totals import CorpusTotals
from phyagi_assets.orchestration.metadata import metadata
from phyagi_assets.orchestration.recorded import DATA_VERSION, Recorded
from phyagi_assets.orchestration.run_context import Context, step_key
from phyagi_assets.steps.checks.check import WITHIN_LIMITS


class PartitionLog:
    """Log of the events of a run's partitions.

    Parameters
    ----------
    recorded
        Data versions that Dagster has recorded, by corpus; a version that is recorded is not logged again. None to log everything.
    checks
        Log of the checks of the run's partitions.
    """

    def __init__(self, context: Context, builder: Builder, recorded: Mapping[str, Recorded] | None, checks: CheckLog) -> None:
        self._context, self._builder, self._recorded, self._checks = context, builder, recorded, checks
        self._totals = CorpusTotals(builder.workspace.store, context.instance.get_dynamic_partitions)
        self._left_out: dict[str, str] = {}
        self._announces = False
        self._last: set[str] = set()
        """Names of the partitions that were announced, and whose events are logged last."""
        self._deferred: list[tuple[PartitionResult, Sequence[StepResult]]] = []

    def announce(self, work: Sequence[Work]) -> None:
        """Show each corpus as in progress until the end of a run that is not a run of its assets, so that automation waits for it.

        For Dagster, an asset is in progress from the event that announces a partition until that partition is materialized. So one
        partition of each corpus is announced, and its events are logged after those of all other partitions.
        """
        self._announces = True
        for item in {item.corpus: item for item in work}.values():
            self._last.add(item.name)
            self._announce(item, item.steps[-1])

    def _announce(self, item: Work, step: str) -> None:
        planned = AssetMaterializationPlannedData(dg.AssetKey([item.corpus, step]), partition=item.key)
        event = DagsterEvent.build_asset_materialization_planned_event(self._context.run.job_name, step_key(self._context), planned)
        self._context.instance.report_dagster_event(event, self._context.run.run_id)

    def write(self, result: PartitionResult) -> bool:
        """Log the outcome of a partition. Return whether everything was recorded already."""
        left = [done for done in result.done if not self._is_recorded(result.work, done)]
        if result.work.name in self._last:
            self._deferred.append((result, left))
        else:
            self._write(result, left)
        return not left and not result.failure

    def _write(self, result: PartitionResult, left: Sequence[StepResult]) -> None:
        for done in left:
            if not done.failures:
                self._context.log_event(self._materialization(result.work, done))
            for check in check_results(done.checks):
                self._checks.write(dg.AssetKey([result.work.corpus, done.step]), result.work.key, check)
        self._checks.flush_if_due()
        if result.problem is not None:
            self._context.log.error(f"{result.work.name}: {result.failure}")
        if result.failure:
            self._checks.write_unmade(result)
            if self._announces:  # Dagster shows a partition as failed if it is announced and the run does not materialize it
                made = {done.step for done in result.done if not done.failures}
                for step in result.work.steps:
                    if step not in made:
                        self._announce(result.work, step)

    def close(self) -> None:
        """Log the deferred events and the remaining events of the checks."""
        for result, left in self._deferred:
            self._write(result, left)
        self._checks.close()

    def _is_recorded(self, work: Work, done: StepResult) -> bool:
        if self._recorded is None or not done.reused or done.failures:
            return False
        key = dg.AssetKey([work.corpus, done.step])
        recorded = self._recorded[work.corpus][done.step].get(work.key)
        if recorded in (done.fingerprint, CHECK_FAILED):
            return recorded == done.fingerprint
        record = self._context.instance.get_latest_data_version_record(key, partition_key=work.key)  # another run may have built it
        event = record.event_log_entry.asset_materialization if record else None
        return bool(event and (event.tags or {}).get(DATA_VERSION) == done.fingerprint)

    def _materialization(self, work: Work, done: StepResult) -> dg.AssetMaterialization:
        step = self._builder.flow[done.step]
        limits = {
            f"{check.name.replace('_', ' ')}, %": round(100 * check.numbers["share"], 3)
            for check in done.checks
            if check.part_of == WITHIN_LIMITS
        }
        facts = {**self._totals.facts(work.corpus, step, work.key, done.totals), **done.facts, **limits}
        if step.input is None and (left_out := self._left_out_of(work.corpus)):
            facts[LEFT_OUT] = left_out
        return dg.AssetMaterialization(
            asset_key=dg.AssetKey([work.corpus, done.step]),
            partition=work.key,
            metadata=metadata(facts),
            tags={DATA_VERSION: done.fingerprint},
        )

    def _left_out_of(self, corpus: str) -> str:
        if corpus not in self._left_out:
            self._left_out[corpus] = self._builder.workspace.sources.left_out(self._builder.corpora[corpus])
        return self._left_out[corpus]
