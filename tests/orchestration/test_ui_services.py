"""The processes of the UI can be stopped."""

import os
import select
import signal
import subprocess
import sys

import pytest
from dagster._cli import dev
from dagster._utils.interrupts import setup_interrupt_handlers

from phyagi_assets.orchestration.ui_services import start


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


_STARTS_ONE_AND_IS_KILLED = """
import os, signal, sys
from dagster._cli import dev
from phyagi_assets.orchestration.ui_services import start

def implementation(**_):
    dev.open_ipc_subprocess(["sleep", "60"])
    os.kill(os.getpid(), signal.SIGKILL)

dev.dev_command_impl = implementation
start("127.0.0.1", "3000", "workspace.yaml")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stops the children of a process that was killed")
def test_processes_of_a_killed_ui_end() -> None:
    reads, writes = os.pipe()  # whose end is held open by the processes
    killed = subprocess.run([sys.executable, "-c", _STARTS_ONE_AND_IS_KILLED], check=False, stdout=writes)
    os.close(writes)
    assert killed.returncode == -signal.SIGKILL
    assert select.select([reads], [], [], 20)[0]
    os.close(reads)
