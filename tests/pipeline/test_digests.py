"""Files are read when they may have changed, and not otherwise."""

import os
import time
from pathlib import Path

import pytest

from phyagi_assets.pipeline import digests
from phyagi_assets.pipeline.digests import DigestCache
from phyagi_assets.pipeline.fingerprint import file_digest
from phyagi_assets.pipeline.sources.files import SourceFile
from phyagi_assets.pipeline.sources.local import stamp_of


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content has been read."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", counted)
    monkeypatch.setattr(digests, "_QUIET_NS", 50_000_000)
    return read


def digest(cache: Path, file: Path) -> str:
    """As a run of its own would find it."""
    opened = DigestCache(cache)
    seen = file.stat()
    listed = SourceFile(name=file.name, origin=str(file), size=seen.st_size, stamp=stamp_of(file), path=file)
    found = opened.read(listed, file)
    opened.save()
    return found


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """A file that has not changed for a while."""
    path = tmp_path / "file"
    path.write_text("before")
    time.sleep(0.1)
    return path


def test_a_file_that_looks_the_same_is_not_read_again(tmp_path: Path, quiet: Path, reads: list[Path]) -> None:
    assert digest(tmp_path / "cache", quiet) == digest(tmp_path / "cache", quiet) == file_digest(quiet)
    assert reads == [quiet]


@pytest.mark.usefixtures("reads")
def test_an_edit_is_noticed_though_size_and_time_are_put_back(tmp_path: Path, quiet: Path) -> None:
    before, seen = digest(tmp_path / "cache", quiet), quiet.stat()
    quiet.write_text("behind")
    os.utime(quiet, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert digest(tmp_path / "cache", quiet) != before


def test_a_file_that_changed_a_moment_ago_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "file"
    path.write_text("just now")
    digest(tmp_path / "cache", path)
    digest(tmp_path / "cache", path)
    assert reads == [path, path]


def test_a_touched_file_is_read_and_found_the_same(tmp_path: Path, quiet: Path, reads: list[Path]) -> None:
    before = digest(tmp_path / "cache", quiet)
    quiet.touch()
    assert digest(tmp_path / "cache", quiet) == before
    assert len(reads) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}'])
def test_a_cache_that_cannot_be_read_is_made_anew(tmp_path: Path, quiet: Path, content: str) -> None:
    (tmp_path / "cache").write_text(content)
    assert digest(tmp_path / "cache", quiet) == file_digest(quiet)
