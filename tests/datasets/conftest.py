"""Reset the state that trainers leave in the test process."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _patience_with_loader_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loader workers take their time to end.

    A worker that has not ended after 5 seconds is terminated, and torch then raises an error in whatever code runs at that moment, such as
    `logging` with its lock held.
    """
    if utilities := sys.modules.get("torch.utils.data._utils"):
        monkeypatch.setattr(utilities, "MP_STATUS_CHECK_INTERVAL", 60.0)


@pytest.fixture(autouse=True)
def _without_accelerate_afterwards() -> Iterator[None]:
    """Remove the state that a Trainer leaves in this process; streams reject some uses while accelerate is active."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)
