"""Build many partitions in one run, and log the outcome of each as Dagster events.

Both the runs of assets and the jobs for stale partitions use this module. Only the process of the run writes to Dagster's instance;
processes that build partitions send it their results.
"""

import json
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import SCHEDULE_NAME_TAG

from phyagi_assets.build.executors import new_executor
from phyagi_assets.build.failures import Failures
from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.partitions import build_partitions
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import (
    AccessError,
    ClusterDownError,
    DeclarationError,
    PhyagiAssetsError,
    SourceChangedError,
    SourceDownError,
    SourceError,
    TokenizerDownError,
    TokenizerError,
    translate_limit_errors,
)
from phyagi_assets.execution.ray_address import RayAddress, chosen_executor
from phyagi_assets.formatting import counted
from phyagi_assets.orchestration.check_log import CheckLog
from phyagi_assets.orchestration.declared import EditedError
from phyagi_assets.orchestration.names import COMMAND, EXECUTOR, FAILURE_TAG, LASTING, LASTING_TAG, LAUNCHED_BY, OPEN, PROCESSES, REFRESH
from phyagi_assets.orchestration.partition_log import PartitionLog
from phyagi_assets.orchestration.progress import RunProgress
from phyagi_assets.orchestration.recorded import Recorded
from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from phyagi_assets.orchestration.run_context import Context, op_context
from phyagi_assets.orchestration.run_lock import hold_run
from phyagi_assets.orchestration.sqlite import fast_records

_RETRIES = 3
"""Number of retries of a run that the UI or automation launched if its sources or its cluster are down."""
_PAUSES = 30
"""Wait before the first retry, as a multiple of the first pause between requests; each further wait is twice as long."""
_DOWN = (SourceDownError, TokenizerDownError, ClusterDownError)
"""Errors of servers that may answer later."""
_PASSING = (AccessError, SourceChangedError, SourceDownError, EditedError)
"""Errors of sources and declarations that may disappear although no input changes."""
_FEW = 10
"""Largest number of partitions of a run whose log has an event for each result of a check."""
_LISTED = 20
"""Largest number of failed partitions that the failure of a run describes."""
_TAGGED = 500
"""Largest number of failed partitions that a tag of a run lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionRun:
    """A run that builds partitions with the configured executor and number of processes.

    Parameters
    ----------
    recorded
        Data versions that Dagster has recorded, by corpus. A version that another run has built and recorded in the meantime is not logged
        again. None if everything is logged, because a user asked for it.
    checks
        Names of the steps, by corpus, of which Dagster expects the result of every check of every partition. In a run of few partitions,
        each of these results is an event. Otherwise, the results of partitions that fail are events, and there is one event for all others.
    """

    context: Context
    builder: Builder
    recorded: Mapping[str, Recorded] | None
    checks: Mapping[str, Collection[str]] = field(default_factory=dict)

    def build(self, work: Sequence[Work], failed: Sequence[PartitionResult] = ()) -> None:
        """Build partitions, and log their events.

        Parameters
        ----------
        failed
            Partitions that have failed already, because they could not be examined.

        Raises
        ------
        dagster.Failure
            At the end, if a partition failed. All others are built.
        """
        config, progress_of = op_context(self.context).op_config, self.context.resources.progress
        processes: int | None = config[PROCESSES]
        if processes is not None and processes < 1:
            raise PhyagiAssetsError(f"processes: at least 1 process builds partitions, not {processes}")
        cluster = chosen_executor(config[EXECUTOR], "executor")
        is_long = len(work) + len(failed) > _FEW
        checks = CheckLog(self.context, self.builder.flow, self.checks, is_long=is_long)
        log = PartitionLog(self.context, self.builder, self.recorded, checks)
        if self.recorded is not None and not isinstance(self.context, dg.AssetExecutionContext):  # Dagster announces the assets of a run
            log.announce(work)
        results: list[PartitionResult] = []
        with progress_of([*work, *(result.work for result in failed)], self.context.log) as progress:
            try:
                with closing(self._built(work, processes, cluster, progress)) as built:
                    for result in chain(failed, built):
                        self._record_failure(result)
                        progress.ended(result, is_current=log.write(result))
                        results.append(result)
            finally:
                checks.flush()  # also if the run is cancelled
            self.builder.workspace.store.refresh()  # the processes that built the partitions have published them
            log.close()
        self._raise(results)

    def _built(
        self, work: Sequence[Work], processes: int | None, cluster: RayAddress | None, progress: RunProgress
    ) -> Generator[PartitionResult, None, None]:
        """Build partitions, report the number of bytes of source read, and yield the outcome of each."""
        left = {item.name: item.bytes for item in work}

        def advance(item: Work, consumed: int) -> None:
            consumed = min(consumed, left[item.name])
            left[item.name] -= consumed
            progress.advanced(consumed)

        executor = new_executor(self.builder, work, processes, cluster=cluster, on_start=progress.started, on_progress=advance)
        with closing(build_partitions(work, executor)) as ended:
            for result in ended:
                advance(result.work, left[result.work.name])  # nothing was read of a version that is reused
                yield result

    def _record_failure(self, result: PartitionResult) -> None:
        """Record the failure of a partition for ``phyagi-assets status``, or remove the record of an earlier one."""
        Failures(self.builder.workspace.store).record(result.work.name, result.failure, lasts=self._lasts(result))

    def _lasts(self, result: PartitionResult) -> bool:
        """Return whether a partition failed, and will fail again until an input changes."""
        if result.problem is None:
            return bool(result.failure)  # without an error, a check failed
        return is_lasting(result.problem, self.builder.corpora[result.work.corpus])

    def _raise(self, results: Sequence[PartitionResult]) -> None:
        failed = [result for result in results if result.failure]
        if not failed:
            return
        home = Path(self.context.instance.root_directory)
        RecordedDigests(home).forget({result.work.corpus for result in failed})  # the failures are recorded now
        lasting = [result.work.name for result in failed if self._lasts(result)]
        tags = {LASTING_TAG: json.dumps(lasting[:_TAGGED])} if lasting else {}
        if len(lasting) == len(failed):
            tags[FAILURE_TAG] = LASTING
        if tags:
            self.context.instance.add_run_tags(self.context.run.run_id, tags)
        problems = [result.problem for result in failed]
        if len(results) == 1:
            raise _step_failure(self.context, failed[0].failure, problems)
        lines = [f"{result.work.name}: {result.failure}" for result in failed[:_LISTED]]
        more = f"\nand {len(failed) - _LISTED:,} more" if len(failed) > _LISTED else ""
        heading = f"{len(failed):,} of {counted(len(results), 'partition')} failed:"
        raise _step_failure(self.context, "\n".join([heading, *lines]) + more, problems)


@contextmanager
def run_of(context: Context, builder: Builder, names: Collection[str]) -> Iterator[None]:
    """Hold the lock of a run, and turn its errors into failures without a traceback."""
    if FAILURE_TAG in context.run.tags or LASTING_TAG in context.run.tags:  # a re-executed run inherits the tags
        context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: OPEN, LASTING_TAG: "[]"})
    try:
        with translate_limit_errors(", ".join(names)), hold_run(context, [builder.corpora[name] for name in names]), fast_records():
            yield
    except PhyagiAssetsError as problem:
        if is_lasting(problem, None):
            context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: LASTING})
        raise _step_failure(context, str(problem), [problem]) from problem


def _step_failure(context: Context, description: str, problems: Sequence[Exception | None]) -> dg.Failure | dg.RetryRequested:
    """Return the exception that ends a step: a failure, or a request for a retry if all problems are servers that are down.

    Runs of the command and of the sensors are not retried: the next command or tick requests them again. The next tick of a schedule may be
    a week away.
    """
    failure = dg.Failure(description=description, allow_retries=False)
    tags = context.run.tags
    is_repeated = tags.get(LAUNCHED_BY) in (COMMAND, REFRESH) and SCHEDULE_NAME_TAG not in tags
    if is_repeated or context.retry_number >= _RETRIES or not all(isinstance(problem, _DOWN) for problem in problems):
        return failure
    pause = context.resources.workspace.retry_policy.pause * _PAUSES * 2**context.retry_number
    context.log.warning(f"{description}\nTrying again in {pause:,.0f} s, up to {_RETRIES - context.retry_number} times")
    again = dg.RetryRequested(_RETRIES, seconds_to_wait=pause)
    again.__cause__ = failure
    return again


def is_lasting(problem: Exception, corpus: Corpus | None) -> bool:
    """Return whether an error persists until an input changes. Errors caused by the disk, a server or another step may disappear."""
    if isinstance(problem, TokenizerError):
        return corpus is not None and "@" not in corpus.config.tokenizer
    return isinstance(problem, DeclarationError | SourceError) and not isinstance(problem, _PASSING)
