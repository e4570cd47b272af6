"""The processes of the UI can be stopped."""

import os
import signal
import sys
from multiprocessing.connection import Connection

import pytest
from dagster._cli import dev
from dagster._utils.interrupts import setup_interrupt_handlers

from phyagi_assets.orchestration.ui_services import start
from tests.forks import FORKS


def test_ui_that_a_script_started_in_the_background_can_be_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does
    monkeypatch.setattr(dev, "dev_command_impl", lambda **_: setup_interrupt_handlers())
    monkeypatch.setattr(dev, "open_ipc_subprocess", dev.open_ipc_subprocess)  # which is replaced
    try:
        start("127.0.0.1", "3000", "workspace.yaml")
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_one_and_be_killed(writes: Connection) -> None:
    """Start the UI, of which one process holds a pipe open."""

    def implementation(**_: object) -> None:
        dev.open_ipc_subprocess(["sleep", "60"], pass_fds=[writes.fileno()])
        os.kill(os.getpid(), signal.SIGKILL)

    dev.dev_command_impl = implementation
    start("127.0.0.1", "3000", "workspace.yaml")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stops the children of a process that was killed")
def test_processes_of_a_killed_ui_end() -> None:
    reads, writes = FORKS.Pipe(duplex=False)
    with reads:
        with writes:
            killed = FORKS.Process(target=start_one_and_be_killed, args=(writes,))
            killed.start()
        killed.join()
        assert killed.exitcode == -signal.SIGKILL
        assert reads.poll(20)  # the end of the pipe
