"""Data versions that Dagster has recorded for the artifacts of a catalog.

A version whose latest check failed counts as not recorded, so that it is checked again, and Dagster does not show it as failed after the
cause has disappeared.
"""

from collections.abc import Mapping
from typing import NamedTuple

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from phyagi_assets.build.work import CHECK_FAILED
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Scope

DATA_VERSION = "dagster/data_version"
"""Tag of a materialization: the data version."""
Recorded = Mapping[str, Mapping[str, str]]
"""Recorded data version, by step and partition; `CHECK_FAILED` if the latest result of a check is a failure."""


def recorded_of_partitions(instance: dg.DagsterInstance, corpus: str, flow: Flow) -> Recorded:
    """Return the recorded data version of each partition of a corpus, by step."""
    steps = list(flow.in_scope(Scope.PARTITION))
    recorded = {step.name: _recorded_in_step(instance, dg.AssetKey([corpus, step.name])) for step in steps}
    checks = [dg.AssetCheckKey(dg.AssetKey([corpus, step.name]), check) for step in steps for check in step.checks]
    for latest in instance.event_log_storage.get_asset_check_partition_info(checks):
        versions = recorded[latest.check_key.asset_key.path[-1]]
        if latest.latest_execution_status is AssetCheckExecutionRecordStatus.FAILED and latest.partition_key in versions:
            versions[latest.partition_key] = CHECK_FAILED
    return recorded


def _recorded_in_step(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    tags = instance.event_log_storage.get_latest_tags_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION])
    return {partition: own[DATA_VERSION] for partition, own in tags.items() if DATA_VERSION in own}


def recorded_version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """Return the recorded data version of an asset that is not partitioned."""
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    return (materialization.tags or {}).get(DATA_VERSION) if materialization else None


class Built(NamedTuple):
    """A materialization."""

    run: str
    """Id of its run."""
    version: str
    """Data version that it recorded; empty if it recorded none."""


def last_built(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> Built | None:
    """Return the latest materialization of an asset, or of one of its partitions; None if there is none."""
    wanted = key if partition is None else dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    latest = instance.fetch_materializations(wanted, limit=1).records
    if not latest or not (materialization := latest[0].asset_materialization):
        return None
    return Built(run=latest[0].run_id, version=(materialization.tags or {}).get(DATA_VERSION, ""))
