"""Dagster runs that the command executes in its own process."""

import getpass
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from phyagi_assets.formatting import listed
from phyagi_assets.orchestration.databases import database_failure_message
from phyagi_assets.orchestration.names import (
    COMMAND,
    COMMAND_JOB,
    CORPUS_TAG,
    EXECUTOR,
    LAUNCHED_BY,
    PARTITIONS,
    PROCESSES,
    build_job_name,
    partitions_op_name,
    run_config,
)
from phyagi_assets.steps.step import Scope, Step

_USER = "user"
"""Tag of a run that the UI shows as its launcher."""
_TAGGED = 5
"""Largest number of corpora that a tag of a run lists."""
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class CommandRuns:
    """Runs of the jobs of a catalog.

    An interrupt raises a `KeyboardInterrupt`: Dagster ends only the run, but the user wants to stop all of them.
    """

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._definitions, self._instance = definitions, instance

    def build_partitions(self, keys: Mapping[str, Sequence[str]], processes: int | None, executor: str) -> str:
        """Build partitions, given their keys by corpus, and return the reason if the run failed."""
        config = run_config(partitions_op_name(COMMAND_JOB), **{PARTITIONS: keys, PROCESSES: processes, EXECUTOR: executor})
        return self._run(self._definitions.resolve_job_def(COMMAND_JOB), config, tags=_tags(keys))

    def run_step(self, key: dg.AssetKey, step: Step, config: Mapping[str, Any]) -> str:
        """Run a step that is not partitioned, and return the reason if it failed."""
        job = (
            self._definitions.resolve_job_def(build_job_name(key.path[0]))  # the name by which the UI shows the run
            if step.scope is Scope.MIXTURE
            else self._definitions.resolve_implicit_global_asset_job_def()
        )
        return self._run(job, config, tags=_tags(), asset_selection=[key])

    def _run(self, job: dg.JobDefinition, config: Mapping[str, Any], **options: Any) -> str:
        result = job.execute_in_process(run_config={**_QUIET, **config}, instance=self._instance, raise_on_error=False, **options)
        if _interrupted(result):
            raise KeyboardInterrupt
        return "" if result.success else _reason(result, self._instance.root_directory)


def _tags(corpora: Iterable[str] = ()) -> dict[str, str]:
    """Return the tags of a run: that the command launched it, for which user, and the corpora that it builds."""
    user: dict[str, str] = {}
    with suppress(OSError, KeyError):  # a container may run as a user without a name
        user = {_USER: getpass.getuser()}
    names = sorted(corpora)
    return {LAUNCHED_BY: COMMAND, **user, **({CORPUS_TAG: listed(names, _TAGGED)} if names else {})}


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    ends = [event.job_failure_data.error for event in result.all_events if event.event_type is dg.DagsterEventType.RUN_FAILURE]
    return any(error and error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt") for error in ends)


def _reason(result: dg.ExecuteInProcessResult, home: str) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                return database_failure_message(failure.error, home) or failure.error.to_string()
    return f"run {result.run_id} failed; the UI shows why"
