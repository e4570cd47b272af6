"""Results of checks of partitions in Dagster's records.

For Dagster, a result is current only if it names the materialization that was checked; the page of the check shows all other partitions as
missing.

A run that logs every result as an event spends more time on its log than on building small partitions. So passed results are inserted into
the table of results in one statement, and the run logs one event for all of them.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.events import DagsterEvent
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import serialize_value
from sqlalchemy import Delete, delete


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionCheck:
    """The result of a check of one partition."""

    key: dg.AssetCheckKey
    partition: str
    result: dg.AssetCheckResult

    def evaluation(self, checked: AssetCheckEvaluationTargetMaterializationData | None) -> dg.AssetCheckEvaluation:
        """Return the result as Dagster records it, given the materialization that was checked."""
        return dg.AssetCheckEvaluation(
            asset_key=self.key.asset_key,
            check_name=self.key.name,
            passed=self.result.passed,
            metadata=self.result.metadata,
            description=self.result.description,
            partition=self.partition,
            target_materialization_data=checked,
        )


def latest_evaluation(instance: dg.DagsterInstance, result: PartitionCheck) -> dg.AssetCheckEvaluation:
    """Return a result as Dagster records it for the latest materialization of the partition."""
    only = dg.AssetRecordsFilter(asset_key=result.key.asset_key, asset_partitions=[result.partition])
    found = next(iter(instance.fetch_materializations(only, limit=1).records), None)
    if found is None:
        return result.evaluation(None)
    return result.evaluation(
        AssetCheckEvaluationTargetMaterializationData(storage_id=found.storage_id, run_id=found.run_id, timestamp=found.timestamp)
    )


def insert_passed(instance: dg.DagsterInstance, run: dg.DagsterRun, step: str, results: Collection[PartitionCheck]) -> None:
    """Record passed checks of partitions whose latest materializations are those of a run, without events in its log.

    A result replaces the record of the run that announces it, or that of an earlier attempt of the run.
    """
    storage, now = instance.event_log_storage, time.time()
    assert isinstance(storage, SqlEventLogStorage), "Dagster keeps its records in a database"
    partitions: dict[dg.AssetCheckKey, set[str]] = {}
    for result in results:
        partitions.setdefault(result.key, set()).add(result.partition)
    rows = list(_rows(results, _materialized(storage, partitions), run, step, now))
    if rows:
        with storage.index_transaction() as connection:
            for key, keys in partitions.items():
                connection.execute(_records_of_run(run, key, keys))
            connection.execute(AssetCheckExecutionsTable.insert(), rows)


def _records_of_run(run: dg.DagsterRun, key: dg.AssetCheckKey, partitions: Collection[str]) -> Delete:
    """Return the statement that deletes a run's records of a check of partitions."""
    columns = AssetCheckExecutionsTable.c
    return delete(AssetCheckExecutionsTable).where(
        columns.asset_key == key.asset_key.to_string(),
        columns.check_name == key.name,
        columns.run_id == run.run_id,
        columns.partition.in_(partitions),
    )


def _materialized(
    storage: SqlEventLogStorage, partitions: Mapping[dg.AssetCheckKey, Collection[str]]
) -> Mapping[dg.AssetKey, Mapping[str, int]]:
    """Return the id of the latest materialization of each partition of the checked assets."""
    partitions_by_asset: dict[dg.AssetKey, set[str]] = {}
    for key, keys in partitions.items():
        partitions_by_asset.setdefault(key.asset_key, set()).update(keys)
    return {
        key: storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, keys)
        for key, keys in partitions_by_asset.items()
    }


def _rows(
    results: Iterable[PartitionCheck], materialized: Mapping[dg.AssetKey, Mapping[str, int]], run: dg.DagsterRun, step: str, now: float
) -> Iterable[dict[str, Any]]:
    for result in results:
        checked = materialized[result.key.asset_key].get(result.partition)
        if checked is None:  # wiped by a user since it was built
            continue
        target = AssetCheckEvaluationTargetMaterializationData(storage_id=checked, run_id=run.run_id, timestamp=now)
        event = DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name=run.job_name,
            step_key=step,
            event_specific_data=result.evaluation(target),
        )
        entry = dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level=logging.DEBUG,
            user_message="",
            run_id=run.run_id,
            timestamp=now,
            step_key=step,
            job_name=run.job_name,
            dagster_event=event,
        )
        yield {
            "asset_key": result.key.asset_key.to_string(),
            "check_name": result.key.name,
            "partition": result.partition,
            "run_id": run.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.SUCCEEDED.value,
            "evaluation_event": serialize_value(entry),
            "evaluation_event_timestamp": datetime.fromtimestamp(now, UTC).replace(tzinfo=None),
            "evaluation_event_storage_id": checked,
            "materialization_event_storage_id": checked,
        }
