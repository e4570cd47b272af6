"""Guarantees of the store: atomic publication, immutable versions, no writes outside its folder."""

import errno
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import STAGING, LocalStore
from phyagi_assets.store.manifest import Manifest
from tests.forks import FORKS
from tests.support import write_text
from tests.tokenizers.faulty_engines import store_contents

ADDRESS = "corpus/stage/part"


def wanted(content: str) -> Manifest:
    return Manifest.expected("step", code_version="1", inputs={"content": content}, settings={})


def write(store: Store, content: str, *, publish: bool = True) -> Artifact:
    manifest = wanted(content)

    def fill(folder: Path) -> Manifest:
        for name in ("one", "two"):
            (folder / name).write_text(content)
        return replace(manifest, counts={"letters": len(content)})

    artifact = store.write(ADDRESS, manifest, fill)
    if publish:
        store.publish(artifact)
    return artifact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "store")


def test_published_version_is_opened_and_listed_with_its_manifest(store: Store) -> None:
    written = write(store, "text")
    opened = store.open(ADDRESS)
    assert opened == written
    assert opened.manifest.files["one"].bytes == 4
    assert (store.pointer(ADDRESS) / "one").read_text() == "text"
    assert list(store.list()) == [ADDRESS]


def test_unpublished_version_is_invisible_to_readers(store: Store) -> None:
    old = write(store, "old")
    new = write(store, "new", publish=False)
    assert store.open(ADDRESS) == old
    assert store.find(ADDRESS, new.fingerprint) == new


def test_previous_version_is_kept_after_another_is_published(store: Store) -> None:
    old = write(store, "old")
    write(store, "new")
    assert (old.path / "one").read_text() == "old"
    store.publish(old)
    assert store.open(ADDRESS) == old


def test_keys_that_differ_in_case_are_refused_on_a_disk_that_does_not_distinguish_them(store: Store) -> None:
    written = write(store, "text")
    twin = "corpus/stage/Part"
    store.pointer(twin).symlink_to(store.pointer(ADDRESS).readlink())  # what such a disk shows
    assert store.open(twin) is None
    with pytest.raises(StoreError, match=r"Part: cannot be published beside part: .* upper and lower case"):
        store.publish(replace(written, address=twin))
    assert store.open(ADDRESS) == written


def test_failed_write_leaves_the_store_unchanged(store: Store) -> None:
    write(store, "old")
    before = store_contents(store.root)

    def fail(folder: Path) -> Manifest:
        (folder / "one").write_text("half")
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        store.write(ADDRESS, wanted("new"), fail)
    assert store_contents(store.root) == before


def test_store_that_disappears_while_a_version_is_written_is_named(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")

    def fill(folder: Path) -> Manifest:
        store.root.rename(tmp_path / "elsewhere")
        (folder / "one").write_text("content")
        return wanted("content")

    with pytest.raises(StoreError, match=r"store: cannot be written to: No such file or directory: .*one"):
        store.write(ADDRESS, wanted("content"), fill)


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = LocalStore(tmp_path / "one"), LocalStore(tmp_path / "other")
    for store in (one, other):
        write(store, "text")
    assert store_contents(one.root) == store_contents(other.root)


def test_damaged_version_is_not_intact_and_is_rewritten(store: Store) -> None:
    artifact = write(store, "text")
    (artifact.path / "one").unlink()
    assert store.open(ADDRESS, intact=True) is None
    assert store.find(ADDRESS, artifact.fingerprint) is None
    assert write(store, "text") == artifact
    assert store.open(ADDRESS) == artifact


def test_version_on_a_damaged_file_system_is_not_taken_for_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = write(store, "text")

    def fail(path: Any, *_: Any, **__: Any) -> Any:
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG), str(path))

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", fail)
        for look in (lambda: store.open(ADDRESS), lambda: store.damage(ADDRESS, artifact.path)):
            with pytest.raises(StoreAccessError, match=r"manifest\.json: cannot be read"):
                look()
    assert store.open(ADDRESS) == artifact
    with monkeypatch.context() as patched:
        patched.setattr(Path, "readlink", fail)
        for look in (lambda: store.published_fingerprint(ADDRESS), lambda: list(store.list())):
            with pytest.raises(StoreAccessError, match="cannot be read: Bad message"):
                look()


def test_folder_that_cannot_be_listed_is_not_left_out_of_a_version(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir, manifest = os.scandir, wanted("text")

    def fail(path: Any) -> Any:
        if str(path).endswith("tokenizer"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scandir(path)

    def fill(folder: Path) -> Manifest:
        write_text(folder / "tokenizer" / "tokenizer.json", "{}")
        monkeypatch.setattr(os, "scandir", fail)
        return manifest

    with pytest.raises(StoreError, match="Input/output error"):
        store.write(ADDRESS, manifest, fill)
    monkeypatch.undo()
    assert store.find(ADDRESS, manifest.fingerprint) is None


def test_open_reads_only_the_manifest(store: Store) -> None:
    artifact = write(store, "text")
    (artifact.path / "one").unlink()
    assert store.open(ADDRESS) == artifact


def test_version_with_the_manifest_of_another_is_not_opened(store: Store) -> None:
    old, new = write(store, "old"), write(store, "new")
    (new.path / "manifest.json").write_bytes((old.path / "manifest.json").read_bytes())
    assert store.open(ADDRESS) is None
    assert write(store, "new") == new


def test_version_finished_by_a_concurrent_run_is_kept(store: Store) -> None:
    inside: list[Artifact] = []

    def fill(folder: Path) -> Manifest:
        inside.append(write(store, "text"))
        (folder / "one").write_text("text")
        return wanted("text")

    assert store.write(ADDRESS, wanted("text"), fill) == inside[0]


def test_version_that_a_concurrent_run_moves_into_place_first_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(store, "text")
    found = iter([None, written])
    monkeypatch.setattr(store, "find", lambda *_: next(found))
    monkeypatch.setattr(os.path, "lexists", lambda _: False)  # as just before the other run moved it
    assert write(store, "text", publish=False) == written


def test_reader_sees_a_complete_version_while_versions_are_switched(store: Store) -> None:
    versions = [write(store, content) for content in ("a" * 100, "b" * 200)]
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for version in versions:
                store.publish(version)

    flipper = threading.Thread(target=flip)
    flipper.start()
    try:
        for _ in range(500):
            opened = store.open(ADDRESS)
            assert opened in versions
            assert (opened.path / "one").read_text() == (opened.path / "two").read_text()
    finally:
        stop.set()
        flipper.join()


def write_half(root: Path, told: Connection) -> None:
    """Write half of a version until the process is killed."""

    def fill(folder: Path) -> Manifest:
        (folder / "one").write_text("half")
        told.send("writing")
        signal.pause()
        raise AssertionError

    LocalStore(root).write(ADDRESS, wanted("new"), fill)


def started(do: Callable[[Path, Connection], None], store: Store) -> Any:
    """Start a process that works in a store, and return it when it has reported its start."""
    receiver, sender = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=do, args=(store.root, sender))
    process.start()
    sender.close()
    receiver.recv()
    receiver.close()
    return process


def test_files_of_a_killed_writer_are_removed_and_files_of_a_live_writer_are_not(store: Store) -> None:
    write(store, "old")
    writer = started(write_half, store)
    left = list((store.root / STAGING).glob("*/version/one"))
    write(store, "meanwhile", publish=False)
    assert all(path.exists() for path in left)
    assert len(left) == 1
    writer.kill()
    writer.join()
    assert store.open(ADDRESS) is not None
    write(store, "later", publish=False)
    assert not left[0].exists()
    assert [path.name for path in (store.root / STAGING).iterdir()] == ["entry"]


@pytest.mark.parametrize(
    "address", ["a", "../a/b", "a/../b", "a/b/..", "/a/b", "a//b", ".a/b", "a/.versions", "a/b\n", "a\\b", "a/b@c", ""]
)
def test_invalid_address_is_refused(store: Store, address: str) -> None:
    with pytest.raises(StoreError, match="is not an address"):
        store.pointer(address)


def test_writer_killed_at_any_time_leaves_a_complete_version_and_files_that_the_next_removes(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    moment, ends = 0, set()
    while 0 not in ends:
        store = LocalStore(tmp_path / str(moment))
        versions = [write(store, "old"), replace_root(store, "new")]
        ends.add(killed_after(moment, lambda store=store: write(store, "new")))
        assert store.open(ADDRESS) in versions
        write(store, "later", publish=False)
        assert [path.name for path in (store.root / STAGING).iterdir()] == ["entry"]
        assert write(store, "new") == store.open(ADDRESS) == versions[1]
        moment += 1 if pytestconfig.getoption("soak") else 3
    assert ends == {0, signal.SIGKILL}
    assert moment > 20


def test_files_of_a_killed_writer_are_removed_without_writing(store: Store) -> None:
    killed = killed_after(20, lambda: write(store, "text"))
    assert killed == signal.SIGKILL
    assert len(list((store.root / STAGING).iterdir())) == 3  # the entry, the folder, its lock
    store.remove_abandoned_files()
    assert [path.name for path in (store.root / STAGING).iterdir()] == ["entry"]


def replace_root(store: Store, content: str) -> Artifact:
    """Return the expected manifest of `content`."""
    elsewhere = LocalStore(store.root.with_suffix(".twin"))
    written = write(elsewhere, content)
    return replace(written, path=store.root / written.path.relative_to(elsewhere.root))


def killed_after(moment: int, action: Callable[[], object]) -> int:
    """Call a function in a process that is killed at its n-th file system call; return the signal, or 0 if the process ended before."""
    child = os.fork()
    if not child:
        touches = itertools.count()

        def die(event: str, _arguments: object) -> None:
            if event in TOUCHES and next(touches) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        action()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


TOUCHES = {"open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir", "shutil.rmtree", "fcntl.flock", "os.scandir"}


def hold_lock(root: Path, told: Connection) -> None:
    """Hold a lock until the process is killed."""
    with LocalStore(root).lock("corpus/stage/part"):
        told.send("holding")
        signal.pause()


def test_lock_is_waited_for_and_is_released_when_its_process_is_killed(store: Store) -> None:
    holder = started(hold_lock, store)
    taken = threading.Event()

    def take() -> None:
        with store.lock("corpus/stage/other"):  # another name is nobody's business
            pass
        with store.lock("corpus/stage/part"):
            taken.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    assert not taken.wait(0.3)
    holder.kill()
    assert taken.wait(10)
    waiting.join()
    holder.join()


def test_lock_is_released_although_a_process_was_forked_while_another_thread_held_it(store: Store) -> None:
    held, is_forked = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock("corpus/stage/part"):
            held.set()
            is_forked.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = multiprocessing.get_context("fork").Process(target=signal.pause)
    child.start()
    is_forked.set()
    holder.join()
    with store.lock_if_free("corpus/stage/part") as is_free:
        child.kill()
        child.join()
        assert is_free
