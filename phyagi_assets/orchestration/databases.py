"""The SQLite databases in which an instance of Dagster keeps its records, and messages about their problems."""

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from dagster_shared.error import SerializableErrorInfo

from phyagi_assets.errors import StoreError

_EVENTS = "history/runs/index.db"
"""Database of the events of all runs, as a path in the folder of the instance."""
_DATABASES = ("history/runs.db", _EVENTS, "schedules/schedules.db")
"""Databases to which Dagster's daemon writes."""
_ABANDONED = 60.0
"""Age after which an unfinished database is considered abandoned by the process that created it, in seconds."""
_OF_DATABASE = re.compile(r"^sqlalchemy\.exc\.\w+: \([\w.]+\) (.+)", re.MULTILINE)
"""First line of SQLAlchemy's message for a database error; the statement and its parameters follow."""


def databases_in(home: str) -> list[Path]:
    """Return the databases that exist in the folder of an instance."""
    return [path for name in _DATABASES if (path := Path(home) / name).exists()]


def require_usable_databases(home: str) -> None:
    """Remove a database whose creation was not finished, and check that the others can be read.

    With a damaged database, the servers would start nevertheless, and fail with unclear errors.
    """
    events = Path(home) / _EVENTS
    with suppress(OSError, sqlite3.Error):
        if _is_abandoned(events):
            remove_databases([events])
    for path in databases_in(home):
        try:
            with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as database:  # it may be locked
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as problem:
            raise StoreError(records_problem(home, f"{path.name}: {problem}")) from None


def _is_abandoned(events: Path) -> bool:
    """Return whether the database of events lacks tables, and no other process is creating it.

    Dagster creates these tables only together with the file, so it cannot use the file that a full disk or a killed process leaves behind.
    """
    if abs(time.time() - events.stat().st_mtime) < _ABANDONED or events.with_name(f"{events.name}-journal").exists():
        return False
    with closing(sqlite3.connect(events)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        is_finished = "alembic_version" in tables  # which is created last
        return not is_finished and ("event_logs" not in tables or database.execute("SELECT 1 FROM event_logs LIMIT 1").fetchone() is None)


def remove_databases(paths: Iterable[Path]) -> None:
    """Remove databases with their logs, which SQLite would apply to new databases of the same names."""
    for path in paths:
        for file in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path):
            file.unlink(missing_ok=True)


def database_failure_message(error: SerializableErrorInfo, home: str) -> str:
    """Return a message for the user if a failure was caused by Dagster's databases; empty for other failures.

    The message leaves out the SQL statement that failed.
    """
    found = next(filter(None, (_OF_DATABASE.search(cause.message) for cause in causes(error))), None)
    return records_problem(home, found[1]) if found else ""


def causes(error: SerializableErrorInfo) -> Iterator[SerializableErrorInfo]:
    """Yield an error and the chain of its causes."""
    following: SerializableErrorInfo | None = error
    while following:
        yield following
        following = following.cause or following.context


def records_problem(home: str, found: str) -> str:
    """Return the message about a problem with the records in the folder of an instance, given the error that was found."""
    if "unable to open" in found and not Path(home).exists():
        return (
            f"{home}: Dagster's records are gone: this folder was removed while they were in use, or its disk is not mounted; run the "
            "command again, which begins new ones. Published artifacts are kept"
        )
    if "readonly" in found:
        return (
            f"{home}: you may not write to Dagster's records; ask for the right to write to every file in it (docs/deploying.md "
            "describes a store that a group shares), or set DAGSTER_HOME to a folder of your own"
        )
    if "malformed" in found or "not a database" in found:
        return (
            f"{home}: Dagster's records are damaged: {found}; stop the UI if it runs, and move this folder away. Published artifacts "
            "are kept; the history of runs and the settings of sensors and schedules are lost"
        )
    causes = {
        "I/O": ", as when the disk is full",
        "unable to open": ", as when the disk is full or has no free inodes, too many files are open, or the path is longer than 400 bytes",
    }
    why = next((why for words, why in causes.items() if words in found), "")
    return f"{home}: Dagster's records cannot be kept: {found}{why}; what was published is kept"
