"""Fast and shared use of the SQLite databases in which Dagster keeps its records.

For every statement, Dagster creates an engine of SQLAlchemy, opens the database and closes it again. This costs much of the time of a
small change, in four ways:

* SQLite waits for the disk at each commit, and again when the last connection to the database is closed: some 500 times. Databases in WAL
  mode stay consistent without these waits, and what is published in the store does not depend on them; after a power failure, the last
  events may be missing, and the next command records them again.
* A database is opened and prepared again, and its schema is read again, for each statement.
* A new engine compiles each statement again.
* For every database that is opened for the first time, all files with revisions of the schema are read.

Members of a group can share an instance: SQLite creates its files writable for the owner only, so they get the rights of their folder.

The UI shows the log of a run again when the file of its database changes. In WAL mode, the file of a database that stays open does not
change until much is written, so its time is set after commits.
"""

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import StatementError
from sqlalchemy.pool import QueuePool

_SHOWN_EVERY = 1.0
"""Shortest time between two changes of a database that the UI sees, in seconds."""


@contextmanager
def fast_records() -> Iterator[None]:
    """Open each database once, let SQLite wait for the disk only when the context ends, and reuse engines and lists of revisions.

    Inside another such context, this one has no effect: the command enters one, and so do its runs.
    """
    if isinstance(vars(sqlite_event_log)["create_engine"], _Memoized):
        yield
        return
    with ExitStack() as until_the_end:
        for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            until_the_end.enter_context(_connections_kept(storage))
        until_the_end.enter_context(_replaced(ScriptDirectory, "from_config", _REVISIONS))
        yield


def share_databases() -> None:
    """Let the group write to every database that this process opens from now on, if it may write to the database's folder."""
    event.listen(Engine, "connect", share_database)


def share_database(connection: Any, _record: Any = None) -> None:
    """Let the group write to the files of a database that was just opened, if it may write to their folder.

    Files of other users and databases in memory are left as they are.
    """
    if not isinstance(connection, sqlite3.Connection):
        return
    with suppress(sqlite3.Error, OSError):  # Dagster's next use of the database raises the error
        database = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        if database.name and database.parent.stat().st_mode & stat.S_IWGRP:
            for path in (database, *(database.with_name(f"{database.name}-{log}") for log in ("wal", "shm"))):
                mode = path.stat().st_mode  # the log, if there is none, gets the rights of the database
                if not mode & stat.S_IWGRP:
                    path.chmod(stat.S_IMODE(mode) | stat.S_IWGRP)


def _nothing(_record: logging.LogRecord) -> bool:
    """Filter out every message of a logger, even after Dagster has configured logging, which enables all loggers again."""
    return False


class _KeptOpen(QueuePool):  # type: ignore[misc]
    """Connections that stay open when Dagster disposes of their engine."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger.addFilter(_nothing)  # its messages would be printed, such as the traceback of an interrupt while a connection is closed

    def dispose(self) -> None:
        pass

    def recreate(self) -> "_KeptOpen":
        return self

    def close(self) -> None:
        super().dispose()


@contextmanager
def _connections_kept(storage: ModuleType) -> Iterator[None]:
    """Create one engine per database in a module of Dagster, with connections that stay open until the context ends."""
    declared = vars(storage)["create_engine"]

    def create(address: str, **options: Any) -> Engine:
        engine: Engine = declared(address, **{**options, "poolclass": _KeptOpen})
        event.listen(engine, "connect", share_database)  # first, while there is no log
        event.listen(engine, "connect", _wait_less)
        event.listen(engine, "commit", _Touch(engine.url.database))
        event.listen(engine, "handle_error", _leave_out_statement)
        until_the_end.callback(engine.pool.close)
        return engine

    with ExitStack() as until_the_end, _replaced(storage, "create_engine", _Memoized(create, str)):
        yield


def _wait_less(connection: sqlite3.Connection, _record: Any) -> None:
    with suppress(sqlite3.Error):  # if the database cannot be written to, Dagster's next use of it raises the error
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_mode = WAL")  # as Dagster sets it itself, but only after it has created the tables


def _leave_out_statement(context: ExceptionContext) -> None:
    """Leave the statement, often kilobytes of SQL, out of a message that Dagster prints, as when the disk is full."""
    if isinstance(problem := context.sqlalchemy_exception, StatementError):
        problem.statement = problem.params = problem.code = None


class _Touch:
    """Sets the time of a database's file after a commit, unless it was set just before."""

    def __init__(self, path: str | None) -> None:
        self._path, self._touched = path, -_SHOWN_EVERY

    def __call__(self, _connection: Any) -> None:
        if self._path and time.monotonic() - self._touched >= _SHOWN_EVERY:
            self._touched = time.monotonic()
            with suppress(OSError):  # the file belongs to another user
                os.utime(self._path)


class _Memoized:
    """A memoized function of a library. The key is the result of `by` for its first argument, together with its options."""

    def __init__(self, function: Callable[..., Any], by: Callable[[Any], object]) -> None:
        self._function, self._by, self._made = function, by, dict[object, Any]()

    def __call__(self, argument: Any, **options: Any) -> Any:
        key = (self._by(argument), repr(sorted(options.items())))
        if key not in self._made:
            self._made[key] = self._function(argument, **options)
        return self._made[key]


_REVISIONS = _Memoized(ScriptDirectory.from_config, lambda config: config.get_main_option("script_location"))
"""The lists of revisions, read once per process."""


@contextmanager
def _replaced(owner: Any, name: str, by: Callable[..., Any]) -> Iterator[None]:
    """Replace a function of a library within the context."""
    declared = vars(owner)[name]
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, declared)
