"""File systems that refuse writes: clear errors, and published versions are kept."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.formats.find_plan import find_plan
from phyagi_assets.formats.npy import open_array
from phyagi_assets.inspection.integrity import store_problems
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.inspection.status import status
from phyagi_assets.orchestration.instance import open_instance, ui_environment
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace, reuse_or_build
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import Manifest
from tests.support import NOBODY, as_user, declare, declare_corpus, write_text

HAMLET = "plays/numpy_cache/hamlet"
GROUP = 64_242
SOMEBODY = 65_533


def build(store: Store, content: str, address: str = HAMLET) -> Artifact:
    """Build and publish a version as a step does."""
    wanted = Manifest.expected(address.split("/")[1], code_version="1", inputs={"content": content}, settings={})

    def fill(folder: Path) -> Manifest:
        (folder / "one").write_text(content)
        return wanted

    return reuse_or_build(store, address, wanted, fill).artifact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = LocalStore(tmp_path / "store")
    build(store, "old")
    return store


def published(store: Store) -> str:
    return (store.pointer(HAMLET) / "one").read_text()


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS], ids=errno.errorcode.get)
def test_file_system_without_locks_is_an_error_without_traceback(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=rf"{store.root}/.*: cannot be locked: {os.strerror(code)}; .* working flock"):
        build(store, "new")
    assert published(store) == "old"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)
def test_file_system_without_symbolic_links_is_named_as_such(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refuse)
        with pytest.raises(StoreError, match=f"{store.root}: is on a file system without symbolic links, which"):
            build(store, "new")
    assert published(store) == "old"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_failing_disk_is_an_error_without_traceback(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match=f"{store.root}: cannot be written to: {os.strerror(code)}; what was published is kept"):
            build(store, "new")
    assert published(store) == "old"
    build(store, "new")
    assert published(store) == "new"


def test_corpus_on_another_file_system_is_built_and_published_through_its_link(store: Store) -> None:
    places = [Path("/dev/shm"), Path(tempfile.gettempdir())]
    other = next((place for place in places if place.is_dir() and place.stat().st_dev != store.root.stat().st_dev), None)
    if other is None:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=other) as big:
        shutil.move(store.root / "plays", Path(big) / "plays")
        (store.root / "plays").symlink_to(Path(big) / "plays")
        assert published(store) == "old"
        artifact = build(store, "new")
        assert published(store) == "new"
        store.discard(HAMLET, artifact.path)
        assert store.open(HAMLET) is None


def test_name_too_long_for_the_file_system_is_an_error_without_traceback(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has 300 bytes and is too long for a name in the store"):
        build(store, "new", f"plays/numpy_cache/{'x' * 300}")
    for folder in ("data", "store"):
        with pytest.raises(PhyagiAssetsError, match="cannot be used: File name too long"):
            Settings.resolve(**{"data": tmp_path, folder: tmp_path / ("x" * 300)})


# Other users


@pytest.fixture
def shared() -> Iterator[Store]:
    """A store in a folder that other users can read, unlike pytest's folders."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = LocalStore(Path(folder) / "store")
        build(store, "old")
        with open_instance(Settings(data=Path(folder), store=store.root)) as instance:
            instance.add_dynamic_partitions("plays", ["hamlet"])
        yield store


def open_records(store: Store, partition: str) -> list[str]:
    """Write into Dagster's records and read them."""
    with open_instance(Settings(data=store.root.parent, store=store.root)) as instance:
        instance.add_dynamic_partitions("plays", [partition])
        return sorted(instance.get_dynamic_partitions("plays"))


def test_user_without_write_access_can_read_and_gets_a_clear_error(shared: Store) -> None:
    assert as_user(NOBODY, [], lambda: published(shared)) == "old"
    assert as_user(NOBODY, [], lambda: [shared.open(HAMLET) is not None, list(shared.list())]) == f"[True, ['{HAMLET}']]"
    assert [shared.is_read_only(address) for address in (HAMLET, "new/mixed_dataset")] == [False, False]
    assert as_user(NOBODY, [], lambda: [shared.is_read_only(address) for address in (HAMLET, "new/mixed_dataset")]) == "[True, True]"
    refused = as_user(NOBODY, [], lambda: build(shared, "new"))
    assert refused.startswith(f"StoreError: {shared.root}: cannot be written to: Permission denied: {shared.root}")
    refused = as_user(NOBODY, [], lambda: open_records(shared, "tempest"))
    assert refused.startswith(f"StoreError: {shared.root / '.dagster'}: you may not write to Dagster's records"), refused
    settings = Settings(data=shared.root.parent, store=shared.root)
    refused = as_user(NOBODY, [], lambda: ui_environment(settings))
    assert refused.startswith(f"StoreError: {shared.root / '.dagster'}: you may not write to Dagster's records"), refused
    for path in (shared.root / ".dagster", *shared.root.glob(".dagster/**/*")):
        path.chmod(0o777)
    (shared.root / ".dagster" / "history" / "runs" / "index.db").chmod(0o644)
    assert "you may not write to Dagster's records" in as_user(NOBODY, [], lambda: ui_environment(settings))
    (shared.root / ".dagster" / "dagster.yaml").write_text("storage:\n  postgres:\n    postgres_url: postgresql://host/records\n")
    home = f"{shared.root / '.dagster'}"
    assert as_user(NOBODY, [], lambda: ui_environment(settings)["DAGSTER_HOME"]) == home  # its records are elsewhere
    assert published(shared) == "old"


def test_unreadable_artifact_is_named_and_not_reported_as_missing(shared: Store) -> None:
    version = (shared.root / HAMLET).resolve()
    version.chmod(0o700)
    denied = f"{version}/manifest.json: cannot be read: Permission denied; ask for the right to read the store"
    assert denied in as_user(NOBODY, [], lambda: shared.open(HAMLET))
    shared.pointer(HAMLET).parent.chmod(0o600)  # the folder of a user whose umask is 077
    denied_folder = f"StoreAccessError: {shared.root}/plays/numpy_cache"
    for look in (shared.survey, lambda: list(shared.list()), lambda: shared.published_fingerprint(HAMLET)):
        assert as_user(NOBODY, [], look).startswith(denied_folder)
    assert as_user(NOBODY, [], shared.restore_all) == "0"
    shared.pointer(HAMLET).parent.chmod(0o755)
    assert denied in as_user(NOBODY, [], lambda: inspect_named(HAMLET, shared))
    version.chmod(0o755)
    (version / "one").chmod(0o600)
    denied = f"StoreAccessError: {version}/one: cannot be read: Permission denied; ask for the right to read the store"
    assert as_user(NOBODY, [], lambda: open_array(version / "one")) == denied
    damaged = as_user(NOBODY, [], lambda: [f"{found}; damaged: {found.version}" for found in store_problems(shared, str)])
    assert damaged == f"['{version}/one: cannot be read: Permission denied; ask for the right to read the store; damaged: None']"
    shared.root.chmod(0o700)
    assert "/store' cannot be used: Permission denied" in as_user(NOBODY, [], lambda: Settings.resolve(data=shared.root))


def test_status_names_unreadable_artifacts_and_shows_the_rest(shared: Store) -> None:
    data = shared.root.parent
    write_text(data / "plays" / "hamlet.txt", "To be")
    declare_corpus(data, "plays", "plays/*.txt", partition_by="file")
    declare(data, "mixtures", name="mix", seq_len=2, datasets=[{"corpus": "plays"}])
    unreadable = [build(shared, "old", address).path for address in (HAMLET, "mix/mixed_dataset")]
    for version in unreadable:
        version.chmod(0o700)

    def problems() -> list[str]:
        found = status(load_catalog(data), Workspace(data=data, store=shared))
        return [f"{of.problem}".partition(": ")[0] for of in (*found.corpora, *found.mixtures)]

    assert as_user(NOBODY, [], problems) == f"{[f'{version}/manifest.json' for version in unreadable]}"
    denied = f"{shared.pointer('mix/mixed_dataset')}/mixture.json: cannot be read: Permission denied"
    assert denied in as_user(NOBODY, [], lambda: find_plan("mix", shared.root))


def test_group_with_write_access_shares_a_store(shared: Store) -> None:
    for path in (shared.root, *shared.root.rglob("*")):
        if not path.is_symlink():
            os.chown(path, -1, GROUP)
            path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))  # what `chmod -R g+ws` and `g+w` do
    for user, content in ((NOBODY, "new"), (SOMEBODY, "newer"), (NOBODY, "newest")):
        assert as_user(user, [GROUP], lambda content=content: build(shared, content).address, umask=0o002) == HAMLET
        assert published(shared) == content
        assert content in as_user(user, [GROUP], lambda content=content: open_records(shared, content), umask=0o002)
    build(shared, "of the owner")
    assert published(shared) == "of the owner"
