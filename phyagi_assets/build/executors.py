"""Executors for building partitions: this process, a pool of local processes, or a Ray cluster."""

import errno
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.tasks import Builder, ChunkTask, PartitionTask, Task, TaskResult
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import TOKENIZERS_TEMPLATE
from phyagi_assets.declare.removals import removals_file
from phyagi_assets.errors import MissingArtifactsError, PhyagiAssetsError, StoreError
from phyagi_assets.execution.executor import Executor, InProcessExecutor, OnProgress, Run
from phyagi_assets.execution.node_check import NeededFolder, NodeCheck
from phyagi_assets.execution.process_pool import ProcessPool
from phyagi_assets.execution.processors import THREADS, processors
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_cluster import RayExecutor
from phyagi_assets.execution.ray_worker import node_name
from phyagi_assets.sources.files import SourceFile
from phyagi_assets.sources.readable import Stamp
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.disk import stamp_of
from phyagi_assets.store.markers import StoreMarkers
from phyagi_assets.store.pickling import Pickling
from phyagi_assets.tokenizers.prepare import find_identities

PROCESSORS_EACH = 8
"""Number of processors that one process can keep busy: the work per batch outside of the engine is sequential."""


def processes_by_default() -> int:
    """Return the number of processes that keeps all processors busy."""
    return max(1, processors() // PROCESSORS_EACH)


def new_executor(
    builder: Builder,
    work: Sequence[Work],
    processes: int | None,
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
    cluster
        Address of the Ray cluster to run the tasks on; None for this machine.
    on_progress
        Called with a partition and the bytes of its source that were processed since the last call.
    """

    def started(task: Task) -> None:
        if isinstance(task, PartitionTask) and not task.is_begun:
            on_start(task.name)

    def progressed(task: Task, consumed: int) -> None:
        on_progress(task.work, consumed)

    corpora = [builder.corpora[name] for name in sorted({item.corpus for item in work})]
    calls: dict[str, Any] = {"name": _task_name, "on_start": started, "on_progress": progressed}
    if cluster is not None:
        workspace, on_nodes = builder.workspace, replace(builder.workspace)
        on_nodes.identities.known.update(find_identities(corpora, workspace.identities, workspace.store))
        pickling = Pickling.of(workspace.store, f"run {uuid.uuid4().hex}")
        return RayExecutor(
            cluster=cluster,
            run=partial(_run_on_node, replace(builder, workspace=on_nodes).run),
            pickling=pickling,
            check=node_check(corpora, work, workspace, pickling),
            folders=partial(_folders_of_task, builder),
            size=sys.maxsize if processes is None else processes,
            processors=PROCESSORS_EACH,
            **calls,
        )
    size = min(processes_by_default() if processes is None else processes, sum(item.chunks for item in work))
    builder.workspace.identities.find_on_hub(corpora)  # if each process asked the Hub, a branch could move in between
    if size <= 1:
        return InProcessExecutor(run=builder.run, **calls)
    return ProcessPool(run=builder.run, size=size, threads=_threads(size), **calls)


def node_check(corpora: Sequence[Corpus], work: Sequence[Work], workspace: Workspace, pickling: Pickling) -> NodeCheck:
    """Return what every node of a cluster has to have to build partitions."""
    store = StoreMarkers(pickling) if workspace.store.is_remote else None
    return NodeCheck(folders=tuple(needed_folders(corpora, work, workspace)), store=store)


def needed_folders(corpora: Sequence[Corpus], work: Sequence[Work], workspace: Workspace) -> Iterator[NeededFolder]:
    """Yield the folders that building partitions needs on every node of a cluster.

    Tokenizers are taken from the store, and need not be visible.
    """
    if not workspace.store.is_remote:
        yield NeededFolder(what="the store", path=workspace.store.root)
    by_name, found = {corpus.config.name: corpus for corpus in corpora}, dict[Path, NeededFolder]()
    for item in work:
        for folder in _folders_of(by_name[item.corpus], item, workspace.data):
            found.setdefault(folder.path, folder)
    yield from found.values()


def _folders_of(corpus: Corpus, work: Work, data: Path) -> Iterator[NeededFolder]:
    """Yield the folders that building a partition needs, besides the store."""
    if removals_file(corpus).exists() or (corpus.config.messages is not None and corpus.config.chat_template != TOKENIZERS_TEMPLATE):
        what = f"the data folder, with the chat template or the removed documents of {corpus.path}"
        yield NeededFolder(what=what, path=data, by_all=False)
    for file in work.partition.files[:1] if work.partition else ():
        if file.path:
            yield NeededFolder(what=f"source files of {corpus.path}", path=file.path.parent, by_all=False)


def _folders_of_task(builder: Builder, task: Task) -> set[Path]:
    return {folder.path for folder in _folders_of(builder.corpora[task.work.corpus], task.work, builder.workspace.data)}


def _threads(size: int) -> int:
    """Return the number of engine threads per process: its share of the processors, or the limit set for this process if it is lower."""
    share, given = max(1, processors() // size), os.environ.get(THREADS, "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


def _run_on_node(run: Run[Task, TaskResult], task: Task, on_progress: OnProgress) -> TaskResult:
    """Run a task on a node of a cluster. Add the name of the node to errors of the store or a disk, which may affect this node only."""
    if isinstance(task, PartitionTask) and task.work.partition:  # for chunks, the last task of the partition compares the stamps
        _require_as_listed(task.work.partition.files)
    try:
        result = run(task, on_progress)
    except MissingArtifactsError:
        raise
    except (StoreError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
            raise
        raise StoreError(f"{node_name()}: {problem}") from problem
    if isinstance(result, PartitionResult) and type(result.problem) is StoreError:
        return replace(result, problem=StoreError(f"{node_name()}: {result.problem}"))
    return result


def _require_as_listed(files: Sequence[SourceFile]) -> None:
    """Require that local files of a partition have the size and time, in seconds, that the driver listed."""
    for file in files:
        if file.path is None:
            continue
        listed = _described(file.stamp)
        try:
            found = _described(stamp_of(file.path))
        except OSError as problem:
            found = f"unreadable ({problem.strerror})"
        if found != listed:
            raise PhyagiAssetsError(
                f"{node_name()} sees {file.path} as {found}, and the driver listed it as {listed}: the node has another file at this "
                "path, or the file has changed; mount the same folder on all nodes, or run the command again"
            )


def _described(stamp: Stamp) -> str:
    _, size, changed, *_ = stamp
    return f"{int(size):,} bytes, changed {datetime.fromtimestamp(int(changed) // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _task_name(task: Task) -> str:
    return task.name if isinstance(task, ChunkTask) else "its process"  # a message about a partition begins with the partition
