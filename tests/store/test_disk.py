"""Operations on the disk of a local store."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import Manifest

LARGE = 9 << 20
"""Size of a file that is flushed before it is complete, in bytes."""
MANIFEST = Manifest.expected("step", code_version="1", inputs={}, settings={})


def _write_large(store: LocalStore, flushed: threading.Event) -> None:
    def fill(folder: Path) -> Manifest:
        with (folder / "ids").open("wb") as file:
            file.write(bytes(LARGE))
            file.flush()
            assert flushed.wait(30)
            file.write(b"end")
        (folder / "ids").rename(folder / "train.npy")
        return MANIFEST

    store.publish(store.write("corpus/step/all", MANIFEST, fill))


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[[OSError | None], threading.Event]:
    """Return a function that lets the first flush of a large file fail with an error, if one is given, and returns the event of that."""

    def watch(problem: OSError | None) -> threading.Event:
        flushed, fsync = threading.Event(), os.fsync

        def watched(descriptor: int) -> None:
            fsync(descriptor)
            if os.fstat(descriptor).st_size >= LARGE - (1 << 20) and not flushed.is_set():
                flushed.set()
                if problem:
                    raise problem

        monkeypatch.setattr(os, "fsync", watched)
        return flushed

    return watch


def test_large_file_is_flushed_while_it_is_written(tmp_path: Path, flushes: Callable[[OSError | None], threading.Event]) -> None:
    store = LocalStore(tmp_path)
    _write_large(store, flushes(None))
    published = store.open("corpus/step/all", intact=True)
    assert published is not None
    assert (published.path / "train.npy").read_bytes() == bytes(LARGE) + b"end"
    assert list(published.damage(checksums=True)) == []


def test_error_of_a_flush_that_the_system_reports_once_leaves_nothing_published(
    tmp_path: Path, flushes: Callable[[OSError | None], threading.Event]
) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(StoreError, match="Input/output error"):
        _write_large(store, flushes(OSError(errno.EIO, os.strerror(errno.EIO))))
    assert store.open("corpus/step/all") is None
    assert list(store.versions()) == []


def test_file_system_that_cannot_flush_folders_holds_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse_folders)
    store = LocalStore(tmp_path)
    store.publish(store.write("corpus/step/all", MANIFEST, lambda _: MANIFEST))
    assert store.open("corpus/step/all", intact=True)
