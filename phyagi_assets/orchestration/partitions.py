"""Dagster's dynamic partitions, kept in sync with the listings of the sources.

A backfill fails as a whole when one of its partitions is deleted. So while a backfill of a corpus is in progress, none is deleted: the
runs of partitions that the source no longer has fail, and the others are built.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import IntegrityError

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import counted
from phyagi_assets.formatting import listed as joined
from phyagi_assets.orchestration.declared import RELOAD
from phyagi_assets.orchestration.orphaned_runs import fail_orphaned_runs
from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from phyagi_assets.orchestration.run_targets import in_backfill
from phyagi_assets.steps.step import Workspace

logger = logging.getLogger(__name__)


def partitions_def(corpus: Corpus) -> dg.DynamicPartitionsDefinition:
    """Return the definition of a corpus's partitions."""
    return dg.DynamicPartitionsDefinition(name=corpus.config.name)


PartitionRequest = dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionChanges:
    """The changes that make Dagster's partitions of a corpus those of its source."""

    corpus: Corpus
    new: Sequence[str]
    """Keys to add."""
    gone: Sequence[str]
    """Keys to delete."""
    kept: Sequence[str]
    """Keys to delete after the backfill of the corpus that is in progress."""

    def requests(self) -> list[PartitionRequest]:
        """Return the requests with which a sensor makes the changes."""
        definition = partitions_def(self.corpus)
        add: list[PartitionRequest] = [definition.build_add_request(list(self.new))] if self.new else []
        return [*add, *([definition.build_delete_request(list(self.gone))] if self.gone else [])]

    def __str__(self) -> str:
        """Return a sentence about the changes; empty if there are none."""
        messages = [
            *([f"{counted(len(self.new), 'partition')} added"] if self.new else []),
            *([f"{counted(len(self.gone), 'partition')} retired"] if self.gone else []),
            *([f"{counted(len(self.kept), 'partition')} to retire after the backfill in progress"] if self.kept else []),
        ]
        return f"{self.corpus.config.name}: {', '.join(messages)}." if messages else ""


def sync_partitions(instance: dg.DagsterInstance, corpus: Corpus, listed: Collection[str]) -> None:
    """Add and delete Dagster's partitions of a corpus until they are the listed ones. Log a warning that names the deleted ones."""
    changes = partition_changes(instance, corpus, listed)
    if changes.new:
        try:
            instance.add_dynamic_partitions(corpus.config.name, list(changes.new))
        except IntegrityError:  # another process has added some of them after Dagster looked for those that exist
            sync_partitions(instance, corpus, listed)
            return
    if changes.gone:
        logger.warning(
            "%s: gone from the source: %s; mixtures are built without them, and phyagi-assets clean can remove what was built of them",
            corpus.config.name,
            f"{counted(len(changes.gone), 'partition')} ({joined(changes.gone)})",
        )
    for key in changes.gone:
        instance.delete_dynamic_partition(corpus.config.name, key)


def partition_changes(instance: dg.DagsterInstance, corpus: Corpus, listed: Collection[str]) -> PartitionChanges:
    """Return the changes to make. The recorded digest of a corpus with keys to delete is forgotten, because they may come back."""
    name = corpus.config.name
    known = set(instance.get_dynamic_partitions(name))
    new, gone = sorted(set(listed) - known), sorted(known - set(listed))
    if gone:
        RecordedDigests(Path(instance.root_directory)).forget([name])
    waits = bool(gone) and name in in_backfill(instance, [name])
    return PartitionChanges(corpus=corpus, new=new, gone=[] if waits else gone, kept=gone if waits else [])


def partitions_sensor(corpora: Mapping[str, Corpus], workspace: Workspace, names: Collection[str]) -> dg.SensorDefinition:
    """Return a sensor that adds and deletes Dagster's partitions as local sources change, and reports orphaned runs as failed.

    Parameters
    ----------
    corpora
        Corpora by name. Corpora with a remote source are skipped: their own sensor or schedule updates their partitions.
    names
        Names of all declarations, including broken ones, whose orphaned runs are reported.
    """

    @dg.sensor(name="partitions", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING, description=_SENSOR)
    def partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        for run_id in fail_orphaned_runs(context.instance, workspace.store, names):
            context.log.warning(f"run {run_id} is reported as failed: its process is gone")
        requests: list[PartitionRequest] = []
        messages: list[str] = []
        for corpus in corpora.values():
            if any(workspace.sources.remote(path) for path in corpus.config.source.paths):
                continue  # too slow for every half minute: its own sensor or schedule lists it
            if edit := corpus.changed_since_load():
                messages.append(f"{edit}: its partitions are left as they are until you {RELOAD}")
                continue
            try:
                listed = workspace.sources.partitions(corpus)
            except PhyagiAssetsError as problem:
                context.log.error(str(problem))
                messages.append(str(problem))
                continue
            changes = partition_changes(context.instance, corpus, listed)
            requests += changes.requests()
            messages += [str(changes)] if str(changes) else []
        reason = "\n".join(messages) or "The sources list the partitions known."
        return dg.SensorResult(dynamic_partitions_requests=requests, skip_reason=reason)

    return partitions


_SENSOR = (
    "Lists the local sources, adds their new partitions and retires partitions without files. "
    "Reports runs whose process was killed as failed."
)
