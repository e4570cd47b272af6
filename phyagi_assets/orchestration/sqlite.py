"""Fewer waits for the disk while Dagster writes its records to SQLite.

Dagster opens and closes a database for every event that it stores. SQLite then waits for the disk at each commit, and again when the last
connection to the database is closed: some 500 times while one small change is built, which took up to half of the command's time. Databases
in WAL mode stay consistent without these waits, and what is published in the store does not depend on them; after a power failure, the
last events may be missing, and the next command records them again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def few_waits() -> Iterator[None]:
    """Let SQLite wait for the disk once per database, when the context ends, and not at every event."""
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
