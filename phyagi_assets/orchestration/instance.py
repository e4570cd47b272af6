"""The Dagster instance of a store, which the command and the UI share."""

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg
import yaml
from dagster._check import CheckError
from dagster._core.errors import DagsterInvariantViolationError
from dagster._core.instance.ref import InstanceRef
from sqlalchemy.exc import DatabaseError

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.orchestration.databases import databases_in, records_problem, remove_databases, require_usable_databases
from phyagi_assets.orchestration.sqlite import fast_records
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE, Settings
from phyagi_assets.store.disk import replace_file
from phyagi_assets.store.local import LocalStore

logger = logging.getLogger(__name__)

UI = "dagster/ui"
"""Name of the lock that the UI of a store holds while it runs."""
_WITHOUT_CAPTURE = {"compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}}
"""Configuration of the command, which shows the output of its runs only in the terminal. To capture output, Dagster starts two processes
for each stream of each run, and waits for them."""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which any Dagster command uses these folders and this instance.

    The folder of the instance and its ``dagster.yaml`` are created if they do not exist.

    Raises
    ------
    PhyagiAssetsError
        The folder of the instance cannot be created.
    """
    home, template = settings.create_dagster_home(), files("phyagi_assets.orchestration").joinpath("dagster.yaml").read_text()
    try:
        if _needs_writing(home / "dagster.yaml", template):
            replace_file(home / "dagster.yaml", template.format(runs=max(2, os.cpu_count() or 1)).encode())
    except OSError as problem:
        raise settings.home_error(problem) from None
    if isinstance(settings.store, Path) and settings.store.is_dir():
        _warn_of_umask(settings.store)
    return {**os.environ, "DAGSTER_HOME": str(home), DATA_VARIABLE: str(settings.data), STORE_VARIABLE: str(settings.store)}


def _warn_of_umask(store: Path) -> None:
    """Log a warning if a group shares a store and could not write to the files that this process creates in it."""
    mode = store.stat().st_mode
    mask = os.umask(0o077)  # the only way to read it
    os.umask(mask)
    if mode & stat.S_ISGID and mode & stat.S_IWGRP & mask:
        logger.warning(
            "%s: belongs to a group, whose other members cannot continue what you build: your umask is %03o; set it to "
            "002 (docs/deploying.md)",
            store,
            mask,
        )


def ui_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which Dagster's UI starts, and keep other UIs off the store until this process ends.

    A store that may not be written to is not locked.

    Raises
    ------
    StoreError
        The records of the instance may not be written to, or are damaged.
    PhyagiAssetsError
        A UI is already running on the store, or ``dagster.yaml`` is not a valid configuration.
    """
    environment = dagster_environment(settings)
    home = environment["DAGSTER_HOME"]
    with _configuration_errors(home):
        keeps_records = _keeps_records(InstanceRef.from_dir(home), home)
    if keeps_records:
        if not all(os.access(path, os.W_OK) for path in (Path(home), *databases_in(home))):
            raise StoreError(records_problem(home, "readonly"))
        require_usable_databases(home)
    try:
        lock = _locks(settings).hold_lock(UI)
    except (PermissionError, StoreError):  # a read-only store, shown with a DAGSTER_HOME elsewhere
        return environment
    if lock is None:
        raise PhyagiAssetsError(
            f"{settings.store}: a UI is already running on this store, and a second one would start a second daemon; open the running "
            "one in your browser, or stop it first"
        )
    return environment


def _locks(settings: Settings) -> LocalStore:
    """Return the store with the locks of the instance: the store itself, or the folder of the instance if the store is in a bucket."""
    return LocalStore(settings.store if isinstance(settings.store, Path) else settings.dagster_home)


def _needs_writing(path: Path, template: str) -> bool:
    """Return whether a configuration is missing, or was written by an earlier release and can be replaced.

    A file that a user changed is kept.
    """
    if not path.exists():
        return True
    found = re.sub(r"max_concurrent_runs: \d+", "max_concurrent_runs: {runs}", path.read_bytes().decode(errors="replace"))
    without_retries = template.partition("scheduler:")[0]
    without_pools = without_retries.replace("  pools:\n    granularity: run\n", "")
    return found in (without_retries, without_pools, without_pools.partition("sensors:")[0]) and os.access(path.parent, os.W_OK)


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a store.

    Database errors are also turned into a `StoreError` inside the context.

    Raises
    ------
    StoreError
        The databases of the instance cannot be opened or written to: access is denied, the disk is full, the server is down, or they are
        damaged.
    PhyagiAssetsError
        The folder of the instance cannot be created, or ``dagster.yaml`` is not a valid configuration.
    """
    home = dagster_environment(settings)["DAGSTER_HOME"]
    try:
        with fast_records(), _opened(settings, home) as instance:
            yield instance
    except OSError as problem:
        if not str(problem.filename or "").startswith(home):
            raise
        raise StoreError(records_problem(home, f"{problem.filename}: {problem.strerror}")) from problem
    except Exception as problem:
        found = problem if isinstance(problem, DatabaseError) else problem.__cause__  # dagster-postgres raises errors of its own
        if not isinstance(found, DatabaseError):
            raise
        raise StoreError(records_problem(home, " ".join(str(found.orig).split()))) from problem


def _keeps_records(reference: InstanceRef, home: str) -> bool:
    """Return whether the records are in the folder of the instance, and not in Postgres or another place that ``dagster.yaml`` names."""
    return bool(reference.storage_data == InstanceRef.config_defaults(home)["storage"])


def _opened(settings: Settings, home: str) -> dg.DagsterInstance:
    try:
        with (
            _locks(settings).lock("dagster/instance", silent=True),  # one process creates the databases at the first opening
            _configuration_errors(home),
        ):
            reference = InstanceRef.from_dir(home, overrides=_WITHOUT_CAPTURE)
            if _keeps_records(reference, home):
                require_usable_databases(home)
            found = databases_in(home)
            try:
                return dg.DagsterInstance.from_ref(reference)
            except DatabaseError:  # the disk is full: Dagster does not create the missing tables later
                remove_databases(path for path in databases_in(home) if path not in found)
                raise
    except PermissionError as problem:
        raise StoreError(
            f"{problem.filename or home}: you may not write here; ask for the right to, or name a store of your own with --store or "
            f"${STORE_VARIABLE}"
        ) from problem


@contextmanager
def _configuration_errors(home: str) -> Iterator[None]:
    """Turn Dagster's errors about an invalid configuration into errors without a traceback."""
    try:
        yield
    except (dg.DagsterInvalidConfigError, yaml.YAMLError, UnicodeDecodeError, CheckError, DagsterInvariantViolationError) as problem:
        found = " ".join(str(problem).split())
        raise PhyagiAssetsError(f"{Path(home) / 'dagster.yaml'}: is not a valid configuration of Dagster: {found[:500]}") from problem
