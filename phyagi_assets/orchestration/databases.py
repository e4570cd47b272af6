"""The SQLite databases in which an instance of Dagster keeps its records: their problems, in words for users."""

import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from dagster_shared.error import SerializableErrorInfo

from phyagi_assets.errors import StoreError

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Databases to which Dagster's daemon writes, as paths in the folder of the instance."""
_ABANDONED = 60.0
"""Age after which an empty database is considered abandoned by the process that created it, in seconds."""
_OF_DATABASE = re.compile(r"^sqlalchemy\.exc\.\w+: \([\w.]+\) (.+)", re.MULTILINE)
"""First line of SQLAlchemy's message for a database error; the statement and its parameters follow."""


def databases_in(home: str) -> list[Path]:
    """Return the databases that exist in the folder of an instance."""
    return [path for name in _DATABASES if (path := Path(home) / name).exists()]


def require_usable_databases(home: str) -> None:
    """Remove empty databases, which Dagster cannot use because they have no tables, and check that the others can be read.

    With a damaged database, the servers would start all the same, and fail with unclear errors.
    """
    for path in databases_in(home):
        with suppress(OSError):
            if _is_abandoned(path):
                path.unlink()
    for path in databases_in(home):
        try:
            with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as database:  # it may be locked
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as problem:
            raise StoreError(records_problem(home, f"{path.name}: {problem}")) from None


def _is_abandoned(path: Path) -> bool:
    """Return whether a database is empty, as a full disk leaves it behind, and no other process is creating it."""
    seen = path.stat()
    logs = [path.with_name(f"{path.name}-{log}") for log in ("wal", "journal")]  # SQLite would apply one to the new database
    return seen.st_size == 0 and abs(time.time() - seen.st_mtime) > _ABANDONED and not any(log.exists() for log in logs)


def database_failure_message(error: SerializableErrorInfo, home: str) -> str:
    """Return a message for the user if a failure was caused by Dagster's databases; empty for other failures.

    The message leaves out the SQL statement that failed.
    """
    following: SerializableErrorInfo | None = error
    while following:
        if found := _OF_DATABASE.search(following.message):
            return records_problem(home, found[1])
        following = following.cause or following.context
    return ""


def records_problem(home: str, found: str) -> str:
    """Return the message about a problem with the records in the folder of an instance, given the error that was found."""
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
        "unable to open": ", as when the disk is full or has no free inodes, or too many files are open",
    }
    why = next((why for words, why in causes.items() if words in found), "")
    return f"{home}: Dagster's records cannot be kept: {found}{why}; what was published is kept"
