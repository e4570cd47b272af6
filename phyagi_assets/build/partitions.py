"""Build many partitions at once: their steps and the chunks of the large ones are one queue of tasks for one executor.

A small partition is one task. A large one is built up to the step whose work can be cut into chunks; the chunks are tasks of their own,
and the last one to end is followed by a task that puts them together and builds the remaining steps. So the processes that have finished
the small partitions help with the large ones, and none of them starts processes of its own.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.build.work import PartitionResult, StepResult, Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.executor import Executor, InProcessExecutor
from phyagi_assets.execution.process_pool import ProcessPool
from phyagi_assets.execution.processors import THREADS, processors
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps import raw
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Built, Chunk, Step, Workspace
from phyagi_assets.tokenizers.prepare import Commits, use_commits

PROCESSORS_EACH = 8
"""Number of processors that one process can keep busy: the work per batch outside of the engine is sequential."""


def processes_by_default() -> int:
    """Return the number of processes that keeps all processors busy."""
    return max(1, processors() // PROCESSORS_EACH)


@dataclass(frozen=True, kw_only=True, slots=True)
class Partly:
    """A partition that is built up to a step whose work is cut into chunks."""

    work: Work
    """The steps that are left."""
    done: Sequence[StepResult]
    chunks: Sequence[Chunk]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionTask:
    """Building the steps of a partition."""

    work: Work
    done: Sequence[StepResult] = ()
    """Results of the steps before them."""
    hands_out: bool = False
    """Whether the task ends before a step whose work can be cut into chunks."""
    is_begun: bool = False
    """Whether a task of this partition has run before."""

    @property
    def name(self) -> str:
        return self.work.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkTask:
    """Doing one chunk of a step of a partition."""

    work: Work
    chunk: Chunk

    @property
    def name(self) -> str:
        return self.chunk.name


Task = PartitionTask | ChunkTask
TaskResult = PartitionResult | Partly | None


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
        PartitionResult, Partly or None
            The outcome of a partition, or the chunks that have to be done before its remaining steps; None for a chunk.
        """
        if isinstance(task, ChunkTask):
            task.chunk.run(self.workspace, on_progress)
            return None
        with self.workspace.store.lock(f"runs/{task.name}"):  # another command may be building it
            return self._partition(task, on_progress)

    def _partition(self, task: PartitionTask, on_progress: OnProgress) -> PartitionResult | Partly:
        work, done, left = task.work, list(task.done), deque(task.work.steps)
        corpus = self.corpora[work.corpus]
        try:
            while left:
                step = self.flow[left[0]]
                partition = self._files(corpus, work, step)
                chunks = step.chunks(corpus, partition, self.workspace) if task.hands_out else ()
                if len(chunks) > 1:
                    return Partly(work=replace(work, steps=tuple(left)), done=tuple(done), chunks=chunks)
                options = {option: work.options.get(option, of.default) for option, of in step.options.items()}
                built = step.build(corpus, partition, self.workspace, on_progress, **options)
                done.append(_result(step, built))
                if built.failures:
                    break
                left.popleft()
                if not left and work.follows:
                    left.extend(self._found_stale(corpus, partition, {result.step for result in done}))
        except PhyagiAssetsError as problem:
            return PartitionResult(work=work, done=done, problem=problem)
        return PartitionResult(work=work, done=done)

    def _files(self, corpus: Corpus, work: Work, step: Step) -> Partition:
        """Return a partition: as the source lists it for the first step, which pins it; as it was pinned for all other steps."""
        if step.input is None:
            assert work.partition is not None, "a partition is listed before its first step is built"
            return work.partition
        address = step.address(corpus.config.name, work.key)
        return raw.pinned_partition(corpus, work.key, self.workspace, listed=work.partition, needed_by=address)

    def _found_stale(self, corpus: Corpus, partition: Partition, done: set[str]) -> list[str]:
        """Return the steps that are stale now that the content is known."""
        return [
            artifact.step
            for artifact in partition_artifacts(corpus, partition, self.workspace, self.flow)
            if not artifact.is_current and artifact.step not in done
        ]


def _result(step: Step, built: Built) -> StepResult:
    facts = {} if built.failures else step.facts(built)
    return StepResult(step=step.name, fingerprint=built.artifact.fingerprint, reused=built.reused, facts=facts, checks=tuple(built.checks))


def new_executor(
    builder: Builder,
    work: Sequence[Work],
    processes: int,
    commits: Commits,
    *,
    on_start: Callable[[str], None],
    on_progress: Callable[[Work, int], None],
) -> Executor[Task, TaskResult]:
    """Return an executor for building partitions: this process, or a pool of local processes where there is work for several.

    Parameters
    ----------
    builder
        Runs the tasks. A pool sends a copy of it to each of its processes.
    work
        The partitions.
    processes
        Largest number of processes.
    commits
        Commits of tokenizers that all processes use. If each process asked the Hub, a branch could move in between.
    on_start
        Called with the name of each partition that is started.
    on_progress
        Called with a partition and the bytes of its source that were processed since the last call.
    """
    size = min(processes, sum(item.chunks for item in work))

    def started(task: Task) -> None:
        if isinstance(task, PartitionTask) and not task.is_begun:
            on_start(task.name)

    def progressed(task: Task, consumed: int) -> None:
        on_progress(task.work, consumed)

    prepare = partial(_prepared, builder, commits)
    if size <= 1:
        return InProcessExecutor(prepare=prepare, name=_task_name, on_start=started, on_progress=progressed)
    return ProcessPool(prepare=prepare, size=size, threads=_threads(size), name=_task_name, on_start=started, on_progress=progressed)


def _threads(size: int) -> int:
    """Return the number of engine threads per process: its share of the processors, or the limit set for this process if it is lower."""
    share, given = max(1, processors() // size), os.environ.get(THREADS, "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


@contextmanager
def _prepared(builder: Builder, commits: Commits, on_progress: OnProgress) -> Iterator[Callable[[Task], TaskResult]]:
    use_commits(commits)
    yield partial(builder.run, on_progress=on_progress)


def _task_name(task: Task) -> str:
    return task.name if isinstance(task, ChunkTask) else "its process"  # a message about a partition begins with the partition


def _is_chunk_of(name: str, task: Task) -> bool:
    return isinstance(task, ChunkTask) and task.work.name == name


def build_partitions(work: Sequence[Work], executor: Executor[Task, TaskResult]) -> Generator[PartitionResult, None, None]:
    """Build partitions, and yield the outcome of each when it ends. One that fails does not stop the others.

    If several processes build them, the largest partitions are started first.

    Parameters
    ----------
    work
        The partitions.
    executor
        Runs the tasks.

    Yields
    ------
    PartitionResult
        The outcome of a partition.
    """
    hands_out = executor.size > 1
    chunks_left: dict[str, int] = {}
    following: dict[str, PartitionTask] = {}
    for item in sorted(work, key=lambda item: item.bytes, reverse=True) if hands_out else work:
        executor.submit(PartitionTask(work=item, hands_out=hands_out and item.chunks > 1))
    with closing(executor.results()) as results:
        for task, outcome in results:
            name = task.work.name
            if isinstance(task, ChunkTask):
                chunks_left[name] -= 1
                if isinstance(outcome, Exception):
                    # The remaining task does this chunk again and meets the same error, so that it is the first one in the files.
                    chunks_left[name] -= executor.drop(partial(_is_chunk_of, name))
                if chunks_left[name] == 0:
                    executor.submit(following.pop(name), first=True)
            elif isinstance(outcome, Partly):
                following[name] = PartitionTask(work=outcome.work, done=outcome.done, is_begun=True)
                chunks_left[name] = len(outcome.chunks)
                for chunk in reversed(outcome.chunks):
                    executor.submit(ChunkTask(work=outcome.work, chunk=chunk), first=True)
            elif isinstance(outcome, Exception):
                yield PartitionResult(work=task.work, done=task.done, problem=outcome)
            elif isinstance(outcome, PartitionResult):
                yield outcome
