"""Processes that build partitions side by side: one partition keeps only so many processors busy.

Each has its share of the processors and a pipe to the command, which hands out the partitions, the largest first. A process that dies,
however it dies, is a partition that failed.
"""

import logging
import logging.handlers
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock
from typing import Any

import dagster as dg

from phyagi_assets.components.work import Outcome, Work
from phyagi_assets.pipeline.sources.files import Partition
from phyagi_assets.pipeline.step import OnProgress
from phyagi_assets.settings import Settings

_SPAWN = multiprocessing.get_context("spawn")
_PACKAGE = "phyagi_assets"


@dataclass(kw_only=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    item: Work | None = None


@dataclass(kw_only=True)
class SideBySide:
    """Builds partitions in several processes.

    Parameters
    ----------
    jobs
        How many processes.
    settings
        Where the data folder and the store are.
    on_start
        Told the name of each partition that is begun.
    on_progress
        Told the bytes of source that are done since the last call.
    """

    jobs: int
    settings: Settings
    on_start: Callable[[str], None]
    on_progress: OnProgress
    _workers: list[_Worker] = field(default_factory=list, init=False)

    def build(self, work: Sequence[Work]) -> Iterator[tuple[Work, Outcome]]:
        """Build all of it; each as it ends, with what came of it."""
        left = sorted(work, key=lambda item: item.bytes)
        try:
            for _ in range(min(self.jobs, len(left))):
                self._workers.append(self._started())
                self._give(self._workers[-1], left.pop())
            while busy := {worker.connection: worker for worker in self._workers if worker.item}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]  # what is waited for are connections
                    ended = self._heard(worker)
                    if ended is not None and worker.item:
                        done, worker.item = worker.item, None
                        if left:
                            self._give(worker if worker.process.is_alive() else self._replaced(worker), left.pop())
                        yield done, ended
        finally:
            self._stop()

    def _started(self) -> _Worker:
        here, there = _SPAWN.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        process = _SPAWN.Process(target=_work, args=(there, self.settings, threads), daemon=True)
        process.start()
        there.close()
        return _Worker(process=process, connection=here)

    def _replaced(self, dead: _Worker) -> _Worker:
        self._workers.remove(dead)
        self._workers.append(self._started())
        return self._workers[-1]

    def _give(self, worker: _Worker, item: Work) -> None:
        worker.item = item
        self.on_start(item.name)
        with suppress(BrokenPipeError):  # it is dead, which is heard next
            worker.connection.send(item)

    def _heard(self, worker: _Worker) -> Outcome | None:
        """What a worker says; the outcome if it has come to an end."""
        try:
            said = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            assert worker.item is not None
            return Outcome(failed={worker.item.name: f"its process {_ending(worker.process.exitcode or 0)}"})
        if isinstance(said, logging.LogRecord):
            logging.getLogger(said.name).handle(said)
        elif isinstance(said, int):
            self.on_progress(said)
        return said if isinstance(said, Outcome) else None

    def _stop(self) -> None:
        for worker in self._workers:
            worker.connection.close()  # the end of its work, where it waits for more
            if worker.item:
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
        with self._lock, suppress(BrokenPipeError):  # nobody listens any more: the command is being stopped
            self._connection.send(said)


class _ToldProgress:
    """Tells the command how far the slow step is."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, stage: str, partition: Partition) -> Iterator[OnProgress]:
        del context
        from phyagi_assets.pipeline import tokenized

        left = partition.bytes if stage == tokenized.STAGE else 0

        def on_progress(consumed: int) -> None:
            nonlocal left
            self._line.put_nowait(min(consumed, left))
            left -= min(consumed, left)

        yield on_progress
        self._line.put_nowait(left)


def _work(connection: Connection, settings: Settings, threads: int) -> None:
    """What a process does: build what comes through the pipe, until it closes."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # read when the engine first encodes
    from phyagi_assets.components.catalog import catalog_definitions
    from phyagi_assets.components.instance import open_instance
    from phyagi_assets.components.runs import Runner
    from phyagi_assets.declarations import load_catalog
    from phyagi_assets.pipeline.step import Workspace
    from phyagi_assets.pipeline.store import Store

    line = _Line(connection)
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.handlers.QueueHandler(_as_queue(line)))
    catalog = load_catalog(settings.require_data())
    workspace = Workspace(data=settings.data, store=Store(settings.store))
    with open_instance(settings) as instance, suppress(EOFError, KeyboardInterrupt):
        definitions = catalog_definitions(catalog, workspace, _ToldProgress(line))
        while True:
            item: Work = connection.recv()
            runner = Runner(catalog, definitions, workspace, instance)
            runner.build(item)
            line.put_nowait(runner.outcome)


def _as_queue(line: _Line) -> Any:
    """What a `QueueHandler` takes: of a queue, it wants nothing but to put into it."""
    return line
