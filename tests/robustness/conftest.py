"""One yard for all test processes."""

from pathlib import Path

import pytest

from tests.robustness.readers import Known, what_is_published
from tests.robustness.yard import Yard, make_yard
from tests.support import made_once


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Yard:
    """A data folder and what undisturbed commands make of it."""
    return Yard(root=made_once(tmp_path_factory, "yard", lambda draft: make_yard(draft, prepared_store)))


@pytest.fixture(scope="session")
def known(yard: Yard) -> Known:
    """All that readers may ever find published."""
    return {**what_is_published(yard.built), **what_is_published(yard.refreshed)}
