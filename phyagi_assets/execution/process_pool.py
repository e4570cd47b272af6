"""A pool of local processes that survives the death of a worker.

Each worker process has a pipe to the main process, which sends it one item at a time. Results, progress and log records come back through
the pipe. A worker ends when its pipe closes or the main process dies, so that no worker remains if the main process is killed.
"""

import logging
import logging.handlers
import multiprocessing
import multiprocessing.util
import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from phyagi_assets.errors import PhyagiAssetsError, memory_named
from phyagi_assets.execution.progress import OnProgress

Item = TypeVar("Item")
Result = TypeVar("Result")
Prepare = Callable[[OnProgress], AbstractContextManager[Callable[[Item], Result]]]

THREADS = "RAYON_NUM_THREADS"
"""Environment variable with the number of threads of the engine, which reads it when it first encodes."""
_TO_END = 10.0
"""Time for an interrupted worker process to end, in seconds."""
_SPAWN = multiprocessing.get_context("spawn")
_PACKAGE = "phyagi_assets"


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Died(Exception):
    """A worker process died while it ran a task; the message says how."""


class Fault(Exception):
    """An unexpected exception in a worker process; the message is its traceback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """Outcome of one item."""

    result: Any
    """Result of the item, or the exception that ended it."""
    is_last: bool = False
    """Whether the worker process ends with this item."""


@dataclass(kw_only=True)
class _Worker(Generic[Item]):
    process: SpawnProcess
    connection: Connection
    item: Item | None = None

    def give(self, item: Item) -> None:
        self.item = item
        with suppress(ConnectionError):  # the worker is dead, which `hear` reports
            self.connection.send(item)

    def hear(self, on_progress: OnProgress) -> _Ended | None:
        """Receive one message. Return the outcome of the item if the message is an outcome or the worker died, else None."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return _Ended(result=Died(_ending(self.process.exitcode or 0)), is_last=True)
        if isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
        elif isinstance(said, int):
            on_progress(said)
        return said if isinstance(said, _Ended) else None

    def stop(self) -> None:
        self.connection.close()  # ends a worker that waits for an item
        if self.item is not None:
            self.process.terminate()


@dataclass(frozen=True, kw_only=True)
class ProcessPool(Generic[Item, Result]):
    """Worker processes that run a function on items.

    Parameters
    ----------
    prepare
        Context manager that each worker enters first, given a progress callback; returns the function that runs an item.
    size
        Number of processes.
    threads
        Number of threads of the engine in each process.
    on_progress
        Called with the progress that workers report.
    name
        Returns the name of an item for messages, such as the one about too little memory.
    """

    prepare: Prepare[Item, Result]
    size: int
    threads: int
    on_progress: OnProgress
    name: Callable[[Item], str]

    def do(self, items: Iterator[Item]) -> Generator[tuple[Item, Result | Exception], None, None]:
        """Run all items.

        Parameters
        ----------
        items
            The items. Each is taken when a worker is free.

        Yields
        ------
        item : Item
            An item that has ended, in the order in which the items end.
        outcome : Result or Exception
            Its result, or the exception that ended it: an error from the worker, `Fault` or `Died`.
        """
        workers: list[_Worker[Item]] = []
        # A second interrupt may cut `finally` short at any place, and the interpreter would wait for the workers when it exits.
        at_exit = multiprocessing.util.Finalize(None, _stop, args=(workers,), exitpriority=10)
        try:
            for _ in range(self.size):  # start all workers before the first one gets an item
                workers.append(self._started())
            for worker, item in zip(list(workers), items, strict=False):
                worker.give(item)
            while busy := {worker.connection: worker for worker in workers if worker.item is not None}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]  # `wait` returns the connections it was given
                    ended = worker.hear(self.on_progress)
                    if ended is None or worker.item is None:
                        continue
                    done, worker.item = worker.item, None
                    following = next(items, None)
                    if ended.is_last:
                        workers.remove(worker)
                        worker.process.join()
                    if following is not None:
                        if ended.is_last:
                            workers.append(worker := self._started())
                        worker.give(following)
                    yield done, ended.result
        finally:
            _stop(workers)
            at_exit.cancel()

    def _started(self) -> _Worker[Item]:
        here, there = _SPAWN.Pipe()
        level = logging.getLogger(_PACKAGE).getEffectiveLevel()
        process = _SPAWN.Process(target=_work, args=(there, self.prepare, self.threads, self.name, level))
        process.start()
        there.close()
        return _Worker(process=process, connection=here)


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
        if worker.process.is_alive() and worker.item is not None:
            worker.process.kill()
        worker.process.join()


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class _Line:
    """End of a pipe to which several threads can send messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def say(self, said: object) -> None:
        """Send a message. A closed pipe raises an error, so that the work in progress ends soon."""
        with self._lock:
            self._connection.send(said)

    def put_nowait(self, record: logging.LogRecord) -> None:
        """Send a log record; this is the method of a queue that `logging.handlers.QueueHandler` calls."""
        with suppress(ConnectionError):
            self.say(record)


def _work(connection: Connection, prepare: Prepare[Any, Any], threads: int, name: Callable[[Any], str], level: int) -> None:
    """Run the items that come through the pipe until it closes; the target of a worker process."""
    os.environ[THREADS] = str(threads)
    Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    line = _Line(connection)
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(level)
    logger.addHandler(logging.handlers.QueueHandler(line))  # type: ignore[arg-type]
    with suppress(KeyboardInterrupt, ConnectionError):
        try:
            with memory_named("preparing a process"), prepare(line.say) as do:
                for item in _received(connection):
                    try:
                        with memory_named(name(item)):
                            result = do(item)
                    except (PhyagiAssetsError, OSError) as problem:
                        result = problem
                    line.say(_Ended(result=result))
        except (PhyagiAssetsError, OSError) as problem:
            line.say(_Ended(result=problem, is_last=True))
        except Exception:
            line.say(_Ended(result=Fault(traceback.format_exc()), is_last=True))


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
