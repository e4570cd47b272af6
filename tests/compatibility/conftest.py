"""The data folder of an earlier release, unpacked for each test so that the test can change it."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def old_data(tmp_path: Path) -> Path:
    """The data folder, with the store in it."""
    with tarfile.open(HERE / "store.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """Values that the earlier release read from the store."""
    found: dict[str, Any] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
    return found
