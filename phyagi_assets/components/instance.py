"""The project's own Dagster instance: where the UI finds what the command built."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import DatabaseError

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.pipeline.store import Store
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE, Settings

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
"""


def dagster_environment(settings: Settings) -> dict[str, str]:
    """The environment in which any Dagster command sees these folders and this instance; makes the instance's folder if need be."""
    home = settings.dagster_home
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            draft = home / f"dagster.{os.getpid()}.yaml"
            draft.write_text(_DAGSTER_YAML.format(runs=max(2, os.cpu_count() or 1)), encoding="utf-8")
            draft.replace(home / "dagster.yaml")
    except OSError as problem:
        raise PhyagiAssetsError(
            f"{home}: cannot be made: {problem.strerror}; choose another store with --store or ${STORE_VARIABLE}"
        ) from None
    return {**os.environ, "DAGSTER_HOME": str(home), DATA_VARIABLE: str(settings.data), STORE_VARIABLE: str(settings.store)}


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
        with Store(settings.store).turn("dagster/instance", silent=True):  # its databases are made when it is first opened, by one process
            instance = dg.DagsterInstance.from_config(home)
        with instance:
            try:
                yield instance
            finally:
                _share(Path(home))
    except DatabaseError as problem:
        said = f"{problem.orig}, as when the disk is full" if "I/O" in str(problem.orig) else str(problem.orig)
        if "readonly" in said:
            said = f"{said}; a store that several users write to needs a group that may write (see docs/keeping-fresh.md)"
        raise StoreError(f"{home}: Dagster's records cannot be kept: {said}; what was published stands") from problem


def _share(home: Path) -> None:
    """Let a group that may write to the instance's folder write to its databases: SQLite makes them for their owner alone."""
    with suppress(OSError):
        if home.stat().st_mode & stat.S_IWGRP:
            for path in home.rglob("*.db*"):
                with suppress(OSError):  # of another user
                    if not path.is_symlink():
                        path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWGRP)
