"""Build many partitions at once: their steps and the chunks of the large ones are one queue of tasks for one executor.

A small partition is one task. A large one is built up to a step whose work can be cut into chunks; the chunks are tasks of their own, and
the last one to end is followed by a task that puts them together and goes on, to the next such step or to the end. So the processes that
have finished the small partitions help with the large ones, and none of them starts processes of its own.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.tasks import ChunkTask, Divided, PartitionTask, Task, TaskResult
from phyagi_assets.build.work import Work
from phyagi_assets.execution.executor import Executor


def _is_chunk_of(name: str, task: Task) -> bool:
    return isinstance(task, ChunkTask) and task.work.name == name


def build_partitions(work: Sequence[Work], executor: Executor[Task, TaskResult]) -> Generator[PartitionResult, None, None]:
    """Build partitions, and yield the outcome of each when it ends. One that fails does not stop the others.

    If several processes build them, the largest partitions are started first.
    """
    is_parallel = executor.size > 1
    chunks_left: dict[str, int] = {}
    following: dict[str, PartitionTask] = {}
    for item in sorted(work, key=lambda item: item.bytes, reverse=True) if is_parallel else work:
        executor.submit(PartitionTask(work=item, divides=is_parallel and item.chunks > 1))
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
            elif isinstance(outcome, Divided):
                following[name], chunks_left[name] = outcome.following, len(outcome.chunks)
                for chunk in reversed(outcome.chunks):
                    executor.submit(ChunkTask(work=outcome.following.work, chunk=chunk), first=True)
            elif isinstance(outcome, Exception):
                yield PartitionResult(work=task.work, done=task.done, problem=outcome)
            elif isinstance(outcome, PartitionResult):
                yield outcome
