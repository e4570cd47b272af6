"""Build many partitions at once: their steps and the chunks of the large ones are one queue of tasks for one executor.

A small partition is one task. A large one is built up to a step whose work can be cut into chunks; the chunks are tasks of their own, and
the last one to end is followed by a task that puts them together and goes on, to the next such step or to the end. So the processes that
have finished the small partitions help with the large ones, and none of them starts processes of its own.
"""

import os
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.build.work import PartitionResult, StepResult, Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.removals import removals_file
from phyagi_assets.declare.schema import TOKENIZERS_TEMPLATE
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.executor import Executor, InProcessExecutor
from phyagi_assets.execution.node_check import NeededFolder, NodeCheck
from phyagi_assets.execution.process_pool import ProcessPool
from phyagi_assets.execution.processors import THREADS, processors
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_cluster import RayExecutor
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps import raw
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Built, Chunk, Step, Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.parcels import Parcels, StoreMarkers
from phyagi_assets.tokenizers.identity import Commits, use_commits, use_identities
from phyagi_assets.tokenizers.prepare import find_identities

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
    handed_out: str = ""
    """Name of the step whose chunks are done: the task builds it."""
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
        if task.is_begun:  # by another process
            self.workspace.store.refresh()
        with self.workspace.store.lock(f"runs/{task.name}"):  # another command may be building it
            return self._partition(task, on_progress)

    def _partition(self, task: PartitionTask, on_progress: OnProgress) -> PartitionResult | Partly:
        work, done, left = task.work, list(task.done), deque(task.work.steps)
        corpus = self.corpora[work.corpus]
        try:
            while left:
                step = self.flow[left[0]]
                partition = self._files(corpus, work, step)
                chunks = step.chunks(corpus, partition, self.workspace) if task.hands_out and step.name != task.handed_out else ()
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
    artifact = built.artifact
    return StepResult(
        step=step.name,
        fingerprint=artifact.fingerprint,
        reused=built.reused,
        facts=facts,
        checks=tuple(built.checks),
        totals=step.totals(artifact.manifest),
    )


def new_executor(
    builder: Builder,
    work: Sequence[Work],
    processes: int | None,
    commits: Commits,
    *,
    cluster: RayAddress | None = None,
    on_start: Callable[[str], None],
    on_progress: Callable[[Work, int], None],
) -> Executor[Task, TaskResult]:
    """Return an executor for building partitions: this process, a pool of local processes where there is work for several, or a cluster.

    Parameters
    ----------
    builder
        Runs the tasks. A pool sends a copy of it to each of its processes.
    processes
        Largest number of processes; None for as many as keep all processors of this machine or the cluster busy.
    commits
        Commits of tokenizers that all processes use. If each process asked the Hub, a branch could move in between.
    cluster
        Address of the Ray cluster to run the tasks on; None for this machine.
    on_start
        Called with the name of each partition that is started.
    on_progress
        Called with a partition and the bytes of its source that were processed since the last call.
    """
    processes_here = processes_by_default() if processes is None else processes
    size = min(processes_here, sum(item.chunks for item in work))

    def started(task: Task) -> None:
        if isinstance(task, PartitionTask) and not task.is_begun:
            on_start(task.name)

    def progressed(task: Task, consumed: int) -> None:
        on_progress(task.work, consumed)

    if cluster is not None:
        return _on_cluster(cluster, builder, work, processes, commits, started, progressed)
    prepare = partial(_prepared, builder, commits)
    if size <= 1:
        return InProcessExecutor(prepare=prepare, name=_task_name, on_start=started, on_progress=progressed)
    return ProcessPool(prepare=prepare, size=size, threads=_threads(size), name=_task_name, on_start=started, on_progress=progressed)


def _on_cluster(
    cluster: RayAddress,
    builder: Builder,
    work: Sequence[Work],
    processes: int | None,
    commits: Commits,
    on_start: Callable[[Task], None],
    on_progress: Callable[[Task, int], None],
) -> Executor[Task, TaskResult]:
    workspace, corpora = builder.workspace, [builder.corpora[name] for name in sorted({item.corpus for item in work})]
    parcels = Parcels.of(workspace.store, f"run {uuid.uuid4().hex}")
    identities = find_identities(corpora, workspace.data, workspace.store)
    return RayExecutor(
        cluster=cluster,
        prepare=partial(_prepared, builder, commits, identities=identities),
        parcels=parcels,
        check=node_check(corpora, work, workspace, parcels),
        limit=processes,
        processors=PROCESSORS_EACH,
        name=_task_name,
        on_start=on_start,
        on_progress=on_progress,
    )


def node_check(corpora: Sequence[Corpus], work: Sequence[Work], workspace: Workspace, parcels: Parcels) -> NodeCheck:
    """Return what every node of a cluster has to have to build partitions."""
    store = StoreMarkers(parcels) if workspace.store.is_remote else None
    return NodeCheck(folders=tuple(needed_folders(corpora, work, workspace)), store=store)


def needed_folders(corpora: Sequence[Corpus], work: Sequence[Work], workspace: Workspace) -> Iterator[NeededFolder]:
    """Yield the folders that building partitions needs on every node of a cluster.

    Tokenizers are taken from the store, and need not be visible.
    """
    if isinstance(workspace.store, LocalStore):
        yield NeededFolder(what="the store", path=workspace.store.root)
    data = [
        corpus
        for corpus in corpora
        if removals_file(corpus).exists() or (corpus.config.messages is not None and corpus.config.chat_template != TOKENIZERS_TEMPLATE)
    ]
    if data:
        yield NeededFolder(what=f"the data folder, with the chat template or the removed documents of {data[0].path}", path=workspace.data)
    paths, seen = {corpus.config.name: corpus.path for corpus in corpora}, set[Path]()
    for item in work:
        for file in item.partition.files[:1] if item.partition else ():
            if file.path and file.path.parent not in seen:
                seen.add(file.path.parent)
                yield NeededFolder(what=f"source files of {paths[item.corpus]}", path=file.path.parent)


def _threads(size: int) -> int:
    """Return the number of engine threads per process: its share of the processors, or the limit set for this process if it is lower."""
    share, given = max(1, processors() // size), os.environ.get(THREADS, "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


@contextmanager
def _prepared(
    builder: Builder, commits: Commits, on_progress: OnProgress, *, identities: Mapping[str, str] | None = None
) -> Iterator[Callable[[Task], TaskResult]]:
    use_commits(commits)
    if identities is not None:
        use_identities(identities)
    yield partial(builder.run, on_progress=on_progress)


def _task_name(task: Task) -> str:
    return task.name if isinstance(task, ChunkTask) else "its process"  # a message about a partition begins with the partition


def _is_chunk_of(name: str, task: Task) -> bool:
    return isinstance(task, ChunkTask) and task.work.name == name


def build_partitions(work: Sequence[Work], executor: Executor[Task, TaskResult]) -> Generator[PartitionResult, None, None]:
    """Build partitions, and yield the outcome of each when it ends. One that fails does not stop the others.

    If several processes build them, the largest partitions are started first.
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
                following[name] = PartitionTask(
                    work=outcome.work, done=outcome.done, hands_out=True, handed_out=outcome.work.steps[0], is_begun=True
                )
                chunks_left[name] = len(outcome.chunks)
                for chunk in reversed(outcome.chunks):
                    executor.submit(ChunkTask(work=outcome.work, chunk=chunk), first=True)
            elif isinstance(outcome, Exception):
                yield PartitionResult(work=task.work, done=task.done, problem=outcome)
            elif isinstance(outcome, PartitionResult):
                yield outcome
