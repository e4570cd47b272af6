"""Detection of orphaned runs, whose process was killed or lost with the machine.

Dagster would show these runs as in progress forever, and count them towards the limit on concurrent runs. Each step holds a file lock while
it runs, which the kernel releases when the process dies.
"""

import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus

from phyagi_assets.orchestration.names import COMMAND_JOB, PARTITIONS, build_job_name, configured, stale_job_name
from phyagi_assets.store.base import Store

_QUIET = timedelta(minutes=2)
"""Time since its last update before a run without a lock counts as orphaned; a run takes some time to start, and between two steps."""
_MESSAGE = (
    "The process of this run is gone. What it published is kept. The next refresh of the corpus requests the rest; if it has no refresh, "
    "re-execute this run, or run phyagi-assets materialize."
)
_UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def fail_orphaned_runs(instance: dg.DagsterInstance, store: Store, names: Collection[str]) -> list[str]:
    """Report orphaned runs to Dagster as failed.

    Parameters
    ----------
    names
        Names of corpora and mixtures. Only runs of their assets and jobs are considered, because other runs hold no lock.

    Returns
    -------
    list of str
        Ids of the runs reported as failed.
    """
    before = datetime.now(UTC) - _QUIET
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY, updated_before=before)):
        run = record.dagster_run
        if _builds(run, names) and _is_gone(run.run_id, store):
            instance.report_run_failed(run, _MESSAGE)
            found.append(run.run_id)
    return found


def _builds(run: dg.DagsterRun, names: Collection[str]) -> bool:
    """Return whether a run builds artifacts of the named corpora and mixtures."""
    if run.job_name == COMMAND_JOB or run.job_name in map(stale_job_name, names):
        return all(name in names for name in configured(run, PARTITIONS))
    if run.job_name in map(build_job_name, names):
        return True
    assets = run.asset_selection or ()
    return bool(assets) and all(key.path[0] in names for key in assets)


def _is_gone(run_id: str, store: Store, times: int = 3) -> bool:
    """Return whether no process holds the lock of a run; tested several times, because the lock is free for a moment between two steps."""
    for number in range(times):
        if store.is_run_active(run_id):
            return False
        time.sleep(0.5 if number < times - 1 else 0)
    return True
