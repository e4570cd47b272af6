"""Reset the state that trainers leave in the test process."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _without_accelerate_afterwards() -> Iterator[None]:
    """Take back what a Trainer leaves in this process: streams refuse to be shared where accelerate is in use."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)
