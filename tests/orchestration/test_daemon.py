"""The daemon of the UI stores the planned artifacts of a run in one transaction."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._daemon import backfill, controller
from sqlalchemy import text

from phyagi_assets.orchestration.daemon import store_events
from phyagi_assets.orchestration.sqlite import fast_records

KEYS = [dg.AssetKey(["plays", step]) for step in ("raw_dataset", "numpy_cache")]
PARTITIONS = ["one", "two", "three"]


def _raise(problem: Exception, *_: object) -> None:
    raise problem


def announced(run: str) -> list[dg.EventLogEntry]:
    """Return the events that Dagster's daemon stores before it enqueues a run."""
    planned = [
        DagsterEvent.build_asset_materialization_planned_event("job", "step", AssetMaterializationPlannedData(key, partition=partition))
        for key in KEYS
        for partition in PARTITIONS
    ]
    events = [*planned, DagsterEvent("PIPELINE_ENQUEUED", "job")]
    return [
        dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None, level=10, user_message="", run_id=run, timestamp=float(second), job_name="job", dagster_event=event
        )
        for second, event in enumerate(events)
    ]


def tables(storage: SqliteEventLogStorage, run: str) -> list[Sequence[tuple[object, ...]]]:
    """Return the content of the databases of a run and of all runs."""
    logged = "select dagster_event_type, asset_key, partition, timestamp, event from event_logs order by id"
    assets = "select asset_key, last_run_id from asset_keys order by asset_key"
    found = []
    for connect, statement in (
        (storage.run_connection(run), logged),
        (storage.index_connection(), logged),
        (storage.index_connection(), assets),
    ):
        with connect as connection:
            found.append([tuple(row) for row in connection.execute(text(statement))])
    return found


def test_events_stored_at_once_are_those_that_dagster_stores_one_by_one(tmp_path: Path) -> None:
    with fast_records():
        one_by_one, at_once = (SqliteEventLogStorage(str(tmp_path / name)) for name in ("one_by_one", "at_once"))
        one_by_one.store_event_batch(announced("run"))
        store_events(at_once, announced("run"))
        assert tables(at_once, "run") == tables(one_by_one, "run")
        assert len(tables(at_once, "run")[0]) == len(KEYS) * len(PARTITIONS) + 1


def test_nothing_is_stored_twice_if_the_database_of_all_runs_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fast_records():
        storage = SqliteEventLogStorage(str(tmp_path / "records"))
        monkeypatch.setattr(storage, "_store_asset_event", partial(_raise, TimeoutError()))
        with pytest.raises(TimeoutError):
            store_events(storage, announced("run"))
        assert [len(found) for found in tables(storage, "run")] == [0, 0, 0]


def test_daemon_checks_backfills_at_the_interval_of_dagster() -> None:
    name = "DEFAULT_DAEMON_INTERVAL_SECONDS"
    assert name in vars(controller)
    assert name in backfill.execute_backfill_iteration_loop.__code__.co_names, "it is read when the daemon starts, from the module"
