"""The project's own Dagster instance: where the UI finds what the command built."""

import os

import dagster as dg

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.pipeline.store import Store
from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE, Settings

_DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
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
            (home / "dagster.yaml").write_text(_DAGSTER_YAML, encoding="utf-8")
    except OSError as problem:
        raise PhyagiAssetsError(
            f"{home}: cannot be made: {problem.strerror}; choose another store with --store or ${STORE_VARIABLE}"
        ) from None
    return {**os.environ, "DAGSTER_HOME": str(home), DATA_VARIABLE: str(settings.data), STORE_VARIABLE: str(settings.store)}


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance, to be closed by the caller (it is a context manager)."""
    home = dagster_environment(settings)["DAGSTER_HOME"]
    with Store(settings.store).turn("dagster/instance"):  # its databases are made when it is first opened, by one process
        return dg.DagsterInstance.from_config(home)
