"""A pool of threads: an executor for tasks that mostly wait, such as small partitions of a store in a bucket.

Large tasks, which keep the processors busy, are run one after another.
"""

import time
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Generic

from phyagi_assets.execution.executor import Executor, Result, Task, outcome_of
from phyagi_assets.objects.daemon_threads import LOOK, DaemonThreads

_TO_END = 10.0
"""Time for the tasks in progress to end after the consumer has stopped, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended(Generic[Result]):
    outcome: Result | BaseException


@dataclass(kw_only=True, eq=False)
class ThreadPool(Executor[Task, Result]):
    """Executor that runs several small tasks at the same time in threads of this process. Callbacks are called in the consumer's thread."""

    threads: int
    """Largest number of tasks that run at the same time."""
    weight: Callable[[Task], int]
    """Returns the size of a task."""
    most: int
    """Total size of the tasks that run at the same time. A larger task is run alone."""

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        messages: SimpleQueue[tuple[int, int | _Ended[Result]]] = SimpleQueue()
        pool, numbers, running = DaemonThreads(self.threads), count(), dict[int, Task]()

        def work(number: int, task: Task) -> None:
            outcome: Result | BaseException
            try:
                outcome = outcome_of(self.name(task), partial(self.run, task, lambda consumed: messages.put((number, consumed))))
            except BaseException as problem:
                outcome = problem
            messages.put((number, _Ended(outcome=outcome)))

        def receive(seconds: float) -> tuple[Task, int | _Ended[Result]]:
            number, message = messages.get(timeout=seconds)
            return (running.pop if isinstance(message, _Ended) else running.__getitem__)(number), message

        try:
            while self.waiting or running:
                while self._has_room(running.values()):
                    running[number := next(numbers)] = self.take()
                    pool.submit(work, number, running[number])
                with suppress(Empty):
                    task, message = receive(LOOK)
                    if not isinstance(message, _Ended):
                        self.on_progress(task, message)
                    elif isinstance(message.outcome, Exception) or not isinstance(message.outcome, BaseException):
                        yield task, message.outcome
                    else:
                        raise message.outcome
        finally:
            until = time.monotonic() + _TO_END
            with suppress(Empty):
                while running:
                    receive(max(0.0, until - time.monotonic()))

    def _has_room(self, running: Collection[Task]) -> bool:
        """Return whether the next task can be run beside those that are running."""
        if not self.waiting or len(running) >= self.threads:
            return False
        following = next(queue[0] for queue in self.queues.values() if queue)
        return not running or sum(map(self.weight, (*running, following))) <= self.most
