"""The project's own Dagster instance: where the UI finds what the command built."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import yaml
from dagster._check import CheckError
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.instance.ref import InstanceRef
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy.exc import DatabaseError

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE, Settings
from phyagi_assets.store.local import Store

UI = "dagster/ui"
"""Name of the turn that the UI of a store keeps while it runs."""
_OF_DATABASE = re.compile(r"^sqlalchemy\.exc\.\w+: \([\w.]+\) (.+)", re.MULTILINE)
"""First line of what SQLAlchemy says of an error of a database, after which it gives the statement and its parameters."""
_DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: {runs}
python_logs:
  managed_python_loggers: [phyagi_assets]
  python_log_level: INFO
sensors:
  use_threads: true
  num_workers: 8
schedules:
  use_threads: true
  num_workers: 8
"""
_EARLIER_YAML = _DAGSTER_YAML.partition("sensors:")[0]
"""Configuration written by earlier releases. A file that a user changed is left alone."""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The environment in which any Dagster command sees these folders and this instance; makes the instance's folder if need be."""
    home = settings.dagster_home
    try:
        home.mkdir(parents=True, exist_ok=True)
        if _is_to_be_written(home / "dagster.yaml"):
            draft = home / f"dagster.{os.getpid()}.yaml"
            draft.write_text(_DAGSTER_YAML.format(runs=max(2, os.cpu_count() or 1)), encoding="utf-8")
            draft.replace(home / "dagster.yaml")
    except OSError as problem:
        raise PhyagiAssetsError(
            f"{home}: cannot be made: {problem.strerror}; choose another store with --store or ${STORE_VARIABLE}"
        ) from None
    return {**os.environ, "DAGSTER_HOME": str(home), DATA_VARIABLE: str(settings.data), STORE_VARIABLE: str(settings.store)}


def ui_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which Dagster's UI starts, and keep other UIs off the store until this process ends.

    A store that may not be written to is not locked.

    Raises
    ------
    PhyagiAssetsError
        A UI is already running on the store, or ``dagster.yaml`` is not a valid configuration.
    """
    environment = dagster_environment(settings)
    home = environment["DAGSTER_HOME"]
    with _configuration_errors(home):
        InstanceRef.from_dir(home)
    try:
        lock = Store(settings.store).keep_turn(UI)
    except (PermissionError, StoreError):  # a store that can only be read, shown with a DAGSTER_HOME elsewhere
        return environment
    if lock is None:
        raise PhyagiAssetsError(
            f"{settings.store}: a UI is already running on this store, and a second one would start a second daemon; open the running "
            "one in your browser, or stop it first"
        )
    return environment


def _is_to_be_written(path: Path) -> bool:
    """Whether a configuration is missing, or is what an earlier release wrote."""
    if not path.exists():
        return True
    found = re.sub(r"max_concurrent_runs: \d+", "max_concurrent_runs: {runs}", path.read_bytes().decode(errors="replace"))
    return found == _EARLIER_YAML and os.access(path.parent, os.W_OK)


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance, while inside.

    Raises
    ------
    StoreError
        Its databases cannot be written to, then or later: the disk is full, or they are damaged.
    """
    home = dagster_environment(settings)["DAGSTER_HOME"]
    try:
        with _opened(settings, home) as instance:
            try:
                yield instance
            finally:
                _share(Path(home))
    except DatabaseError as problem:
        raise StoreError(_records_problem(home, str(problem.orig))) from problem
    except OSError as problem:
        if not str(problem.filename or "").startswith(home):
            raise
        raise StoreError(_records_problem(home, f"{problem.filename}: {problem.strerror}")) from problem


def told_of_records(error: SerializableErrorInfo, home: str) -> str:
    """Return what the user can put right of a failure of Dagster's records, without the statement that failed; empty for other failures.

    Parameters
    ----------
    error
        What ended a step, and what caused it.
    home
        The folder that holds the records.
    """
    following: SerializableErrorInfo | None = error
    while following:
        if found := _OF_DATABASE.search(following.message):
            return _records_problem(home, found[1])
        following = following.cause or following.context
    return ""


def _records_problem(home: str, found: str) -> str:
    if "readonly" in found:
        return (
            f"{home}: you may not write to Dagster's records; ask for the right to write to every file in it (docs/keeping-fresh.md "
            "describes stores that several users write to), or set DAGSTER_HOME to a folder of your own"
        )
    causes = {"I/O": ", as when the disk is full", "unable to open": ", as when the disk is full or has no free inodes"}
    why = next((why for words, why in causes.items() if words in found), "")
    return f"{home}: Dagster's records cannot be kept: {found}{why}; what was published stands"


def _share(home: Path) -> None:
    """Let a group that may write to the instance's folder write to its databases: SQLite makes them for their owner alone."""
    with suppress(OSError):
        if home.stat().st_mode & stat.S_IWGRP:
            for path in home.rglob("*.db*"):
                with suppress(OSError):  # of another user
                    if not path.is_symlink():
                        path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWGRP)


def _opened(settings: Settings, home: str) -> dg.DagsterInstance:
    try:
        with (
            Store(settings.store).turn("dagster/instance", silent=True),  # its databases are made when it is first opened, by one process
            _configuration_errors(home),
        ):
            return dg.DagsterInstance.from_config(home)
    except PermissionError as problem:
        raise StoreError(
            f"{problem.filename or home}: you may not write here; ask for the right to, or name a store of your own with --store or "
            f"${STORE_VARIABLE}"
        ) from problem


@contextmanager
def _configuration_errors(home: str) -> Iterator[None]:
    """Report a configuration that Dagster does not accept without a traceback."""
    try:
        yield
    except (dg.DagsterInvalidConfigError, yaml.YAMLError, UnicodeDecodeError, CheckError, DagsterInvariantViolationError) as problem:
        found = " ".join(str(problem).split())
        raise PhyagiAssetsError(f"{Path(home) / 'dagster.yaml'}: is not a valid configuration of Dagster: {found[:500]}") from problem
