"""Only files that the store created are removed: none behind links, beside versions or inside them."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.inspection.garbage import Cleaning, Reason, Removable
from phyagi_assets.inspection.integrity import discard_damaged, store_problems
from phyagi_assets.steps.step import reuse_or_build
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import Manifest
from tests.tokenizers.faulty_engines import store_contents

HAMLET = "plays/numpy_cache/hamlet"


def build(store: Store, address: str, content: str) -> Artifact:
    """Build and publish a version as a step does."""
    wanted = Manifest.expected(address.split("/")[1], code_version="1", inputs={"content": content}, settings={})

    def fill(folder: Path) -> Manifest:
        (folder / "sub").mkdir()
        (folder / "sub" / "one").write_text(content)
        return wanted

    return reuse_or_build(store, address, wanted, fill).artifact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two versions of one artifact, the newer of them published, and another artifact."""
    store = LocalStore(tmp_path / "store")
    build(store, HAMLET, "old")
    build(store, HAMLET, "new")
    build(store, "plays/raw_dataset/hamlet", "raw")
    return store


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Foreign files."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


def cleaning(store: Store, partitions: Mapping[str, list[str]] | None = None, grace: timedelta = timedelta(0)) -> Cleaning:
    return Cleaning(store=store, partitions={"plays": ["hamlet"]} if partitions is None else partitions, mixtures=[], grace=grace)


def remove_all(store: Store) -> None:
    """Run everything that removes files, as if nothing were declared."""
    for partitions in (None, {}):
        clean = cleaning(store, partitions)
        clean.remove(clean.find())
    discard_damaged(store, list(store_problems(store, lambda _: None)))
    store.remove_abandoned_files()


def put_link(where: str) -> Callable[[Store, Path], None]:
    def plant(store: Store, precious: Path) -> None:
        path = store.root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(precious)

    return plant


def put_file(where: str) -> Callable[[Store, Path], None]:
    def plant(store: Store, _precious: Path) -> None:
        path = store.root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")

    return plant


def link_to_the_store_itself(store: Store, _precious: Path) -> None:
    (store.root / "alias").symlink_to(store.root / "plays")


NAMES = ["precious", "plays/precious", "plays/numpy_cache/precious", "plays/numpy_cache/.versions/precious"]
NAMES += [f"plays/numpy_cache/.versions/hamlet@{'0' * 32}", ".transfers/plays/precious", ".transfers/plays", ".staging/precious"]
FILES = [*NAMES[:5], ".transfers/gone/all/precious", ".staging/precious.lock", ".staging/precious/one", "plays/copy@/one"]


@pytest.mark.parametrize("plant", [*map(put_link, NAMES), *map(put_file, FILES)], ids=[*NAMES, *(f"file {name}" for name in FILES)])
def test_foreign_files_in_a_store_are_never_removed(store: Store, precious: Path, plant: Callable[[Store, Path], None]) -> None:
    before = {path for path in store.root.rglob("*") if path.is_file() or path.is_symlink()}
    plant(store, precious)
    planted = {path: path.lstat() for path in store.root.rglob("*") if path not in before and (path.is_symlink() or path.is_file())}
    assert planted
    remove_all(store)
    assert all(os.path.lexists(path) for path in planted)
    assert store_contents(precious).keys() == {"thesis.txt"}
    assert list(store.list()) == []


def test_version_with_a_foreign_file_is_kept(store: Store) -> None:
    superseded = next(version for version in store.survey().versions if version.address == HAMLET and not version.is_published)
    (superseded.path / "notes.txt").write_text("mine")
    before = store_contents(superseded.path)
    clean = cleaning(store)
    assert clean.find() == []
    assert [found.path for found in clean.foreign] == [superseded.path]
    assert "notes.txt in it was not written by the store" in clean.foreign[0].why
    remove_all(store)
    assert store_contents(superseded.path) == before


def test_damaged_version_with_a_foreign_file_is_not_discarded(store: Store) -> None:
    version = store.pointer(HAMLET).resolve()
    (version / "notes.txt").write_text("mine")
    (version / "sub" / "one").write_text("damage")
    before = store_contents(store.root)
    discarded, left = discard_damaged(store, list(store_problems(store, lambda _: None)))
    assert (discarded, len(left)) == ([], 1)
    assert "notes.txt" in left[0]
    with pytest.raises(StoreError, match=r"notes\.txt in it was not written by the store; move it away"):
        build(store, HAMLET, "new")
    assert store_contents(store.root) == before


@pytest.mark.parametrize("where", ["shared", "plays"])
def test_another_store_behind_a_link_is_never_touched(tmp_path: Path, where: str) -> None:
    other, store = LocalStore(tmp_path / "other"), LocalStore(tmp_path / "store")
    for content in ("old", "new"):
        build(other, HAMLET, content)
        build(store, HAMLET, content)
    shutil.rmtree(store.root / "plays")
    (store.root / where).symlink_to(other.root / "plays" if where == "plays" else other.root)
    before = store_contents(other.root)
    remove_all(store)
    assert store_contents(other.root) == before
    assert "another store" in str(store.survey().foreign)
    with pytest.raises(StoreError, match="another store"):
        build(store, f"{where}/numpy_cache/hamlet", "third")


def test_link_to_a_corpus_is_not_an_undeclared_corpus(store: Store) -> None:
    link_to_the_store_itself(store, store.root)
    before = store_contents(store.root / "plays")
    clean = cleaning(store)
    assert {item.path.parts[-4] for item in clean.find()} == {"plays"}
    assert not any(item.why == Reason.UNDECLARED for item in clean.find())
    assert store_contents(store.root / "plays") == before


def test_corpus_in_a_linked_folder_is_cleaned_and_built(store: Store, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    shutil.move(store.root / "plays", big / "plays")
    (store.root / "plays").symlink_to(big / "plays")
    assert list(store.list()) == [HAMLET, "plays/raw_dataset/hamlet"]
    clean = cleaning(store)
    (old,) = clean.find()
    assert clean.remove([old]) == [old]
    assert not old.path.exists()
    assert store.open(HAMLET)
    build(store, HAMLET, "third")
    assert (store.root / "plays").is_symlink()
    assert list(store_problems(store, lambda _: None)) == []


def test_version_republished_before_its_removal_is_kept(store: Store) -> None:
    clean = cleaning(store)
    found = clean.find()
    assert [item.address for item in found] == [HAMLET]
    reverted = build(store, HAMLET, "old")
    assert clean.remove(found) == []
    assert store.open(HAMLET) == Artifact(address=HAMLET, path=reverted.path.resolve(), manifest=reverted.manifest)


def test_version_republished_after_the_second_check_is_kept(store: Store) -> None:
    clean = cleaning(store)
    found = clean.find()

    def publish_and_yield() -> Iterator[Removable]:
        build(store, HAMLET, "old")  # `remove` takes the first item after its own look
        yield from found

    assert clean.remove(publish_and_yield()) == []
    assert store.published_fingerprint(HAMLET) == found[0].path.name.partition("@")[2]
    assert store.open(HAMLET)


def test_artifact_locked_by_another_command_is_skipped(store: Store) -> None:
    clean = cleaning(store)
    found = clean.find()
    with store.lock(HAMLET):
        assert clean.remove(found) == []
    assert clean.remove(found) == found


def test_grace_period_of_a_version_begins_when_it_is_replaced(store: Store) -> None:
    for version in store.survey().versions:
        os.utime(version.path, (0, 0))
    hour = timedelta(hours=1)
    assert len(cleaning(store, grace=hour).find()) == 1
    build(store, HAMLET, "third")
    clean = cleaning(store, grace=hour)
    assert len(clean.find()) == 1  # the oldest: the other was published a moment ago
    assert clean.young == 1


def test_discarding_takes_the_pointer_too_and_nothing_is_listed_then(store: Store) -> None:
    artifact = store.open(HAMLET)
    assert artifact
    store.discard(HAMLET, artifact.path)
    assert not os.path.lexists(store.pointer(HAMLET))
    assert not artifact.path.exists()
    assert list(store.list()) == ["plays/raw_dataset/hamlet"]
    assert store.open(HAMLET) is None


def test_version_with_an_unreadable_manifest_is_moved_and_not_deleted(store: Store) -> None:
    version = store.pointer(HAMLET).resolve()
    (version / "manifest.json").write_text("[]")
    assert discard_damaged(store, list(store_problems(store, lambda _: None))) == ([HAMLET], [])
    assert (version.parents[1] / ".damaged" / version.name / "sub" / "one").read_text() == "new"
    assert build(store, HAMLET, "new").path.resolve() == version


@pytest.mark.parametrize("kind", ["link", "folder", "file"])
def test_file_at_the_path_of_a_pointer_is_not_overwritten(store: Store, precious: Path, kind: str) -> None:
    pointer = store.pointer("plays/numpy_cache/tempest")
    {"link": lambda: pointer.symlink_to(precious), "folder": pointer.mkdir, "file": lambda: pointer.write_text("mine")}[kind]()
    with pytest.raises(StoreError, match=f"is a {kind}.* that the store did not make"):
        build(store, "plays/numpy_cache/tempest", "text")
    assert os.path.lexists(pointer)
    assert store_contents(precious).keys() == {"thesis.txt"}


@pytest.mark.parametrize("with_versions", [True, False])
def test_store_copied_without_links_is_recognized_and_unchanged(store: Store, tmp_path: Path, *, with_versions: bool) -> None:
    copied = LocalStore(tmp_path / "copied")
    shutil.copytree(store.root, copied.root, ignore=None if with_versions else shutil.ignore_patterns(".versions"))
    files = sum(path.name == "one" for path in copied.root.rglob("*"))
    problems = list(map(str, store_problems(copied, lambda _: None)))
    assert len(problems) == 2
    assert all("is a folder where the store keeps a link" in problem for problem in problems)
    for address in copied.list():
        assert copied.restore(address)
    assert list(store_problems(copied, lambda _: None)) == []
    assert sum(path.name == "one" for path in copied.root.rglob("*")) == files
    assert {address: copied.published_fingerprint(address) for address in copied.list()} == {
        address: store.published_fingerprint(address) for address in store.list()
    }
