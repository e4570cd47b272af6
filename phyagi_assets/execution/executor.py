"""The executor protocol, and the executor that runs tasks in this process."""

import traceback
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, Protocol, TypeVar

from phyagi_assets.errors import PhyagiAssetsError, translate_memory_errors
from phyagi_assets.execution.progress import OnProgress

Task = TypeVar("Task")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Prepare = Callable[[OnProgress], AbstractContextManager[Callable[[Task], Result]]]
"""Context manager that a process enters before its first task, given a progress callback; returns the function that runs a task."""


PACKAGE = "phyagi_assets"
"""Name of the logger above all of this package. Processes take over its level, and pass on its records."""


class TaskCrashed(Exception):
    """An unexpected exception in a task; the message is its traceback."""


class WorkerDied(Exception):
    """A process died while it ran a task; the message says how."""


class Executor(Protocol[Task, Result_co]):
    """Runs tasks, and yields their results as they finish.

    A task that fails does not stop the others. A task must be safe to run again: it writes to a place that follows from the task alone.
    """

    @property
    def size(self) -> int:
        """Number of tasks that run at the same time."""

    def submit(self, task: Task, *, first: bool = False) -> None:
        """Add a task behind all waiting tasks, or before them if `first` is true. It may be called while `results` is iterated."""

    def drop(self, unwanted: Callable[[Task], bool]) -> int:
        """Remove the waiting tasks for which a function returns true, and return their number."""

    def results(self) -> Generator[tuple[Task, Result_co | Exception], None, None]:
        """Run all tasks that were submitted, including those submitted meanwhile. Closing the generator cancels the rest.

        Yields
        ------
        task : Task
            A task that has ended, in the order in which the tasks end.
        outcome : Result or Exception
            Its result, or the exception that ended it: an error for the user, `TaskCrashed` or `WorkerDied`.
        """


class TaskQueue(Generic[Task]):
    """The queue of tasks that have not begun."""

    def __init__(self, on_start: Callable[[Task], None]) -> None:
        self._tasks: deque[Task] = deque()
        self._on_start = on_start

    def __len__(self) -> int:
        return len(self._tasks)

    def submit(self, task: Task, *, first: bool = False) -> None:
        """Add a task behind the others, or before them."""
        self._tasks.appendleft(task) if first else self._tasks.append(task)

    def drop(self, unwanted: Callable[[Task], bool]) -> int:
        """Remove the tasks for which a function returns true, and return their number."""
        before = len(self._tasks)
        self._tasks = deque(task for task in self._tasks if not unwanted(task))
        return before - len(self._tasks)

    def take(self) -> Task:
        """Remove the first task, which begins now, and return it."""
        task = self._tasks.popleft()
        self._on_start(task)
        return task


class InProcessExecutor(Generic[Task, Result]):
    """Executor that runs one task after another in this process.

    Parameters
    ----------
    name
        Returns the name of a task for messages, such as the one about too little memory.
    on_progress
        Called with a task and its progress since the last call.
    """

    size = 1

    def __init__(
        self,
        *,
        prepare: Prepare[Task, Result],
        name: Callable[[Task], str],
        on_start: Callable[[Task], None],
        on_progress: Callable[[Task, int], None],
    ) -> None:
        self._prepare, self._name, self._on_progress = prepare, name, on_progress
        self._waiting = TaskQueue(on_start)
        self.submit, self.drop = self._waiting.submit, self._waiting.drop

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        """Run all tasks that were submitted, including those submitted meanwhile; see `Executor.results`."""
        running: list[Task] = []
        with self._prepare(lambda consumed: self._on_progress(running[-1], consumed)) as run:
            while self._waiting:
                running[:] = [self._waiting.take()]
                yield running[0], outcome_of(self._name(running[0]), partial(run, running[0]))


def outcome_of(name: str, work: Callable[[], Result]) -> Result | Exception:
    """Do work; return its result, or the exception that ended it: an error for the user, or `TaskCrashed`.

    Parameters
    ----------
    name
        Name of the work, for the message about too little memory.
    """
    try:
        with translate_memory_errors(name):
            return work()
    except (PhyagiAssetsError, OSError) as problem:
        return problem
    except Exception:
        return TaskCrashed(traceback.format_exc())
