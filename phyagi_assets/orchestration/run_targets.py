"""Find the corpora and mixtures that runs and backfills build."""

from collections.abc import Collection, Mapping

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from phyagi_assets.orchestration.names import COMMAND_JOB, PARTITIONS, build_job_name, configured, stale_job_name
from phyagi_assets.orchestration.run_requests import UNDER_WAY

_IN_PROGRESS = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]


def targets(run: dg.DagsterRun, names: Collection[str]) -> set[str]:
    """Return the corpora and mixtures that a run builds; empty if it builds something else, or nothing that is still declared."""
    return _targets(run, names, _jobs(names))


def under_way(instance: dg.DagsterInstance, names: Collection[str]) -> set[str]:
    """Return the corpora and mixtures of the runs and backfills that are queued or in progress."""
    runs, jobs = instance.get_runs(dg.RunsFilter(statuses=sorted(UNDER_WAY, key=lambda status: status.value))), _jobs(names)
    return set().union(in_backfill(instance, names), *(_targets(run, names, jobs) for run in runs))


def in_backfill(instance: dg.DagsterInstance, names: Collection[str]) -> set[str]:
    """Return the corpora and mixtures of the backfills in progress, of assets or of jobs."""
    found, jobs = set[str](), _jobs(names)
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=_IN_PROGRESS)):
        found |= {key.path[0] for key in backfill.asset_selection or ()}
        found |= {jobs[job] for job in [backfill.job_name] if job in jobs}
    return found


def _targets(run: dg.DagsterRun, names: Collection[str], jobs: Mapping[str, str]) -> set[str]:
    if run.job_name == COMMAND_JOB:
        return set(configured(run, PARTITIONS)) or set(names)
    if run.job_name in jobs:
        return {jobs[run.job_name]}
    return {key.path[0] for key in run.asset_selection or ()}


def _jobs(names: Collection[str]) -> dict[str, str]:
    """Return the corpus or mixture that each job builds, by job name."""
    return {job: name for name in names for job in (build_job_name(name), stale_job_name(name))}
