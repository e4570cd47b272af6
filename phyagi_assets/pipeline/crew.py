"""Processes that work side by side: each has a pipe to this one, which hands out what there is to do, one thing at a time.

How far a process is, and what it logs, comes through the pipe too. A process ends when its pipe closes, so that none is left over when
this one is killed.
"""

import logging
import logging.handlers
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock
from typing import Any, Generic, TypeVar

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.pipeline.step import OnProgress

Item = TypeVar("Item")
Result = TypeVar("Result")
Prepare = Callable[[OnProgress], AbstractContextManager[Callable[[Item], Result]]]

THREADS = "RAYON_NUM_THREADS"
"""How many threads the engine has; read when it first encodes."""
_SPAWN = multiprocessing.get_context("spawn")
_PACKAGE = "phyagi_assets"


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Died(Exception):
    """A process came to an end while it was at something; the message says how."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """What a process says of the thing that it was at."""

    result: Any


@dataclass(kw_only=True)
class _Worker(Generic[Item]):
    process: SpawnProcess
    connection: Connection
    item: Item | None = None


@dataclass(kw_only=True)
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
    """

    prepare: Prepare[Item, Result]
    size: int
    threads: int
    on_progress: OnProgress | None = None
    _workers: list[_Worker[Item]] = field(default_factory=list, init=False)

    def do(self, items: Iterator[Item]) -> Generator[tuple[Item, Result | Exception], None, None]:
        """Do everything, begun in its order; each as it ends, with what came of it: a result, an error, or `Died`."""
        try:
            while len(self._workers) < self.size:
                self._workers.append(self._started())
                if not self._give(self._workers[-1], items):
                    break
            while busy := {worker.connection: worker for worker in self._workers if worker.item is not None}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]  # what is waited for are connections
                    ended = self._heard(worker)
                    if ended is not None and worker.item is not None:
                        done, worker.item = worker.item, None
                        self._give(worker if worker.process.is_alive() else self._replaced(worker), items)
                        yield done, ended.result
        finally:
            self._stop()

    def _started(self) -> _Worker[Item]:
        here, there = _SPAWN.Pipe()
        level = logging.getLogger(_PACKAGE).getEffectiveLevel()
        process = _SPAWN.Process(target=_work, args=(there, self.prepare, self.threads, level))
        process.start()
        there.close()
        return _Worker(process=process, connection=here)

    def _replaced(self, dead: _Worker[Item]) -> _Worker[Item]:
        self._workers.remove(dead)
        self._workers.append(self._started())
        return self._workers[-1]

    def _give(self, worker: _Worker[Item], items: Iterator[Item]) -> bool:
        worker.item = next(items, None)
        if worker.item is not None:
            with suppress(ConnectionError):  # it is dead, which is heard next
                worker.connection.send(worker.item)
        return worker.item is not None

    def _heard(self, worker: _Worker[Item]) -> _Ended | None:
        """What a process says; how it has ended if it has."""
        try:
            said = worker.connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            return _Ended(result=Died(_ending(worker.process.exitcode or 0)))
        if isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
        elif isinstance(said, int) and self.on_progress:
            self.on_progress(said)
        return said if isinstance(said, _Ended) else None

    def _stop(self) -> None:
        for worker in self._workers:
            worker.connection.close()  # the end of its work, where it waits for more
            if worker.item is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join()


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class _Line:
    """One end of a pipe that several threads say things into."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def put_nowait(self, said: object) -> None:
        with self._lock, suppress(ConnectionError):  # nobody listens any more
            self._connection.send(said)


def _work(connection: Connection, prepare: Prepare[Any, Any], threads: int, level: int) -> None:
    """What a process does: what comes through the pipe, until it closes."""
    os.environ[THREADS] = str(threads)
    line = _Line(connection)
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(level)
    logger.addHandler(logging.handlers.QueueHandler(_as_queue(line)))
    with suppress(KeyboardInterrupt), prepare(line.put_nowait) as do:
        for item in _received(connection):
            try:
                result = do(item)
            except (PhyagiAssetsError, OSError) as problem:
                result = problem
            line.put_nowait(_Ended(result=result))


def _received(connection: Connection) -> Iterator[Any]:
    """What comes, until nobody is there to send more."""
    with suppress(EOFError, ConnectionError):
        while True:
            yield connection.recv()


def _as_queue(line: _Line) -> Any:
    """What a `QueueHandler` takes: of a queue, it wants nothing but to put into it."""
    return line
