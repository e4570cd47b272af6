"""Reference stores for all test processes."""

from pathlib import Path

import pytest

from tests.robustness.readers import Known, what_is_published
from tests.robustness.reference_stores import ReferenceStores, make_reference_stores
from tests.support import made_once


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> ReferenceStores:
    """A data folder and the stores that uninterrupted commands build from it."""

    def make(folder: Path) -> None:
        folder.mkdir()
        make_reference_stores(folder, prepared_store)

    return ReferenceStores(root=made_once(tmp_path_factory, "reference", make))


@pytest.fixture(scope="session")
def known(reference: ReferenceStores) -> Known:
    """All contents that readers may find published."""
    return {**what_is_published(reference.built), **what_is_published(reference.refreshed)}
