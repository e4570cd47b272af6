"""One yard for all test processes, and folders in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.robustness.readers import Known, what_is_published
from tests.robustness.yard import Yard, make_yard
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
    """As ever, and in memory."""
    with _quick_folder(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="session")
def yard(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Yard:
    """A data folder and what undisturbed commands make of it."""

    def make(folder: Path) -> None:
        folder.mkdir()
        with _quick_folder(folder) as quick:  # as quick as those that will be disturbed
            make_yard(quick, prepared_store)
            if quick != folder:
                shutil.copytree(quick, folder, symlinks=True, dirs_exist_ok=True)

    return Yard(root=made_once(tmp_path_factory, "yard", make))


@pytest.fixture(scope="session")
def known(yard: Yard) -> Known:
    """All that readers may ever find published."""
    return {**what_is_published(yard.built), **what_is_published(yard.refreshed)}
