"""Conformance runs that are short."""

import pytest

from phyagi_assets.tokenizers import conformance


@pytest.fixture
def few_code_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let conformance look at Latin letters alone: a moment instead of fifteen seconds."""
    monkeypatch.setattr(conformance, "_code_point_groups", lambda: [range(0x300)])
