"""Processes forked from one that has done the imports, because imports take longer than most commands.

There is one such server, also where several processes run the tests; they are forked from it as well. Its imports are set before its
first fork: all that fork from it share this module.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.resource_tracker import ensure_running as ensure_tracker_is_running
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "alembic.context",
        "awkward",
        "dagster._core.definitions.external_asset",
        "dagster._core.execution.execute_in_process",
        "dagster._core.executor.in_process",
        "dagster._core.instance.factory",
        "dagster._core.storage.legacy_storage",
        "dagster._core.storage.noop_compute_log_manager",
        "dagster._core.storage.sqlite_storage",
        "dagster_webserver.app",
        "datasets",
        "dotenv",
        "fsspec.implementations.local",
        "gigatoken",
        "hypothesis",
        "jsonschema",
        "pandas",
        "phyagi_assets.cli",
        "phyagi_assets.cli.progress",
        "phyagi_assets.cli.render",
        "phyagi_assets.cli.render_state",
        "phyagi_assets.inspection.check",
        "phyagi_assets.inspection.garbage",
        "phyagi_assets.inspection.remove",
        "phyagi_assets.inspection.status",
        "phyagi_assets.orchestration.component",
        "phyagi_assets.orchestration.instance",
        "phyagi_assets.orchestration.materialize",
        "phyagi_assets.store.bucket_store",
        "phyagi_assets.tokenizers.byte_level",
        "pydantic.dataclasses",
        "pytest",
        "rich._emoji_codes",
        "tests.robustness.command",
        "tokenizers",
        "torch",
        "transformers.models.auto.tokenization_auto",
        "upath.implementations.local",
        "watchdog.observers.polling",
        "tests.first_run",
        "tests.settled",
    ]
)

_ADDRESS = "PHYAGI_ASSETS_TESTS_FORK_SERVER"
"""Environment variable with the address of the server, which ends with the process that has started it."""


def share_server() -> None:
    """Start the server for this process and those that it starts, or use that of the process that has started this one."""
    server: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    if _ADDRESS not in os.environ:
        server.ensure_running()
        os.environ[_ADDRESS] = server._forkserver_address.encode().hex()  # it may begin with a zero byte
        return
    server._forkserver_address = bytes.fromhex(os.environ[_ADDRESS]).decode()
    server._forkserver_alive_fd = os.pipe()[1]  # each request passes one on
    server.ensure_running = ensure_tracker_is_running  # it would wait for the server as for a child


def in_fork(do: Callable[..., Any], *arguments: Any, context: BaseContext = FORKS) -> Any:
    """Return the result of a function of a module, called in a forked process, which is alone with its memory and its limits.

    Parameters
    ----------
    context
        By default, the process is forked from the server; with the context ``fork``, from the test process and all that it has imported.
    """
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, do, arguments))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    try:
        succeeded, result = receiver.recv()
    except EOFError:
        succeeded, result = False, "the process ended early"
    process.join()
    assert succeeded, result
    return result


def _send_result(sender: Connection, do: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = True, do(*arguments)
    except BaseException:
        result = False, traceback.format_exc()
    sender.send(result)


def interpreter_in_fork(root: Path) -> str:
    """Return the command of an interpreter that runs in a process forked from the server; its arguments end with ``-c`` and a program."""
    start = f"import sys; sys.path.insert(0, {str(root)!r}); from tests import forks; sys.exit(forks.run_program_in_fork())"
    return shlex.join([sys.executable, "-c", start])


def run_program_in_fork() -> int | None:
    """Run the program that is the last argument of this process in a fork, with the environment and the streams of this process."""
    share_server()
    streams = [Connection(os.dup(number)) for number in range(3)]
    fork = FORKS.Process(target=_run_program, args=(sys.argv[-1], dict(os.environ), streams))
    fork.start()
    fork.join()
    return fork.exitcode


def _run_program(program: str, environment: dict[str, str], streams: list[Connection]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    multiprocessing.set_start_method(None, force=True)  # the platform's own, as in an interpreter that is not forked
    exec(program, {"__name__": "__main__"})
