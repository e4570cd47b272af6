"""Data versions that Dagster has recorded for the artifacts of a catalog."""

from collections.abc import Mapping

import dagster as dg

from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Scope

DATA_VERSION = "dagster/data_version"
"""Tag of a materialization: the data version."""
Recorded = Mapping[str, Mapping[str, str]]
"""Recorded data version, by step and partition."""


def recorded_of_partitions(instance: dg.DagsterInstance, corpus: str, flow: Flow) -> Recorded:
    """Return the recorded data version of each partition of a corpus, by step."""
    return {step.name: _of_step(instance, dg.AssetKey([corpus, step.name])) for step in flow.of(Scope.PARTITION)}


def _of_step(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    tags = instance.event_log_storage.get_latest_tags_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION])
    return {partition: of[DATA_VERSION] for partition, of in tags.items() if DATA_VERSION in of}


def recorded_version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """Return the recorded data version of an asset that is not partitioned."""
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    return (materialization.tags or {}).get(DATA_VERSION) if materialization else None
