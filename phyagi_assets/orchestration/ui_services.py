"""The processes of ``phyagi-assets ui``: those of ``dg dev``, with a web server that serves reports and a faster daemon."""

import ctypes
import signal
import sys
from collections.abc import Sequence
from typing import Any

from dagster._cli import dev
from dagster_shared.cli import WorkspaceOpts

from phyagi_assets.orchestration.sqlite import share_databases

_STARTS = "open_ipc_subprocess"
"""Function by which Dagster starts its processes."""
_REPLACED = {"dagster_webserver": "phyagi_assets.orchestration.webserver", "dagster._daemon": "phyagi_assets.orchestration.daemon"}
"""Modules that run instead of those of Dagster."""


def start(host: str, port: str, workspace: str) -> None:
    """Start the web server, the daemon and the code server, and wait until they are stopped."""
    # A script starts its background processes with SIGINT ignored. Dagster handles SIGTERM as SIGINT, so neither would stop the UI.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    share_databases()
    open_subprocess = vars(dev)[_STARTS]

    def with_modules_replaced(command: Sequence[str], **options: Any) -> Any:
        replaced = [*command[:2], *(_REPLACED.get(module, module) for module in command[2:3]), *command[3:]]  # python -m MODULE
        return open_subprocess(replaced, **{"preexec_fn": _end_with_parent, **options})

    vars(dev)[_STARTS] = with_modules_replaced
    dev.dev_command_impl(
        code_server_log_level="warning",
        log_level="info",
        log_format="colored",
        port=port,
        host=host,
        use_legacy_code_server_behavior=False,
        shutdown_pipe=None,
        verbose=False,
        workspace_opts=WorkspaceOpts(workspace=[workspace]),
    )


def _end_with_parent() -> None:
    """Let Linux stop this process when its parent has died, even by a kill; Dagster's processes would otherwise keep running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_PR_SET_PDEATHSIG = 1


if __name__ == "__main__":
    start(*sys.argv[1:])
