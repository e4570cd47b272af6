"""Reference stores for all test processes, and folders in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.robustness.readers import Known, what_is_published
from tests.robustness.reference_stores import ReferenceStores, make_reference_stores
from tests.support import made_once

_MEMORY, _ENOUGH = Path("/dev/shm"), 1 << 30


@contextmanager
def _quick_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory where there is room: databases flush with every event, and a killed process loses nothing that it has written."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        with TemporaryDirectory(prefix="robustness-", dir=_MEMORY) as folder:
            yield Path(folder)
    else:
        yield otherwise


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder, in memory if possible."""
    with _quick_folder(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> ReferenceStores:
    """A data folder and the stores that uninterrupted commands build from it."""

    def make(folder: Path) -> None:
        folder.mkdir()
        with _quick_folder(folder) as quick:  # as quick as those that will be disturbed
            make_reference_stores(quick, prepared_store)
            if quick != folder:
                shutil.copytree(quick, folder, symlinks=True, dirs_exist_ok=True)

    return ReferenceStores(root=made_once(tmp_path_factory, "reference", make))


@pytest.fixture(scope="session")
def known(reference: ReferenceStores, request: pytest.FixtureRequest) -> Known:
    """All contents that readers may find published."""
    if request.config.getoption("--without-torch"):
        pytest.skip("needs torch")
    return {**what_is_published(reference.built), **what_is_published(reference.refreshed)}
