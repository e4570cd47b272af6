"""Build many partitions at once: their steps and the chunks of the large ones are one queue of tasks for one executor.

A small partition is one task. A large one is built up to a step whose work can be cut into chunks. Each chunk is a task, and the last one
to end is followed by a task that joins them and continues, to the next such step or to the end. So the processes that have finished the
small partitions help with the large ones, and no process starts others.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.tasks import ChunkTask, Divided, PartitionTask, Task, TaskResult
from phyagi_assets.build.work import Work
from phyagi_assets.execution.executor import Executor


def build_partitions(work: Sequence[Work], executor: Executor[Task, TaskResult]) -> Generator[PartitionResult, None, None]:
    """Build partitions, and yield the outcome of each when it ends. One that fails does not stop the others.

    If several processes build them, the largest partitions are started first.
    """
    is_parallel = executor.size > 1
    for item in sorted(work, key=lambda item: item.bytes, reverse=True) if is_parallel else work:
        executor.submit(PartitionTask(work=item, divides=is_parallel and item.chunks > 1))
    chunks = _Chunks(executor)
    with closing(executor.results()) as results:
        for task, outcome in results:
            if isinstance(task, ChunkTask):
                chunks.end(task, has_failed=isinstance(outcome, Exception))
            elif isinstance(outcome, Divided):
                chunks.begin(outcome)
            elif isinstance(outcome, Exception):
                yield PartitionResult(work=task.work, done=task.done, problem=outcome)
            elif isinstance(outcome, PartitionResult):
                yield outcome


@dataclass(kw_only=True, slots=True)
class _Unfinished:
    """A partition whose chunks are waiting or running."""

    chunks: int
    """Number of its chunks that have not ended."""
    following: PartitionTask
    """The task that follows the last one."""


class _Chunks:
    """The chunks of large partitions. The tasks of a partition that has begun come before those of others."""

    def __init__(self, executor: Executor[Task, TaskResult]) -> None:
        self._executor = executor
        self._unfinished: dict[str, _Unfinished] = {}

    def begin(self, divided: Divided) -> None:
        """Submit the chunks of a partition."""
        work = divided.following.work
        self._unfinished[work.name] = _Unfinished(chunks=len(divided.chunks), following=divided.following)
        for chunk in reversed(divided.chunks):
            self._executor.submit(ChunkTask(work=work, chunk=chunk), first=True)

    def end(self, task: ChunkTask, *, has_failed: bool) -> None:
        """Submit the task that follows the chunks of a partition, if this one was the last."""
        name = task.work.name
        partition = self._unfinished[name]
        partition.chunks -= 1
        if has_failed:
            # The remaining task encodes this chunk again and raises its error, so that the first error in the files is reported.
            partition.chunks -= self._executor.drop(partial(_is_chunk_of, name))
        if partition.chunks == 0:
            self._executor.submit(self._unfinished.pop(name).following, first=True)


def _is_chunk_of(name: str, task: Task) -> bool:
    return isinstance(task, ChunkTask) and task.work.name == name
