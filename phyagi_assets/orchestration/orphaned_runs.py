"""Runs whose process is gone: killed, or lost with the machine.

Dagster would hold them to be under way for ever, and count them among the runs that may be under way at once. A step holds a lock while
it runs, which the kernel lets go of when the process dies.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus

from phyagi_assets.store.local import LOCKS, Store
from phyagi_assets.store.locks import is_held, locked

_QUIET = timedelta(minutes=2)
"""How long a run may take to begin, and between two steps."""
_MESSAGE = "The process of this run is gone. What it had published stands; the next look asks for the rest."
_UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


@contextmanager
def at_work(run_id: str, store: Store) -> Iterator[None]:
    """Hold the lock of a run while one of its steps runs."""
    path = _lock(run_id, store)
    with store.writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with locked(path):
        yield
        path.unlink(missing_ok=True)


def fail_abandoned(instance: dg.DagsterInstance, store: Store, names: Collection[str]) -> list[str]:
    """Report the runs as failed whose process is gone; their ids.

    Parameters
    ----------
    names
        Of the corpora and mixtures whose runs these may be: others have no such lock.
    """
    before = datetime.now(UTC) - _QUIET
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY, updated_before=before)):
        run = record.dagster_run
        assets = run.asset_selection or ()
        if assets and all(key.path[0] in names for key in assets) and _is_gone(_lock(run.run_id, store)):
            instance.report_run_failed(run, _MESSAGE)
            found.append(run.run_id)
    return found


def _is_gone(lock: Path, looks: int = 3) -> bool:
    """Whether nobody holds a lock, and not only for the moment between two steps."""
    for look in range(looks):
        if is_held(lock):
            return False
        time.sleep(0.5 if look < looks - 1 else 0)
    return True


def _lock(run_id: str, store: Store) -> Path:
    return store.root / LOCKS / "at_work" / run_id
