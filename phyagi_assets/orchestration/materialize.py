"""Bring corpora and mixtures up to date, like make: stale artifacts are built in Dagster runs, all others are left alone.

Staleness follows from fingerprints and files. An artifact is also run again if Dagster has not recorded its version, so that the UI shows
the actual state. Runs are ordered by the flow: first the stale steps of each partition together, then the steps of corpora, then the
mixtures.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import dagster as dg

from phyagi_assets.build.staleness import Link, corpus_links, mixture_link, whole_corpus_link
from phyagi_assets.build.work import Outcome, Work
from phyagi_assets.declare.catalog import Catalog, Corpus, Mixture
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceError
from phyagi_assets.orchestration.assets import run_config
from phyagi_assets.orchestration.instance import told_of_records
from phyagi_assets.orchestration.orphaned_runs import fail_abandoned
from phyagi_assets.orchestration.partitions import sync_partitions
from phyagi_assets.sources.chunks import most_pieces
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.mixture import AT_POSITION
from phyagi_assets.steps.step import Scope, Step, Workspace
from phyagi_assets.steps.tokenize import PROCESSES
from phyagi_assets.tokenizers.prepare import find_commits

_DATA_VERSION = "dagster/data_version"
Recorded = Mapping[str, Mapping[str, str]]
"""Data version recorded by Dagster, by step and partition."""

BuildInProcesses = Callable[[Sequence[Work], Mapping[tuple[str, str], str]], Generator[tuple[Work, Outcome], None, None]]
"""Builds partitions in worker processes, given the commits of tokenizers, and yields the outcome of each partition when it ends."""

_NOTHING: Mapping[str, Any] = {}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

logger = logging.getLogger(__name__)


class Runner:
    """Finds and builds the stale artifacts of a catalog.

    Parameters
    ----------
    catalog
        The corpora and mixtures to bring up to date.
    definitions
        Definitions with the assets of the catalog.
    workspace
        The data folder and the store.
    instance
        The Dagster instance that records the runs.
    flow
        The steps.
    """

    def __init__(
        self, catalog: Catalog, definitions: dg.Definitions, workspace: Workspace, instance: dg.DagsterInstance, flow: Flow = FLOW
    ) -> None:
        self._catalog, self._workspace, self._instance, self._flow = catalog, workspace, instance, flow
        self._job = definitions.resolve_implicit_global_asset_job_def()
        self._expected: dict[str, dict[str, dict[str, str | None]]] = {}
        """Expected fingerprint of each artifact, by corpus, step and partition; None while it is unknown."""
        self.outcome = Outcome()

    def stale(self) -> list[Work]:
        """List the sources, update Dagster's partitions, and return the partitions with stale steps.

        Errors are recorded in `outcome`, and do not keep the other partitions and corpora from being listed.
        """
        return [work for corpus in self._catalog.corpora.values() for work in self._stale_of(corpus)]

    def _stale_of(self, corpus: Corpus) -> Iterator[Work]:
        name = corpus.config.name
        try:
            partitions = self._workspace.sources.partitions(corpus)
            sync_partitions(self._instance, corpus, partitions)
            self._expected[name] = {}
            recorded = self._all_recorded(name)
            for partition in partitions.values():
                try:
                    stages = self._stale_stages(corpus, partition, recorded)
                except SourceError as problem:  # the other partitions are built all the same
                    self.outcome.failed[f"{name}/{partition.key}"] = str(problem)
                    continue
                if stages:
                    yield Work(corpus=name, partition=partition, stages=stages, pieces=_pieces(corpus, partition), flow=self._flow)
                else:
                    self.outcome.current += 1
        except PhyagiAssetsError as problem:
            self.outcome.failed[name] = str(problem)

    def _stale_stages(self, corpus: Corpus, partition: Partition, recorded: Recorded) -> list[str]:
        """Return the steps of a partition that are stale, or whose current version Dagster has not recorded."""
        links = self._links(corpus, partition)
        if links[0].wanted is None and self._workspace.store.open(links[0].address):
            return [links[0].stage]  # its content may turn out to be unchanged; the later steps are examined after its run
        return [link.stage for link in links if not (link.stands and recorded[link.stage].get(partition.key) == link.wanted)]

    def _links(self, corpus: Corpus, partition: Partition) -> list[Link]:
        links = corpus_links(corpus, partition, self._workspace, self._flow)
        for link in links:
            self._expected.setdefault(corpus.config.name, {}).setdefault(link.stage, {})[partition.key] = link.wanted
        return links

    def run(
        self, work: Sequence[Work], on_start: Callable[[str], None], at: int | None = None, side_by_side: BuildInProcesses | None = None
    ) -> Outcome:
        """Build the partitions, then the steps of corpora, then the mixtures. A partition that fails does not stop the others.

        Parameters
        ----------
        work
            The partitions to build, from `stale`.
        on_start
            Called with the name of each partition, corpus step or mixture before it is run; not for partitions built by `side_by_side`.
        at
            Position at which a new segment is appended to the plans of mixtures; by default, their plans are replaced.
        side_by_side
            Builds the partitions in worker processes; by default, this process builds them one after the other.

        Returns
        -------
        Outcome
            The outcome so far, including errors found by `stale`.
        """
        self._workspace.store.clear_rubbish()
        fail_abandoned(self._instance, self._workspace.store, [*self._catalog.corpora, *self._catalog.mixtures])
        if side_by_side:
            commits = find_commits(self._catalog.corpora[name] for name in sorted({item.corpus for item in work}))
            with closing(side_by_side(work, commits)) as ended:
                for item, outcome in ended:
                    self.outcome.add(outcome)
                    if not outcome.failed:
                        self._links(self._catalog.corpora[item.corpus], item.partition)
        else:
            for item in work:
                on_start(item.name)
                self.build(item)
        for corpus in self._catalog.corpora.values():
            for step in self._flow.of(Scope.CORPUS):
                with self._workspace.store.turn(f"runs/{step.address(corpus.config.name)}"):
                    self._build_whole(corpus, step, on_start)
        for declared in self._catalog.mixtures.values():
            for step in self._flow.of(Scope.MIXTURE):
                with self._workspace.store.turn(f"runs/{declared.config.name}"):
                    self._mix(declared, step, on_start, at)
        return self.outcome

    def build(self, item: Work) -> None:
        """Run the steps of one partition, unless another command has built it in the meantime."""
        with self._workspace.store.turn(f"runs/{item.name}"):
            if self._was_built_meanwhile(item):
                self.outcome.current += 1
            else:
                self._build(item)

    def _build(self, item: Work) -> None:
        name, corpus, stages = item.name, self._catalog.corpora[item.corpus], list(item.stages)
        while stages:
            assets = [dg.AssetKey([item.corpus, stage]) for stage in stages]
            self._execute(name, assets, item.partition.key, self._shares(item, stages))
            if name in self.outcome.failed:
                return
            # The expected version of a step may only be known after the steps before it have run.
            left = [link.stage for link in self._links(corpus, item.partition) if not link.stands]
            stages = left if left != stages else []

    def _shares(self, item: Work, stages: Sequence[str]) -> Mapping[str, Any]:
        """Return the run configuration that gives a partition its share of the processes."""
        step = next((step for stage in stages if PROCESSES in (step := self._flow[stage]).options), None)
        return run_config(item.corpus, step, **{PROCESSES: item.processes}) if step else _NOTHING

    def _was_built_meanwhile(self, item: Work) -> bool:
        """Return whether another command has brought a partition up to date since `stale` listed it."""
        corpus = self._catalog.corpora[item.corpus]
        try:
            stand = all(link.stands for link in corpus_links(corpus, item.partition, self._workspace, self._flow))
            return stand and not self._stale_stages(corpus, item.partition, self._all_recorded(item.corpus))
        except PhyagiAssetsError:  # the run finds the same error, and reports it
            return False

    def _build_whole(self, corpus: Corpus, step: Step, on_start: Callable[[str], None]) -> None:
        name = corpus.config.name
        if any(failed.partition("/")[0] == name for failed in self.outcome.failed):
            return
        inputs = self._expected.get(name, {}).get(step.input or "", {})
        link = whole_corpus_link(corpus, step, inputs, self._workspace)
        self._run_unless_current(f"{name}/{step.name}", name, step, link, on_start, _NOTHING)

    def _mix(self, declared: Mixture, step: Step, on_start: Callable[[str], None], at: int | None) -> None:
        name = declared.config.name
        parts = [part.corpus for part in declared.config.datasets]
        if broken := sorted(failed for failed in self.outcome.failed if failed.partition("/")[0] in parts):
            self.outcome.failed[name] = f"not built, because of {', '.join(broken)}"
            return
        expected = {part: self._expected.get(part, {}).get(step.input or "", {}) for part in parts}
        inputs = {part: {key: fingerprint or "" for key, fingerprint in of.items()} for part, of in expected.items()}
        link = mixture_link(declared, inputs, self._workspace, step)
        self._run_unless_current(
            name, name, step, link, on_start, run_config(name, step, **{AT_POSITION: at}) if at is not None else _NOTHING
        )

    def _run_unless_current(
        self, shown: str, name: str, step: Step, link: Link, on_start: Callable[[str], None], config: Mapping[str, Any]
    ) -> None:
        """Run a step that is not partitioned, unless its artifact is current and Dagster has recorded this version."""
        key = dg.AssetKey([name, step.name])
        if link.stands and self._recorded_version(key) == link.wanted:
            self.outcome.current += 1
            return
        on_start(shown)
        self._execute(shown, [key], None, config)

    def _execute(self, name: str, assets: list[dg.AssetKey], partition: str | None, config: Mapping[str, Any] = _NOTHING) -> None:
        result = self._job.execute_in_process(
            run_config={**_QUIET, **config}, instance=self._instance, partition_key=partition, asset_selection=assets, raise_on_error=False
        )
        if result.success:
            self.outcome.built += [name] if name not in self.outcome.built[-1:] else []
        elif _interrupted(result):
            raise KeyboardInterrupt  # Dagster ends only this run; the user means to stop all of them
        else:
            self.outcome.failed[name] = _reason(result, self._instance.root_directory)

    def _all_recorded(self, corpus: str) -> Recorded:
        return {step.name: self._recorded(corpus, step.name) for step in self._flow.of(Scope.PARTITION)}

    def _recorded(self, corpus: str, stage: str) -> dict[str, str]:
        """Return the data version that Dagster has recorded for each partition."""
        tags = self._instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey([corpus, stage]), dg.DagsterEventType.ASSET_MATERIALIZATION, [_DATA_VERSION]
        )
        return {key: of[_DATA_VERSION] for key, of in tags.items() if _DATA_VERSION in of}

    def _recorded_version(self, key: dg.AssetKey) -> str | None:
        event = self._instance.get_latest_materialization_event(key)
        materialization = event.asset_materialization if event else None
        return (materialization.tags or {}).get(_DATA_VERSION) if materialization else None


def _pieces(corpus: Corpus, partition: Partition) -> int:
    try:
        return most_pieces(corpus, partition.files)
    except DeclarationError:  # its run reports the error
        return 1


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    ends = [event.job_failure_data.error for event in result.all_events if event.event_type is dg.DagsterEventType.RUN_FAILURE]
    return any(error and error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt") for error in ends)


def _reason(result: dg.ExecuteInProcessResult, home: str) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                return told_of_records(failure.error, home) or failure.error.to_string()
    return f"run {result.run_id} failed; the UI shows why"
