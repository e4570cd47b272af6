"""Dagster's dynamic partitions, kept in sync with the listings of the sources."""

from collections.abc import Collection, Mapping
from pathlib import Path

import dagster as dg

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.orchestration.declared import RELOAD
from phyagi_assets.orchestration.orphaned_runs import fail_abandoned
from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from phyagi_assets.steps.step import Workspace


def partitions_def(corpus: Corpus) -> dg.DynamicPartitionsDefinition:
    """Return the definition of a corpus's partitions."""
    return dg.DynamicPartitionsDefinition(name=corpus.config.name)


PartitionRequest = dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest


def sync_partitions(instance: dg.DagsterInstance, corpus: Corpus, listed: Collection[str]) -> None:
    """Add and delete Dagster's partitions of a corpus until they are the listed ones."""
    new, gone = _changes(instance, corpus, listed)
    if new:
        instance.add_dynamic_partitions(corpus.config.name, new)
    for key in gone:
        instance.delete_dynamic_partition(corpus.config.name, key)


def partition_requests(instance: dg.DagsterInstance, corpus: Corpus, listed: Collection[str]) -> list[PartitionRequest]:
    """Return the requests with which a sensor adds and deletes Dagster's partitions of a corpus until they are the listed ones."""
    new, gone = _changes(instance, corpus, listed)
    requests: list[PartitionRequest] = []
    if new:
        requests.append(partitions_def(corpus).build_add_request(new))
    if gone:
        requests.append(partitions_def(corpus).build_delete_request(gone))
    return requests


def _changes(instance: dg.DagsterInstance, corpus: Corpus, listed: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the keys to add and the keys to delete. A corpus with keys to delete no longer counts as recorded, for when they come back."""
    known = set(instance.get_dynamic_partitions(corpus.config.name))
    new, gone = sorted(set(listed) - known), sorted(known - set(listed))
    if gone:
        RecordedDigests(Path(instance.root_directory)).forget([corpus.config.name])
    return new, gone


def partitions_sensor(corpora: Mapping[str, Corpus], workspace: Workspace, names: Collection[str]) -> dg.SensorDefinition:
    """Return a sensor that adds and deletes Dagster's partitions as local sources change, and reports orphaned runs as failed.

    Parameters
    ----------
    corpora
        Corpora by name. Corpora with a remote source are skipped: their own sensor or schedule updates their partitions.
    workspace
        The data folder and the store.
    names
        Names of all declarations, including broken ones, whose orphaned runs are reported.
    """

    @dg.sensor(name="partitions", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING, description=_SENSOR)
    def partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        for run_id in fail_abandoned(context.instance, workspace.store, names):
            context.log.warning(f"run {run_id} is reported as failed: its process is gone")
        requests: list[PartitionRequest] = []
        problems: list[str] = []
        for corpus in corpora.values():
            if any(workspace.sources.remote(path) for path in corpus.config.source.paths):
                continue  # too slow for every half minute: its own sensor or schedule lists it
            if edit := corpus.changed_since_load():
                problems.append(f"{edit}: its partitions are left as they are until you {RELOAD}")
                continue
            try:
                listed = workspace.sources.partitions(corpus)
            except PhyagiAssetsError as problem:
                context.log.error(str(problem))
                problems.append(str(problem))
                continue
            requests += partition_requests(context.instance, corpus, listed)
        idle = "\n".join(problems) or "The sources list the partitions known."
        return dg.SensorResult(dynamic_partitions_requests=requests, skip_reason=None if requests else idle)

    return partitions


_SENSOR = (
    "Lists the local sources; adds the partitions that are new in them and retires those that are gone. "
    "Reports runs as failed whose process was killed."
)
