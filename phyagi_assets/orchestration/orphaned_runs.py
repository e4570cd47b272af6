"""Detection of orphaned runs, whose process was killed or lost with the machine.

Dagster would show these runs as in progress forever, and count them towards the limit on concurrent runs. Each step holds a file lock while
it runs, which the kernel releases when the process dies.
"""

import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus

from phyagi_assets.orchestration.run_targets import targets
from phyagi_assets.store.base import Store

_QUIET = timedelta(minutes=2)
"""Time since its last update before a run without a lock counts as orphaned; a run takes some time to start, and between two steps."""
_MESSAGE = (
    "The process of this run is gone. Published artifacts are kept. The next refresh of the corpus or the sensor mixtures requests what "
    "is missing; if the corpus has no refresh, re-execute this run, or run phyagi-assets materialize."
)
_UNDER_WAY = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
"""Statuses of runs that need a process; a queued run does not."""


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
    now = datetime.now(UTC)
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY)):
        if abs(now - record.update_timestamp) < _QUIET:  # after the clock was set back, the time may be in the future
            continue
        run = record.dagster_run
        built = targets(run, names)
        if built and built <= set(names) and _is_orphaned(run.run_id, store):
            instance.report_run_failed(run, _MESSAGE)
            found.append(run.run_id)
    return found


def _is_orphaned(run_id: str, store: Store) -> bool:
    """Return whether no process holds the lock of a run; tested several times, because the lock is free for a moment between two steps."""
    for pause in (0, 0.5, 0.5):
        time.sleep(pause)
        if store.is_run_active(run_id):
            return False
    return True
