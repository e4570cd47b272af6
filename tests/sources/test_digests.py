"""Files are hashed only if they may have changed."""

import os
from pathlib import Path

import pytest

from phyagi_assets.sources import digests
from phyagi_assets.sources.digests import DigestCache
from phyagi_assets.sources.files import SourceFile
from phyagi_assets.store.disk import stamp_of
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.state import State


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content has been read."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", counted)
    return read


def digest(cache: Path, file: Path, quiet: float = 0) -> str:
    """Return the digest of a file, found with a new cache object."""
    opened = DigestCache(State(cache), quiet=quiet)
    seen = file.stat()
    listed = SourceFile(name=file.name, origin=str(file), size=seen.st_size, stamp=stamp_of(file), path=file)
    found = opened.read(listed, file)
    opened.save()
    return found


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """A file that was last changed before the clock of the file system ticked."""
    path = tmp_path / "file"
    path.write_text("before")
    wait_for_tick(path)
    return path


def wait_for_tick(file: Path) -> None:
    """Wait until a change of a file changes its times."""
    probe = file.with_name("probe")
    while not probe.exists() or probe.stat().st_ctime_ns <= file.stat().st_ctime_ns:
        probe.write_text("tick")


def test_file_with_the_same_stamp_is_not_read_again(tmp_path: Path, quiet: Path, reads: list[Path]) -> None:
    assert digest(tmp_path / "cache", quiet) == digest(tmp_path / "cache", quiet) == file_digest(quiet)
    assert reads == [quiet]


def test_edit_with_restored_size_and_time_is_noticed(tmp_path: Path, quiet: Path) -> None:
    before, seen = digest(tmp_path / "cache", quiet), quiet.stat()
    quiet.write_text("behind")
    os.utime(quiet, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert digest(tmp_path / "cache", quiet) != before


def test_recently_changed_file_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "file"
    path.write_text("just now")
    digest(tmp_path / "cache", path, quiet=3600)
    digest(tmp_path / "cache", path, quiet=3600)
    assert reads == [path, path]


def test_touched_file_is_read_and_has_the_same_digest(tmp_path: Path, quiet: Path, reads: list[Path]) -> None:
    before = digest(tmp_path / "cache", quiet)
    quiet.touch()
    wait_for_tick(quiet)
    assert digest(tmp_path / "cache", quiet) == before
    assert len(reads) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}'])
def test_unreadable_digest_cache_is_replaced(tmp_path: Path, quiet: Path, content: str) -> None:
    (tmp_path / "cache").write_text(content)
    assert digest(tmp_path / "cache", quiet) == file_digest(quiet)


def test_file_with_times_in_the_future_is_read_once(tmp_path: Path, quiet: Path, reads: list[Path]) -> None:
    os.utime(quiet, (2**32, 2**32))
    wait_for_tick(quiet)
    assert digest(tmp_path / "cache", quiet) == digest(tmp_path / "cache", quiet)
    assert reads == [quiet]
