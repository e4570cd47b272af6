"""Reset the state that trainers leave in the test process."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _without_accelerate_afterwards() -> Iterator[None]:
    """Remove the state that a Trainer leaves in this process; streams reject some uses while accelerate is active."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)
