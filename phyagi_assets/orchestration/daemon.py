"""Dagster's daemon, changed to launch backfills sooner and to announce their partitions in one batch.

The daemon delays a backfill in two ways. It looks for new backfills every 30 seconds. And for each partition and asset that a run will
build, it writes an event, for which it opens, flushes and closes two databases; for a hundred tiny partitions, this takes as long as
building them.

``python -m phyagi_assets.orchestration.daemon`` takes the options of ``dagster-daemon``.
"""

import os
from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._daemon import controller
from dagster._daemon.cli import main

from phyagi_assets.orchestration.server_log import shorten_failures
from phyagi_assets.orchestration.sqlite import share_databases

_BATCH = "DAGSTER_EVENT_BATCH_SIZE"
"""Environment variable of Dagster: largest number of events that it stores at once; by default, it stores each separately."""
_MOST_EVENTS = 500
"""Largest number of events that are stored in one transaction, for which all other processes wait."""
_INTERVAL = "DEFAULT_DAEMON_INTERVAL_SECONDS"
_SECONDS = 5
"""Interval between checks for new backfills, in seconds; Dagster checks its queue of runs as often."""


def store_events(storage: SqliteEventLogStorage, events: Sequence[dg.EventLogEntry]) -> None:
    """Store events. Those that announce the materializations of one run are stored in one transaction per database.

    Parameters
    ----------
    storage
        The storage, which keeps the events of each run in a database, and those of assets in a database of all runs as well.
    """
    planned: list[dg.EventLogEntry] = []
    others: list[dg.EventLogEntry] = []
    for event in events:
        is_planned = event.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED and event.run_id == events[0].run_id
        (planned if is_planned else others).append(event)
    if planned:
        rows = [storage.prepare_insert_event(event) for event in planned]
        with storage.index_transaction() as connection:  # first, because it may fail, and Dagster then stores all events one by one
            for row, event in zip(rows, planned, strict=True):
                number = connection.execute(row).inserted_primary_key[0]
                storage._store_asset_event_tags(connection, [event], [number])  # as Dagster stores a single one
                storage._store_asset_event(connection, event, number)
        with storage.run_connection(planned[0].run_id) as connection:
            for row in rows:
                connection.execute(row)
    for event in others:
        storage.store_event(event)


if __name__ == "__main__":
    share_databases()
    shorten_failures()
    vars(controller)[_INTERVAL] = _SECONDS
    os.environ.setdefault(_BATCH, str(_MOST_EVENTS))
    SqliteEventLogStorage.store_event_batch = store_events  # type: ignore[method-assign, assignment]
    main()
