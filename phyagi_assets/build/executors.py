"""Executors for building partitions: this process, a pool of local processes, or a Ray cluster."""

import os
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from phyagi_assets.build.on_nodes import folders_of_task, node_check, run_on_node
from phyagi_assets.build.tasks import Builder, ChunkTask, PartitionTask, Task, TaskResult
from phyagi_assets.build.work import Work
from phyagi_assets.execution.executor import Executor, InProcessExecutor
from phyagi_assets.execution.process_pool import ProcessPool
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_cluster import RayExecutor
from phyagi_assets.execution.thread_pool import ThreadPool
from phyagi_assets.processors import THREADS, processors
from phyagi_assets.store.pickling import Pickling
from phyagi_assets.tokenizers.prepare import find_identities

PROCESSORS_EACH = 8
"""Number of processors that one process can keep busy: the work per batch outside of the engine is sequential."""

_IN_FLIGHT, _BYTES_IN_FLIGHT = 16, 16 << 20
"""Largest number, and total size of the sources in bytes, of the partitions that one process builds at the same time in a bucket."""


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
    """Return an executor for building partitions: this process, a pool of local processes if there is work for several, or a cluster.

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
        if isinstance(task, PartitionTask) and not task.divided:
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
            run=partial(run_on_node, replace(builder, workspace=on_nodes).run),
            pickling=pickling,
            check=node_check(corpora, work, workspace, pickling),
            folders=partial(folders_of_task, builder),
            size=sys.maxsize if processes is None else processes,
            processors=PROCESSORS_EACH,
            **calls,
        )
    size = min(processes_by_default() if processes is None else processes, sum(item.chunks for item in work))
    builder.workspace.identities.find_on_hub(corpora)  # if each process asked the Hub, a branch could move in between
    if size <= 1 and builder.workspace.store.is_remote:
        return ThreadPool(run=builder.run, threads=_IN_FLIGHT, weight=_size, most=_BYTES_IN_FLIGHT, **calls)
    if size <= 1:
        return InProcessExecutor(run=builder.run, **calls)
    return ProcessPool(run=builder.run, size=size, threads=_threads(size), **calls)


def _threads(size: int) -> int:
    """Return the number of engine threads per process: its share of the processors, or the limit set for this process if it is lower."""
    share, given = max(1, processors() // size), os.environ.get(THREADS, "")
    return min(share, int(given)) if given.isdecimal() and int(given) else share


def _size(task: Task) -> int:
    """Return the size of the source of a task, in bytes. A partition whose source was not listed counts as large."""
    return task.work.partition.bytes if task.work.partition else _BYTES_IN_FLIGHT + 1


def _task_name(task: Task) -> str:
    return task.name if isinstance(task, ChunkTask) else "its process"  # a message about a partition begins with the partition
