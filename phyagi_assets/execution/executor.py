"""The type of executors, and the executor that runs tasks in this process."""

import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from phyagi_assets.errors import PhyagiAssetsError, translate_limit_errors

_FAILURES = {"PanicException", "CancelledError"}
"""Names of exceptions that are not interrupts, and not subclasses of `Exception`: failed assertions in Rust, and timeouts in asyncio."""
Task = TypeVar("Task")
Result = TypeVar("Result")
OnProgress = Callable[[int], None]
"""Function that long steps call with the number of bytes of source that they processed since the last call."""
Run = Callable[[Task, OnProgress], Result]
"""Function that runs a task, given a function to call with its progress. It can be pickled."""
PACKAGE = "phyagi_assets"
"""Name of the parent of all loggers of this package. Other processes take over its level, and send its records back."""


class TaskCrashed(Exception):
    """An unexpected exception in a task; the message is its traceback."""


class WorkerDied(Exception):
    """A process died while it ran a task; the message says how."""


@dataclass(kw_only=True, eq=False)
class Executor(ABC, Generic[Task, Result]):
    """Runs tasks, and yields their results as they finish.

    A task that fails does not stop the others. A task must be safe to run again: the path of its output depends on the task alone.
    """

    run: Run[Task, Result]
    name: Callable[[Task], str]
    """Returns the name of a task for messages, such as the one about too little memory; called in the process that runs the task."""
    on_start: Callable[[Task], None]
    on_progress: Callable[[Task, int], None]
    """Called with a task and its progress since the last call."""
    size: int = 1
    """Number of tasks that run at the same time."""
    queues: dict[Hashable, deque[Task]] = field(default_factory=dict, init=False)
    """The tasks that have not begun, by group."""

    @property
    def waiting(self) -> int:
        """Number of tasks that have not begun."""
        return sum(map(len, self.queues.values()))

    def group(self, task: Task) -> Hashable:
        """Return the group of a task. The tasks of a group can run on the same nodes."""
        del task
        return None

    def submit(self, task: Task, *, first: bool = False) -> None:
        """Add a task behind the waiting tasks of its group, or before them if `first` is true.

        It may be called while `results` is iterated.
        """
        queue = self.queues.setdefault(self.group(task), deque())
        queue.appendleft(task) if first else queue.append(task)

    def drop(self, unwanted: Callable[[Task], bool]) -> int:
        """Remove the waiting tasks for which a function returns true, and return their number."""
        before = self.waiting
        for group, queue in self.queues.items():
            self.queues[group] = deque(task for task in queue if not unwanted(task))
        return before - self.waiting

    def take(self, group: Hashable = None) -> Task:
        """Remove the first waiting task of a group, which begins now, and return it."""
        task = self.queues[group].popleft()
        self.on_start(task)
        return task

    @abstractmethod
    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        """Run all submitted tasks, including those submitted in the meantime. Closing the generator cancels the rest.

        Yields
        ------
        task : Task
            A task that has ended, in the order in which the tasks end.
        outcome : Result or Exception
            Its result, or the exception that ended it: an error for the user, `TaskCrashed` or `WorkerDied`.
        """


class InProcessExecutor(Executor[Task, Result]):
    """Executor that runs one task after another in this process."""

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        while self.waiting:
            task = self.take()
            yield task, outcome_of(self.name(task), partial(self.run, task, partial(self.on_progress, task)))


def outcome_of(name: str, work: Callable[[], Result]) -> Result | Exception:
    """Return the result of some work, or the exception that ended it: an error for the user, or `TaskCrashed`. Interrupts are raised.

    The message about too little memory begins with the name of the work.
    """
    try:
        with translate_limit_errors(name):
            return work()
    except Exception as problem:
        if interrupt := _interrupt_behind(problem):
            raise interrupt from None
        return problem if isinstance(problem, PhyagiAssetsError | OSError) else TaskCrashed(traceback.format_exc())


def _interrupt_behind(problem: BaseException) -> BaseException | None:
    """Return the interrupt during whose handling an error was raised, as by the locks of `threading` if a second interrupt follows."""
    context = problem.__context__
    while context is not None and (isinstance(context, Exception | GeneratorExit) or type(context).__name__ in _FAILURES):
        context = context.__context__
    return context
