"""Processes that work side by side: each has a pipe to this one, which hands out what there is to do, one thing at a time.

How far a process is, and what it logs, comes through the pipe too. A process ends when its pipe closes or this process dies, so that none
is left over when this one is killed.
"""

import logging
import logging.handlers
import multiprocessing
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
"""How many threads the engine has; read when it first encodes."""
_TO_END = 10.0
"""Seconds that an interrupted process has to end in."""
_SPAWN = multiprocessing.get_context("spawn")
_PACKAGE = "phyagi_assets"


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Died(Exception):
    """A process came to an end while it was at something; the message says how."""


class Fault(Exception):
    """What was raised in a process and is nothing that the user can put right; the message is its traceback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """What a process says of the thing that it was at."""

    result: Any
    is_last: bool = False
    """Whether it does no more."""


@dataclass(kw_only=True)
class _Worker(Generic[Item]):
    process: SpawnProcess
    connection: Connection
    item: Item | None = None

    def give(self, item: Item) -> None:
        self.item = item
        with suppress(ConnectionError):  # it is dead, which is heard next
            self.connection.send(item)

    def hear(self, on_progress: OnProgress) -> _Ended | None:
        """What it says; how it has ended if it has."""
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
        self.connection.close()  # the end of its work, where it waits for more
        if self.item is not None:
            self.process.terminate()


@dataclass(frozen=True, kw_only=True)
class Crew(Generic[Item, Result]):
    """Processes that do things.

    Parameters
    ----------
    prepare
        Entered in each process first, given what to tell progress to; gives what does a thing.
    size
        How many processes.
    threads
        How many the engine has in each of them.
    on_progress
        Told what they tell.
    name
        Returns what messages call an item: what takes more memory than there is.
    """

    prepare: Prepare[Item, Result]
    size: int
    threads: int
    on_progress: OnProgress
    name: Callable[[Item], str]

    def do(self, items: Iterator[Item]) -> Generator[tuple[Item, Result | Exception], None, None]:
        """Do everything, begun in its order; each as it ends, with what came of it: a result, an error, `Fault` or `Died`."""
        workers: list[_Worker[Item]] = []
        try:
            for _ in range(self.size):  # all of them, before the first one has what it waits for
                workers.append(self._started())
            for worker, item in zip(list(workers), items, strict=False):
                worker.give(item)
            while busy := {worker.connection: worker for worker in workers if worker.item is not None}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]  # what is waited for are connections
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

    def _started(self) -> _Worker[Item]:
        here, there = _SPAWN.Pipe()
        level = logging.getLogger(_PACKAGE).getEffectiveLevel()
        process = _SPAWN.Process(target=_work, args=(there, self.prepare, self.threads, self.name, level))
        process.start()
        there.close()
        return _Worker(process=process, connection=here)


def _stop(workers: Sequence[_Worker[Any]]) -> None:
    try:
        for worker in workers:
            worker.stop()
    except BaseException:  # a second interrupt; no process goes on because of it
        for worker in workers:
            worker.stop()
        raise
    for worker in workers:
        worker.process.join()


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class _Line:
    """One end of a pipe that several threads say things into."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def say(self, said: object) -> None:
        """Say it; where nobody listens any more, that is an error, so that what is under way ends soon."""
        with self._lock:
            self._connection.send(said)

    def put_nowait(self, record: logging.LogRecord) -> None:
        """What a `QueueHandler` wants of a queue."""
        with suppress(ConnectionError):
            self.say(record)


def _work(connection: Connection, prepare: Prepare[Any, Any], threads: int, name: Callable[[Any], str], level: int) -> None:
    """What a process does: what comes through the pipe, until it closes."""
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
    """Interrupt this process when its parent dies: while it waits for a slow source, it says nothing and would not notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_TO_END)
        os._exit(1)


def _received(connection: Connection) -> Iterator[Any]:
    """What comes, until nobody is there to send more."""
    with suppress(EOFError, ConnectionError):
        while True:
            yield connection.recv()
