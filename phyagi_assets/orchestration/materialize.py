"""Bring corpora and mixtures up to date, like make: stale artifacts are built in Dagster runs, and no others.

Staleness follows from fingerprints and files. An artifact is also run again if Dagster has not recorded its version, so that the UI shows
the actual state. One run builds the stale partitions of all corpora; then the steps of corpora and the mixtures have a run each.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dagster as dg

from phyagi_assets.build.available import lasting_failures, without_failed
from phyagi_assets.build.examine import ExaminedCatalog, examine_selection, known_inputs, versions_digest
from phyagi_assets.build.failures import Failures
from phyagi_assets.build.outcome import Outcome, PartitionResult
from phyagi_assets.build.selection import Selection
from phyagi_assets.build.staleness import ExpectedArtifact, corpus_artifact, mixture_artifact, partition_artifacts
from phyagi_assets.build.work import Work, stale_partitions
from phyagi_assets.declare.catalog import Catalog, Corpus, Mixture
from phyagi_assets.errors import PhyagiAssetsError, StoreAccessError
from phyagi_assets.execution.ray_address import LOCAL
from phyagi_assets.orchestration.code_location import runs_of_code_location
from phyagi_assets.orchestration.command_runs import CommandRuns
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.names import op_name, run_config
from phyagi_assets.orchestration.orphaned_runs import fail_orphaned_runs
from phyagi_assets.orchestration.partition_runs import is_lasting
from phyagi_assets.orchestration.partitions import sync_partitions
from phyagi_assets.orchestration.progress import CommandProgress, RunProgress
from phyagi_assets.orchestration.recorded import recorded_of_partitions, recorded_version
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.mixture import AT_POSITION
from phyagi_assets.steps.step import Scope, Step, Workspace


class Runner:
    """Finds and builds the stale artifacts of a catalog."""

    def __init__(self, catalog: Catalog, workspace: Workspace, instance: dg.DagsterInstance, progress: CommandProgress, flow: Flow) -> None:
        self._catalog, self._workspace, self._instance, self._flow = catalog, workspace, instance, flow
        self._progress = progress
        self.started, self.advanced = progress.started, progress.advanced
        self._runs = CommandRuns(catalog_definitions(catalog, workspace, self.receive_progress, flow), instance)
        self._expected: dict[str, dict[str, dict[str, str | None]]] = {}
        """Expected fingerprint of each artifact, by corpus, step and partition; None while it is unknown."""
        self._unpartitioned: dict[str, dict[str, str | None]] = {}
        """Expected fingerprint of each artifact that is not partitioned, by corpus or mixture and step."""
        self._ended: set[str] = set()
        self._published: set[str] = set()
        """Names of the partitions whose artifacts are all published, so that the run only records them."""
        self._built_by_others = False
        self.outcome = Outcome()

    def stale(self, examined: ExaminedCatalog | None = None) -> list[Work]:
        """Examine the catalog unless that was just done, update Dagster's partitions, and return the partitions with stale steps.

        Errors are recorded in `outcome`, and do not keep the other partitions and corpora from being examined.
        """
        examined = examined or examine_selection(Selection(catalog=self._catalog, flow=self._flow), self._workspace)
        self.outcome.failed |= examined.failed
        work: list[Work] = []
        for name, corpus in examined.corpora.items():
            sync_partitions(self._instance, corpus.corpus, corpus.partitions)
            recorded = recorded_of_partitions(self._instance, name, self._flow)
            stale = stale_partitions(corpus, recorded, self._workspace, self._flow)
            self._expected[name] = corpus.versions
            self.outcome.current += len(corpus.artifacts) - len(stale)
            self._published |= {item.name for item in stale if all(artifact.is_current for artifact in corpus.artifacts[item.key])}
            for partition, problem in corpus.failed.items():
                self.outcome.failed[partition] = str(problem)
                Failures(self._workspace.store).record(partition, str(problem), lasts=is_lasting(problem, corpus.corpus))
            work += stale
        return work

    def recorded(self) -> dict[str, str]:
        """Return a digest of the versions recorded after `run`, by corpus and mixture; empty unless all versions are known."""
        if self.outcome.failed or self._built_by_others:
            return {}
        names = [*self._catalog.corpora, *self._catalog.mixtures]
        return {name: versions_digest(self._expected.get(name, {}), self._unpartitioned.get(name, {})) for name in names}

    def run(self, work: Sequence[Work], at: int | None = None, processes: int | None = None, executor: str = LOCAL) -> Outcome:
        """Build the partitions, then the steps of corpora, then the mixtures. A partition that fails does not stop the others.

        Parameters
        ----------
        at
            Position at which a new segment is appended to the plans of mixtures; by default, their plans are replaced.
        processes
            Largest number of processes that build partitions; by default, as many as keep all processors busy.
        executor
            Where partitions are built: ``local``, ``ray`` or ``ray:ADDRESS``.

        Returns
        -------
        Outcome
            The outcome so far, including errors found by `stale`.
        """
        self._workspace.store.remove_abandoned_files()
        fail_orphaned_runs(self._instance, self._workspace.store, [*self._catalog.corpora, *self._catalog.mixtures])
        with runs_of_code_location(self._instance):
            if work:
                self._build(work, processes, executor)
            for corpus in self._catalog.corpora.values():
                for step in self._flow.in_scope(Scope.CORPUS):
                    with self._workspace.store.lock(f"runs/{step.address(corpus.config.name)}"):
                        self._build_corpus_step(corpus, step)
            for declared in self._catalog.mixtures.values():
                for step in self._flow.in_scope(Scope.MIXTURE):
                    with self._workspace.store.lock(f"runs/{declared.config.name}"):
                        self._build_mixture(declared, step, at)
        return self.outcome

    @contextmanager
    def receive_progress(self, work: Sequence[Work], log: logging.Logger) -> Iterator[RunProgress]:
        """Receive the progress of the run that builds the partitions, as the progress resource of the command's runs."""
        del work, log
        yield self

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        """Record the outcome of a partition."""
        is_current |= result.work.name in self._published and all(step.reused for step in result.done)
        self._progress.ended(result, is_current=is_current)
        self._ended.add(result.work.name)
        if result.failure:
            self.outcome.failed[result.work.name] = result.failure
        elif is_current:
            self.outcome.current += 1
        else:
            self.outcome.built.append(result.work.name)
        for done in result.done:
            self._expected[result.work.corpus].setdefault(done.step, {})[result.work.key] = done.fingerprint

    def _build(self, work: Sequence[Work], processes: int | None, executor: str) -> None:
        keys: dict[str, list[str]] = {}
        for item in work:
            keys.setdefault(item.corpus, []).append(item.key)
        before = set(self.outcome.failed)
        failure = self._runs.build_partitions(keys, processes, executor)
        left = [item for item in work if item.name not in self._ended]
        if failure and set(self.outcome.failed) == before:  # the run itself failed, not one of its partitions
            self.outcome.failed |= dict.fromkeys((item.name for item in left), failure)
            return
        self._built_by_others |= bool(left)
        self.outcome.current += len(left)
        for item in work:
            known = self._expected[item.corpus]
            is_known = item.name in self._ended and all(versions.get(item.key) for versions in known.values())
            if item.partition and item.name not in self.outcome.failed and not is_known:  # others built it, or its files were fetched first
                for artifact in partition_artifacts(self._catalog.corpora[item.corpus], item.partition, self._workspace, self._flow):
                    known.setdefault(artifact.step, {})[item.key] = artifact.fingerprint

    def _build_corpus_step(self, corpus: Corpus, step: Step) -> None:
        name = corpus.config.name
        if any(failed.partition("/")[0] == name for failed in self.outcome.failed):
            return
        inputs = self._expected.get(name, {}).get(step.input or "", {})
        self._run_unless_current(name, step, partial(corpus_artifact, corpus, step, inputs, self._workspace))

    def _build_mixture(self, declared: Mixture, step: Step, at: int | None) -> None:
        name = declared.config.name
        parts = declared.config.corpora
        broken = sorted(failed for failed in self.outcome.failed if failed.partition("/")[0] in parts)
        caches = {part: self._expected.get(part, {}).get(step.input or "", {}) for part in parts}
        if broken:
            keys = {part: sorted(self._instance.get_dynamic_partitions(part)) for part in parts}
            lasting = lasting_failures((failed for failed in broken if "/" in failed), self._workspace.store)
            try:
                there = without_failed(declared, keys, broken, lasting)
            except PhyagiAssetsError as problem:
                self.outcome.failed[name] = str(problem)
                return
            self.outcome.skipped[name] = list(there.left_out)
            caches = {
                part: {key: fingerprints[key] for key in there.keys[part] if key in fingerprints} for part, fingerprints in caches.items()
            }
        find_artifact = partial(mixture_artifact, declared, known_inputs(caches), self._workspace, step)
        self._run_unless_current(name, step, find_artifact, {} if at is None else run_config(op_name(name, step), **{AT_POSITION: at}))

    def _run_unless_current(
        self, name: str, step: Step, find_artifact: Callable[[], ExpectedArtifact], config: Mapping[str, Any] | None = None
    ) -> None:
        """Run a step that is not partitioned, unless its artifact is current and Dagster has recorded this version."""
        key, shown = dg.AssetKey([name, step.name]), name if step.scope is Scope.MIXTURE else f"{name}/{step.name}"
        try:
            expected = find_artifact()
            if not expected.is_current:
                self._workspace.store.refresh()  # another command may have built it, for which this one has waited
                expected = find_artifact()
        except StoreAccessError as problem:
            self.outcome.failed[shown] = str(problem)
            return
        self._unpartitioned.setdefault(name, {})[step.name] = expected.fingerprint
        if expected.is_current and recorded_version(self._instance, key) == expected.fingerprint:
            self.outcome.current += 1
            return
        self._progress.started_step(shown, step.name)
        failure = self._runs.run_step(key, step, config or {})
        if failure:
            self.outcome.failed[shown] = failure
        elif expected.is_current:
            self.outcome.current += 1
        else:
            self.outcome.built.append(shown)
        self._progress.ended_step(shown, failure, is_current=expected.is_current)
