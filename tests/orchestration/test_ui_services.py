"""The processes of the UI can be stopped."""

import signal

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
