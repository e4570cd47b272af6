"""The tasks of building partitions, and how a process runs them."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phyagi_assets.build.outcome import PartitionResult, StepResult
from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Built, Chunk, Step, Workspace, built_facts


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionTask:
    """A task that builds steps of a partition."""

    work: Work
    done: Sequence[StepResult] = ()
    """Results of the earlier steps."""
    divides: bool = False
    """Whether the task ends before a step whose work can be divided into chunks."""
    divided: str = ""
    """Name of the step whose chunks are done, which the task builds; empty for the first task of a partition."""

    @property
    def name(self) -> str:
        return self.work.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkTask:
    """A task that does one chunk of a step of a partition."""

    work: Work
    chunk: Chunk

    @property
    def name(self) -> str:
        return self.chunk.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Divided:
    """A partition that is built up to a step whose work is divided into chunks."""

    chunks: Sequence[Chunk]
    following: PartitionTask
    """The task that follows the last chunk."""


Task = PartitionTask | ChunkTask
TaskResult = PartitionResult | Divided | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """Runs the tasks of a process."""

    corpora: Mapping[str, Corpus]
    workspace: Workspace
    flow: Flow = FLOW

    def run(self, task: Task, on_progress: OnProgress) -> TaskResult:
        """Run a task.

        Returns
        -------
        PartitionResult, Divided or None
            The outcome of a partition, or the chunks that have to be done before its remaining steps; None for a chunk.
        """
        if isinstance(task, ChunkTask):
            task.chunk.run(self.workspace, on_progress)
            return None
        if task.work.is_only_recorded:
            return self._partition(task, on_progress)
        if task.divided:  # other processes have written to the store
            self.workspace.store.refresh()
        with self.workspace.store.lock(f"runs/{task.name}"):  # another command may be building it
            return self._partition(task, on_progress)

    def _partition(self, task: PartitionTask, on_progress: OnProgress) -> PartitionResult | Divided:
        work, done, left = task.work, list(task.done), deque(task.work.steps)
        corpus = self.corpora[work.corpus]
        try:
            while left:
                step = self.flow[left[0]]
                if recorded := self._unrecorded(work, step):
                    done.append(recorded)
                    left.popleft()
                    continue
                partition = self._files(corpus, work, step)
                chunks_of = step.chunks if task.divides and step.name != task.divided else None
                chunks = chunks_of(corpus, partition, self.workspace) if chunks_of else ()
                if len(chunks) > 1:
                    rest = replace(work, steps=tuple(left))
                    following = PartitionTask(work=rest, done=tuple(done), divides=True, divided=step.name)
                    return Divided(chunks=chunks, following=following)
                built = step.build(corpus, partition, self.workspace, on_progress)
                done.append(_result(step, built, {} if built.failures else step.facts(built)))
                if built.failures:
                    break
                left.popleft()
                if not left and work.follows:
                    left.extend(self._found_stale(corpus, partition, {result.step for result in done}))
        except PhyagiAssetsError as problem:
            return PartitionResult(work=work, done=done, problem=problem)
        return PartitionResult(work=work, done=done)

    def _unrecorded(self, work: Work, step: Step) -> StepResult | None:
        """Return the result of a step whose version only has to be recorded; None if it has to be built, or another one is published."""
        artifact = self.workspace.store.open(step.address(work.corpus, work.key), intact=True) if step.name in work.unrecorded else None
        if artifact is None or artifact.fingerprint != work.unrecorded[step.name]:
            return None
        built = Built(artifact=artifact, reused=True, seconds=0.0)
        return _result(step, built, {**step.totals(artifact.manifest), **built_facts(built)})

    def _files(self, corpus: Corpus, work: Work, step: Step) -> Partition:
        """Return a partition: as the source lists it for the first step, which pins it; as it was pinned for all other steps."""
        if step.input is None:
            assert work.partition is not None, "a partition is listed before its first step is built"
            return work.partition
        pinned = self.flow.steps[0].pinned
        assert pinned is not None, "the first step pins the files"
        return pinned(corpus, work.key, self.workspace, work.partition, step.address(corpus.config.name, work.key))

    def _found_stale(self, corpus: Corpus, partition: Partition, done: set[str]) -> list[str]:
        """Return the steps that are stale now that the content is known."""
        return [
            artifact.step
            for artifact in partition_artifacts(corpus, partition, self.workspace, self.flow)
            if not artifact.is_current and artifact.step not in done
        ]


def _result(step: Step, built: Built, facts: Facts) -> StepResult:
    artifact = built.artifact
    return StepResult(
        step=step.name,
        fingerprint=artifact.fingerprint,
        reused=built.reused,
        facts=facts,
        checks=tuple(built.checks),
        totals=step.totals(artifact.manifest),
    )
