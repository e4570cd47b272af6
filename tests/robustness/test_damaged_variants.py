"""Damaged files are read correctly or raise an error that names them; none crashes a process, hangs it or exhausts its memory."""

from pathlib import Path

import pytest

from tests.robustness.damaged_sources import Sources
from tests.robustness.variant_runs import VariantCheck, VariantResults, run_variants

SOURCES, ARTIFACTS = 8_000, 2_000
"""Numbers of variants with ``--soak``."""
GROWTH = 256 << 20
"""Largest growth of the memory of a worker after its imports, in bytes."""


def check(results: VariantResults, variants: int) -> None:
    """Check that every variant was read correctly or raised an error that names its file."""
    assert results.problems == []
    assert results.outcomes.total() == variants
    assert results.outcomes["error"] > variants // 2
    assert results.grown < GROWTH


def test_damaged_source_is_read_correctly_or_named_in_an_error(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    count = SOURCES if pytestconfig.getoption("soak") else 150
    check(run_variants(Sources, tmp_path, 0, count), count)


def _artifacts(folder: Path) -> VariantCheck:
    from tests.robustness.damaged_artifacts import Artifacts

    return Artifacts(folder)


@pytest.mark.torch
def test_damaged_artifact_is_read_correctly_or_named_in_an_error(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    count = ARTIFACTS if pytestconfig.getoption("soak") else 16
    check(run_variants(_artifacts, tmp_path, 0, count), count)
