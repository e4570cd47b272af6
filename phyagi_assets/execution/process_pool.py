"""A pool of local processes: an executor that survives the death of a worker.

Each worker process has a pipe to the main process, which sends it one task at a time. Results, progress and log records come back through
the pipe. A worker ends when its pipe closes or the main process dies, so that no worker remains if the main process is killed.

The pools of ``concurrent.futures`` and loky are not suitable: if one of their workers is killed, all waiting and running tasks fail with
it, and it is not known which of them killed it.
"""

import logging
import logging.handlers
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from threading import Lock, Thread
from typing import Any, Generic

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.executor import PACKAGE, Executor, Result, Run, Task, TaskCrashed, WorkerDied, outcome_of
from phyagi_assets.processors import THREADS

_TO_END = 10.0
"""Time for an interrupted worker process to end, in seconds."""
_STARTS, _PAUSE = 5, 0.1
"""Number of attempts to start a worker process, and the pause after each, in seconds: a killed process takes a moment to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """Outcome of one task."""

    outcome: Any
    """Result of the task, or the exception that ended it."""
    is_last: bool = False
    """Whether the worker process ends with this task."""


@dataclass(kw_only=True, eq=False)
class _Worker(Generic[Task]):
    process: BaseProcess
    connection: Connection
    task: Task | None = None

    def send(self, task: Task) -> None:
        self.task = task
        with suppress(ConnectionError):  # the worker is dead, which `receive` reports
            self.connection.send(task)

    def receive(self, on_progress: Callable[[Task, int], None]) -> _Ended | None:
        """Receive one message. Return the outcome of the task if the message is an outcome or the worker died, else None."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return _Ended(outcome=WorkerDied(_ending(self.process.exitcode or 0)), is_last=True)
        if isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        elif isinstance(message, int) and self.task is not None:
            on_progress(self.task, message)
        return message if isinstance(message, _Ended) else None

    def stop(self) -> None:
        self.connection.close()  # ends a worker that waits for a task
        if self.task is not None:
            self.process.terminate()


@dataclass(kw_only=True, eq=False)
class ProcessPool(Executor[Task, Result]):
    """Executor that runs tasks in at most `size` worker processes."""

    threads: int
    """Number of threads of the engine in each worker process."""

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        workers: list[_Worker[Task]] = []
        # A second interrupt may cut `finally` short at any place, and the interpreter would wait for the workers when it exits.
        at_exit = multiprocessing.util.Finalize(None, _stop, args=(workers,), exitpriority=10)
        try:
            while self._begin(workers) or any(worker.task is not None for worker in workers):
                busy = {worker.connection: worker for worker in workers if worker.task is not None}
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]  # `wait` returns the connections it was given
                    ended = worker.receive(self.on_progress)
                    if ended is None or worker.task is None:
                        continue
                    task, worker.task = worker.task, None
                    if ended.is_last:
                        workers.remove(worker)
                        worker.process.join()
                    self._begin(workers)  # before the consumer does its part, so that no worker waits for it
                    yield task, ended.outcome
        finally:
            _stop(workers)
            at_exit.cancel()

    def _begin(self, workers: list[_Worker[Task]]) -> bool:
        """Start as many workers as there are tasks for, and give a task to each idle one. Return whether a task has begun."""
        idle = [worker for worker in workers if worker.task is None]
        for _ in range(min(self.size - len(workers), self.waiting - len(idle))):  # all start before the first one gets a task
            workers.append(self._started())
            idle.append(workers[-1])
        begun = idle[: self.waiting]
        for worker in begun:
            worker.send(self.take())
        return bool(begun)

    def _started(self) -> _Worker[Task]:
        """Start a worker; if the process that starts workers is killed in the meantime, try again with a new one."""
        for _ in range(_STARTS):
            with suppress(EOFError, ConnectionError):
                return self._new_worker()
            time.sleep(_PAUSE)
        raise PhyagiAssetsError(
            "no process for the tasks can be started: the process that starts them was killed repeatedly, as when memory runs out; use "
            "fewer processes"
        )

    def _new_worker(self) -> _Worker[Task]:
        context = _context(self.run, self.name)
        here, there = context.Pipe()
        level = logging.getLogger(PACKAGE).getEffectiveLevel()
        arguments = (there, self.run, self.threads, self.name, level, dict(os.environ))
        process = context.Process(target=_work, args=arguments)  # type: ignore[attr-defined]
        process.start()
        there.close()
        return _Worker(process=process, connection=here)


def _context(*functions: Callable[..., Any]) -> BaseContext:
    """Return the context that starts worker processes, given the functions that they call.

    On Linux, they are forks of a process that has done the imports, which would take 1.3 s of CPU in each. On other systems,
    system libraries may not work in a forked process, and each worker is a new interpreter.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([(called.func if isinstance(called, partial) else called).__module__ for called in functions])
    return context


def _stop(workers: Sequence[_Worker[Any]]) -> None:
    """Stop workers, and kill those that have not ended after a grace period. Calling it again does no harm."""
    try:
        for worker in workers:
            worker.stop()
    except BaseException:  # stop the remaining workers even after a second interrupt
        for worker in workers:
            worker.stop()
        raise
    until = time.monotonic() + _TO_END
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive() and worker.task is not None:
            worker.process.kill()
        worker.process.join()


def _ending(code: int) -> str:
    hint = ", as the system does when memory runs out; in that case, use fewer processes with --jobs" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}" if code < 0 else f"ended with {code}"


class _Sender:
    """End of a pipe to which several threads can send messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def send(self, message: object) -> None:
        """Send a message. A closed pipe raises an error, so that the work in progress ends soon."""
        with self._lock:
            self._connection.send(message)

    def put_nowait(self, record: logging.LogRecord) -> None:
        """Send a log record; this is the method of a queue that `logging.handlers.QueueHandler` calls."""
        with suppress(ConnectionError):
            self.send(record)


def _work(
    connection: Connection, run: Run[Any, Any], threads: int, name: Callable[[Any], str], level: int, environment: Mapping[str, str]
) -> None:
    """Run the tasks that come through the pipe until it closes; the target of a worker process."""
    os.environ.clear()  # a fork has the environment of the first pool
    os.environ.update({**environment, THREADS: str(threads)})
    Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    sender = _Sender(connection)
    logger = logging.getLogger(PACKAGE)
    logger.setLevel(level)
    logger.addHandler(logging.handlers.QueueHandler(sender))  # type: ignore[arg-type]
    with suppress(KeyboardInterrupt, ConnectionError):
        ended = outcome_of("receiving a task", lambda: _run_tasks(_received(connection), sender, run, name))
        if ended is not None:
            sender.send(_Ended(outcome=ended, is_last=True))


def _run_tasks(tasks: Iterator[Any], sender: _Sender, run: Run[Any, Any], name: Callable[[Any], str]) -> TaskCrashed | None:
    """Run tasks until none is left or one crashes; return the crash."""
    for task in tasks:
        outcome = outcome_of(name(task), partial(run, task, sender.send))
        if isinstance(outcome, TaskCrashed):
            return outcome
        sender.send(_Ended(outcome=outcome))
    return None


def _end_with_parent() -> None:
    """Interrupt this process when its parent dies. While it waits for a slow source, it sends nothing and would not notice by itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_TO_END)
        os._exit(1)


def _received(connection: Connection) -> Iterator[Any]:
    """Yield what arrives through a pipe until its other end closes."""
    with suppress(EOFError, ConnectionError):
        while True:
            yield connection.recv()
