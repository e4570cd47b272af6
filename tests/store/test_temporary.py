import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from phyagi_assets.store.temporary import temporary_folder


@pytest.fixture(autouse=True)
def area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_temporary_folders_of_living_owners_and_foreign_files_are_kept(area: Path) -> None:
    foreign = [area / name for name in ("phyagi-assets-10000001", "phyagi-assets_notes.txt", "phyagi-assets_12345678x", "pymp-12345678")]
    for folder in foreign:
        folder.mkdir()
    with temporary_folder() as first, temporary_folder() as second:
        (first / "file").touch()
        assert sorted(area.iterdir()) == sorted([*foreign, first, second])
    assert sorted(area.iterdir()) == sorted(foreign)


def test_temporary_folder_of_a_dead_owner_is_deleted_by_the_next(area: Path) -> None:
    module = "phyagi_assets.store.temporary"
    killed = f"import os, {module} as t; c = t.temporary_folder(); (c.__enter__() / 'inner').mkdir(); os._exit(9)"
    subprocess.run([sys.executable, "-c", killed], env={**os.environ, "TMPDIR": str(area)}, check=False)
    assert len(list(area.glob("*/inner"))) == 1
    with temporary_folder() as folder:
        assert list(area.iterdir()) == [folder]


def test_temporary_folder_taken_for_an_abandoned_one_is_created_again(area: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create, taken = tempfile.mkdtemp, [True, False]

    def taken_at_once(**options: str) -> str:
        path = create(**options)
        if taken.pop(0):
            Path(path).rmdir()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", taken_at_once)
    with temporary_folder() as folder:
        assert list(area.iterdir()) == [folder]
