"""Fast use of the SQLite databases in which Dagster keeps its records.

For every event that it stores, Dagster creates an engine of SQLAlchemy, opens the database and closes it again. This costs much of the
time of a small change, in three ways:

* SQLite waits for the disk at each commit, and again when the last connection to the database is closed: some 500 times. Databases in WAL
  mode stay consistent without these waits, and what is published in the store does not depend on them; after a power failure, the last
  events may be missing, and the next command records them again.
* A new engine compiles each statement anew.
* Every database that is opened for the first time reads all files of the schema's revisions.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def fast_records() -> Iterator[None]:
    """Let SQLite wait for the disk once per database, when the context ends, and use engines and lists of revisions again.

    Inside another such context, nothing is added: the command opens the instance in one, and so do its runs.
    """
    if isinstance(vars(sqlite_event_log)["create_engine"], _CalledOnce):
        yield
        return
    with ExitStack() as until_the_end:
        until_the_end.enter_context(_few_waits())
        for storage in (sqlite_event_log, sqlite_run_storage):
            until_the_end.enter_context(_called_once(storage, "create_engine"))
        until_the_end.enter_context(_called_once(ScriptDirectory, "from_config", by=_location))
        yield


def _location(config: Config) -> object:
    return config.get_main_option("script_location")


@contextmanager
def _few_waits() -> Iterator[None]:
    kept: dict[str, sqlite3.Connection] = {}

    def on_connect(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.Error):  # a database that cannot be written to: what Dagster does with it next raises the error
                _wait_less(connection, kept)

    event.listen(Engine, "connect", on_connect)
    try:
        yield
    finally:
        event.remove(Engine, "connect", on_connect)
        for connection in kept.values():
            connection.close()


def _wait_less(connection: sqlite3.Connection, kept: dict[str, sqlite3.Connection]) -> None:
    """Prepare a connection, and keep another one to the same database open, by path of the database."""
    connection.execute("PRAGMA synchronous = NORMAL")
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if not path:  # a database in memory
        return
    if path not in kept:
        connection.execute("PRAGMA journal_mode = WAL")  # as Dagster sets it itself, but only after it has created the tables
        kept[path] = sqlite3.connect(path, timeout=60, check_same_thread=False)
    # Once this connection has seen the database in WAL mode, none of Dagster's is the last one to be closed.
    kept[path].execute("PRAGMA schema_version").fetchone()


class _CalledOnce:
    """A function of a library that returns the same object whenever its first argument, seen through `by`, and its options are the same."""

    def __init__(self, function: Callable[..., Any], by: Callable[[Any], object]) -> None:
        self._function, self._by, self._made = function, by, dict[object, Any]()

    def __call__(self, argument: Any, **options: Any) -> Any:
        key = (self._by(argument), repr(sorted(options.items())))
        if key not in self._made:
            self._made[key] = self._function(argument, **options)
        return self._made[key]


@contextmanager
def _called_once(owner: Any, name: str, by: Callable[[Any], object] = str) -> Iterator[None]:
    """Replace a function of a library by `_CalledOnce` within the context."""
    declared = vars(owner)[name]
    setattr(owner, name, _CalledOnce(getattr(owner, name), by))
    try:
        yield
    finally:
        setattr(owner, name, declared)
