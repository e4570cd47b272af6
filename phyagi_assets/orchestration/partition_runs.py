"""Build many partitions in one run, and log the outcome of each as Dagster events.

The runs of the assets and the jobs that build what is stale both come here. Only the process of the run writes to Dagster's instance;
processes that build partitions send it their results.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from phyagi_assets.build.partitions import Builder, build_partitions, new_executor, processes_by_default
from phyagi_assets.build.work import PartitionResult, StepResult, Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceDownError, SourceError, TokenizerError, memory_named
from phyagi_assets.formatting import counted
from phyagi_assets.inspection.describe import LEFT_OUT
from phyagi_assets.orchestration.checks import Verdict, verdicts
from phyagi_assets.orchestration.declared import require_as_requested
from phyagi_assets.orchestration.metadata import metadata
from phyagi_assets.orchestration.progress import Progress
from phyagi_assets.orchestration.recorded import DATA_VERSION, Recorded
from phyagi_assets.orchestration.sqlite import few_waits
from phyagi_assets.store.data_folders import claim
from phyagi_assets.tokenizers.prepare import find_commits

FAILURE_TAG, LASTING = "phyagi_assets/failure", "lasting"
"""Tag of a failed run, and its value if the cause persists until one of the run's inputs changes."""
LASTING_TAG = "phyagi_assets/lasting_failures"
"""Tag of a failed run: the partitions (``corpus/partition``) whose failure persists until an input changes, as a list in JSON."""
_LISTED = 20
"""Largest number of failed partitions that the failure of a run describes."""
_TAGGED = 500
"""Largest number of failed partitions that a tag of a run lists."""

Context = dg.AssetExecutionContext | dg.OpExecutionContext


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRun:
    """A run that builds partitions.

    Parameters
    ----------
    context
        Context of the run's only step.
    builder
        Builds the steps of a partition.
    progress
        Receiver of the run's progress.
    processes
        Largest number of processes; None for as many as keep all processors busy.
    recorded
        Data versions that Dagster has recorded, by corpus. A version that another run has built and recorded in the meantime is not logged
        again. None if everything is logged, because a user asked for it.
    checks
        Names of the steps, by corpus, of which Dagster expects the result of every check of every partition. For other steps, results are
        logged for partitions that fail, or whose last result was a failure, and once for all others.
    """

    context: Context
    builder: Builder
    progress: Progress
    processes: int | None = None
    recorded: Mapping[str, Recorded] | None = None
    checks: Mapping[str, Collection[str]] = field(default_factory=dict)

    def build(self, work: Sequence[Work], failed: Sequence[PartitionResult] = ()) -> None:
        """Build partitions, and log their events.

        Parameters
        ----------
        work
            The partitions to build.
        failed
            Partitions that have failed already, because they could not be examined.

        Raises
        ------
        dagster.Failure
            At the end, if a partition failed. The others are built all the same.
        """
        if self.processes is not None and self.processes < 1:
            raise PhyagiAssetsError(f"processes: at least 1 process builds partitions, not {self.processes}")
        corpora = [self.builder.corpora[name] for name in sorted({item.corpus for item in work})]
        results: list[PartitionResult] = []
        log = _Log(self.context, self.builder, self.recorded, self.checks)
        if self.recorded is not None:
            log.announce(work)
        commits = find_commits(corpora)
        all_of_them = [*work, *(result.work for result in failed)]
        with self.progress.over(all_of_them, self.context.log) as progress:
            bytes_left = {item.name: item.bytes for item in work}

            def on_progress(item: Work, consumed: int) -> None:
                consumed = min(consumed, bytes_left[item.name])
                bytes_left[item.name] -= consumed
                progress.advanced(consumed)

            for result in failed:
                log.write(result)
                progress.ended(result, is_current=False)
                results.append(result)
            executor = new_executor(
                self.builder,
                work,
                processes_by_default() if self.processes is None else self.processes,
                commits,
                on_start=progress.started,
                on_progress=on_progress,
            )
            with closing(build_partitions(work, executor)) as ended:
                for result in ended:
                    on_progress(result.work, bytes_left[result.work.name])  # bytes that were not reported, as of a version that is reused
                    is_current = log.write(result)
                    progress.ended(result, is_current=is_current)
                    results.append(result)
            log.close()
        self._raise(results)

    def _raise(self, results: Sequence[PartitionResult]) -> None:
        failed = [result for result in results if result.failure]
        if not failed:
            return
        lasting = [result.work.name for result in failed if _failed_permanently(result, self.builder.corpora[result.work.corpus])]
        tags = {LASTING_TAG: json.dumps(lasting[:_TAGGED])} if lasting else {}
        if len(lasting) == len(failed):
            tags[FAILURE_TAG] = LASTING
        if tags:
            self.context.instance.add_run_tags(self.context.run.run_id, tags)
        if len(results) == 1:
            raise dg.Failure(description=failed[0].failure, allow_retries=False)
        lines = [f"{result.work.name}: {result.failure}" for result in failed[:_LISTED]]
        more = f"\nand {len(failed) - _LISTED:,} more" if len(failed) > _LISTED else ""
        heading = f"{len(failed):,} of {counted(len(results), 'partition')} failed:"
        raise dg.Failure(description="\n".join([heading, *lines]) + more, allow_retries=False)


class _Log:
    """Writes the events of partitions to the log of a run."""

    def __init__(
        self, context: Context, builder: Builder, recorded: Mapping[str, Recorded] | None, checks: Mapping[str, Collection[str]]
    ) -> None:
        self._context, self._builder, self._recorded, self._checks = context, builder, recorded, checks
        self._left_out: dict[str, str] = {}
        self._failed_before: dict[dg.AssetCheckKey, set[str]] = {}
        self._passed: dict[dg.AssetCheckKey, int] = {}
        self._last: set[str] = set()
        self._held: list[tuple[PartitionResult, Sequence[StepResult]]] = []

    def announce(self, work: Sequence[Work]) -> None:
        """Show each corpus as being built until the end of a run that is not a run of its assets, so that automation waits for it.

        Dagster takes an asset to be in progress from the event that announces a partition until that partition is materialized. So one
        partition of each corpus is announced, and its events are logged after those of all other partitions.
        """
        for item in {item.corpus: item for item in work}.values():
            self._last.add(item.name)
            planned = AssetMaterializationPlannedData(dg.AssetKey([item.corpus, item.steps[-1]]), partition=item.key)
            step_key = str(self._context.op_handle)
            event = DagsterEvent.build_asset_materialization_planned_event(self._context.run.job_name, step_key, planned)
            self._context.instance.report_dagster_event(event, self._context.run.run_id)

    def write(self, result: PartitionResult) -> bool:
        """Log the outcome of a partition. Return whether everything was recorded already."""
        left = [done for done in result.done if not self._is_recorded(result.work, done)]
        if result.work.name in self._last:
            self._held.append((result, left))
        else:
            self._write(result, left)
        return not left and not result.failure

    def _write(self, result: PartitionResult, left: Sequence[StepResult]) -> None:
        for done in left:
            if not done.failures:
                self._context.log_event(self._materialization(result.work, done))
            for verdict in verdicts(done.checks):
                self._log_check(result.work, done.step, verdict)
        if result.problem is not None:
            self._context.log.error(f"{result.work.name}: {result.failure}")
        if result.failure:
            self._log_unmade_checks(result)

    def close(self) -> None:
        """Log what was held back, and one result for each check that is not logged for every partition."""
        for result, left in self._held:
            self._write(result, left)
        for key, passed in self._passed.items():
            self._log_evaluation(
                dg.AssetCheckEvaluation(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=True,
                    metadata={"partitions": passed},
                    description=f"{counted(passed, 'partition')} passed",
                )
            )

    def _is_recorded(self, work: Work, done: StepResult) -> bool:
        if self._recorded is None or not done.reused or done.failures:
            return False
        key = dg.AssetKey([work.corpus, done.step])
        if self._recorded[work.corpus][done.step].get(work.key) == done.fingerprint:
            return True
        record = self._context.instance.get_latest_data_version_record(key, partition_key=work.key)  # another run may have built it
        event = record.event_log_entry.asset_materialization if record else None
        return bool(event and (event.tags or {}).get(DATA_VERSION) == done.fingerprint)

    def _materialization(self, work: Work, done: StepResult) -> dg.AssetMaterialization:
        facts = dict(done.facts)
        if self._builder.flow[done.step].input is None and (left_out := self._left_out_of(work.corpus)):
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

    def _log_check(self, work: Work, step: str, verdict: Verdict) -> None:
        key = dg.AssetCheckKey(dg.AssetKey([work.corpus, step]), verdict.name)
        if verdict.passed and step not in self._checks.get(work.corpus, ()) and work.key not in self._failing(key):
            self._passed[key] = self._passed.get(key, 0) + 1
            return
        self._log_evaluation(
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=verdict.passed,
                metadata=verdict.metadata,
                description=verdict.description,
                partition=work.key,
            )
        )

    def _log_evaluation(self, evaluation: dg.AssetCheckEvaluation) -> None:
        self._context.log_event(evaluation)  # type: ignore[arg-type]  # logged like any other event, though it is not declared

    def _log_unmade_checks(self, result: PartitionResult) -> None:
        """Log the checks that a failed partition did not come to as failed, with the reason; otherwise the UI shows them without one."""
        made = {done.step for done in result.done}
        expected = self._checks.get(result.work.corpus, ())
        for name in (step for step in result.work.steps if step not in made and step in expected):
            for check in self._builder.flow[name].checks:
                verdict = Verdict(name=check, passed=False, description=f"Not built: {result.failure}")
                self._log_check(result.work, name, verdict)

    def _failing(self, key: dg.AssetCheckKey) -> set[str]:
        """Return the partitions whose last result of a check was a failure."""
        if key not in self._failed_before:
            known = self._context.instance.event_log_storage.get_asset_check_partition_info([key])
            passed = AssetCheckExecutionRecordStatus.SUCCEEDED
            self._failed_before[key] = {of.partition_key for of in known if of.partition_key and of.latest_execution_status is not passed}
        return self._failed_before[key]


@contextmanager
def run_of(context: Context, builder: Builder, names: Collection[str]) -> Iterator[None]:
    """Hold the lock of a run, and turn its errors into failures without a traceback.

    Parameters
    ----------
    context
        Context of the step.
    builder
        Builder with the corpora and the workspace.
    names
        Names of the corpora that the run builds.
    """
    workspace = builder.workspace
    try:
        with memory_named(", ".join(names)), workspace.store.hold_run_lock(context.run.run_id), few_waits():
            for name in names:
                require_as_requested(context.run.tags, builder.corpora[name])
            claim(workspace.store, workspace.data, list(names), context.log)
            yield
    except PhyagiAssetsError as problem:
        if is_permanent(problem, None):
            context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: LASTING})
        raise dg.Failure(description=str(problem), allow_retries=False) from problem


def is_permanent(problem: Exception, corpus: Corpus | None) -> bool:
    """Return whether an error persists until an input changes. Errors caused by the disk, a server or another step may go away."""
    if isinstance(problem, TokenizerError):
        return corpus is not None and "@" not in corpus.config.tokenizer
    return isinstance(problem, DeclarationError | SourceError) and not isinstance(problem, SourceDownError)


def _failed_permanently(result: PartitionResult, corpus: Corpus) -> bool:
    return result.problem is None or is_permanent(result.problem, corpus)  # without an error, a check failed
