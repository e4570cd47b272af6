"""The command that opens Dagster's UI."""

import logging
import os
import sys
from pathlib import Path

import click

from phyagi_assets.cli.common import WholeNumber, number_option, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.settings import REPORTS_VARIABLE, Settings

logger = logging.getLogger(__name__)


@verb(reports=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all addresses of this machine.")
@number_option("--port", "-p", type=WholeNumber(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@with_settings
def ui(output: Output, host: str, port: int, settings: Settings) -> None:
    """Open Dagster's UI on a data folder and its store.

    Only one UI can run on a store at a time, because each starts its own daemon. The UI has no login: everyone who reaches the address can
    start runs. Keep the default host, and reach the UI from elsewhere through an SSH tunnel or a reverse proxy with a login.
    """
    from phyagi_assets.cli.ports import require_free_port
    from phyagi_assets.orchestration.instance import ui_environment
    from phyagi_assets.store.places import open_store

    output.messages()
    settings.require_data()
    if not isinstance(settings.store, Path):
        open_store(settings.store).names()  # an error of the bucket is reported here, and not in the daemon's log
    environment = ui_environment(settings)
    require_free_port(host, port)
    if not host.startswith("127.") and host not in ("localhost", "::1"):
        logger.warning("the UI has no login: everyone who reaches %s can start runs", host)
    output.say(f"Dagster's UI: http://{host}:{port}")
    sys.stdout.flush()
    workspace = Path(__file__).parents[1] / "workspace.yaml"  # the package's own, so that the code location always has the same name
    command = [sys.executable, "-m", "phyagi_assets.orchestration.ui_services", host, str(port), str(workspace)]
    # Python files in the current folder, such as a yaml.py, must not replace the modules that Dagster imports.
    os.execve(sys.executable, command, {REPORTS_VARIABLE: "/reports", "PYTHONSAFEPATH": "1", **environment})
