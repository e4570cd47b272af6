"""Guarantees of a store in a bucket of a real S3 server."""

import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.inspection.garbage import Cleaning
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.store import bucket_store
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.bucket_keys import PUBLISHED, SHARED
from phyagi_assets.store.bucket_store import BucketStore
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import MANIFEST, Manifest
from tests.bucket_stores import store_in_bucket
from tests.s3 import SECRET, S3Server
from tests.support import small_disk

ADDRESS = "corpus/stage/part%20é"
PLACE = "s3://raw/lab/store"
FILES = {"one": b"one", "two": b"two two", "tokenizer/tokenizer.json": b"{}" * 50, "tokenizer.pkl": b"pickle"}

Open = Callable[[str], BucketStore]


pytestmark = pytest.mark.usefixtures("s3")


@pytest.fixture
def machine(tmp_path: Path) -> Open:
    """Function that opens the store as a machine with its own scratch folder."""
    return lambda name: store_in_bucket(PLACE, scratch=tmp_path / name, retry_policy=RetryPolicy(attempts=3, pause=0.0))


@pytest.fixture
def store(machine: Open) -> BucketStore:
    return machine("here")


def write(
    store: Store,
    content: str,
    address: str = ADDRESS,
    *,
    publish: bool = True,
    fill: Callable[[], None] | None = None,
    repeat: int = 1,
) -> Artifact:
    wanted = Manifest.expected("step", code_version="1", inputs={"content": content}, settings={})

    def write_files(folder: Path) -> Manifest:
        for name, written in {**FILES, "content": content.encode() * repeat}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(written)
        if fill:
            fill()
        return replace(wanted, counts={"letters": len(content)})

    artifact = store.write(address, wanted, write_files)
    if publish:
        store.publish(artifact)
    return artifact


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_published_version_has_the_bytes_of_a_local_store_on_another_machine(machine: Open, tmp_path: Path) -> None:
    write(machine("here"), "text")
    found = machine("there").open(ADDRESS, intact=True)
    assert found
    assert contents(found.folder()) == contents(write(LocalStore(tmp_path / "disk"), "text").folder())
    assert found.damage(checksums=True) == []
    assert list(machine("there").list()) == [ADDRESS]
    assert (found.place, found.bytes) == (f"{PLACE}/corpus/stage/.artifacts/part%20é@{found.fingerprint}", 120)


def test_unpublished_version_is_found_but_not_opened(machine: Open) -> None:
    old = write(machine("here"), "old")
    new = write(machine("here"), "new", publish=False)
    there = machine("there")
    assert there.open(ADDRESS) == replace(old, path=there.version_path(ADDRESS, old.fingerprint))
    found = there.find(ADDRESS, new.fingerprint, ["one"])
    assert found
    assert found.manifest == new.manifest
    assert there.find(ADDRESS, new.fingerprint, ["four"]) is None


def test_files_are_fetched_only_as_far_as_they_are_needed(machine: Open, s3: S3Server) -> None:
    write(machine("here"), "text")
    found = machine("there").open(ADDRESS)
    assert found
    s3.faults.contents.clear()
    assert (found.folder("one") / "one").read_bytes() == b"one"
    assert [key.rpartition("/")[2] for key in s3.faults.contents] == ["one"]
    found.folder()
    found.folder()
    assert len(s3.faults.contents) == 5


def test_written_and_published_version_is_not_read_back(store: BucketStore, s3: S3Server) -> None:
    write(store, "first", "corpus/stage/first")  # lists the shared files
    s3.faults.requests.clear()
    written = write(store, "text")
    # The objects of the version and its pointers are listed; three files, the manifest and the pointer are written.
    assert s3.faults.requests == {"GET": 2, "PUT": 5}
    assert store.find(ADDRESS, written.fingerprint, lately=True) == written
    assert s3.faults.requests.total() == 7
    found = store.open(ADDRESS, intact=True)
    assert (found, s3.faults.contents) == (written, [])
    assert written.damage(checksums=True) == []


def test_interrupted_upload_leaves_nothing_visible_and_is_continued(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    before = write(store, "before")

    def go_down() -> None:
        s3.faults.is_down = True

    with pytest.raises(StoreError, match=r"lab/store: cannot be .*tried 3 times"):
        write(store, "text", fill=go_down)
    s3.faults.is_down = False
    assert [each.fingerprint for each in machine("there").survey().versions] == [before.fingerprint]

    def refuse() -> None:
        raise AssertionError("what was built is built again")

    written = write(store, "text", fill=refuse)
    found = machine("there").open(ADDRESS, intact=True)
    assert found
    assert found.manifest == written.manifest


def test_version_without_its_manifest_does_not_exist(store: BucketStore, machine: Open, s3: S3Server) -> None:
    written = write(store, "text")
    s3.delete(f"lab/store/corpus/stage/.artifacts/part%20é@{written.fingerprint}/{MANIFEST}")
    store.bucket.delete([f"corpus/stage/.artifacts/part%20é@{written.fingerprint}/{MANIFEST}"])
    there = machine("there")
    assert there.open(ADDRESS) is None
    assert there.find(ADDRESS, written.fingerprint) is None
    assert there.survey().versions == []


def test_last_published_version_is_the_published_one_on_every_machine(machine: Open) -> None:
    here, there = machine("here"), machine("there")
    old, new = write(here, "old"), write(there, "new")
    assert machine("third").published_fingerprint(ADDRESS) == new.fingerprint
    here.publish(old)
    here.publish(old)
    third = machine("third").open(ADDRESS)
    assert third
    assert third.fingerprint == old.fingerprint
    pointers = [stored.key for stored in here.bucket.list(f"corpus/stage/{PUBLISHED}")]
    assert pointers == [f"corpus/stage/{PUBLISHED}/part%20é/0000000003@{old.fingerprint}"]


def test_pointers_that_a_killed_publisher_left_change_nothing(machine: Open) -> None:
    here = machine("here")
    old, new = write(here, "old"), write(here, "new")
    here.bucket.create(f"corpus/stage/{PUBLISHED}/part%20é/0000000001@{old.fingerprint}", b"")
    assert machine("there").published_fingerprint(ADDRESS) == new.fingerprint
    here.discard(ADDRESS, new.path)
    assert machine("there").published_fingerprint(ADDRESS) == ""
    assert machine("there").open(ADDRESS) is None


def test_files_of_the_tokenizer_are_stored_once(store: BucketStore, machine: Open) -> None:
    write(store, "one", "corpus/stage/a")
    write(store, "two", "corpus/stage/b")
    keys = [stored.key for stored in store.bucket.list()]
    assert len([key for key in keys if key.startswith(f"{SHARED}/")]) == 2
    assert not [key for key in keys if "tokenizer" in key]
    found = machine("there").open("corpus/stage/b", intact=True)
    assert found
    assert contents(found.folder())["tokenizer/tokenizer.json"] == FILES["tokenizer/tokenizer.json"]
    store.shared.folder.delete(store.shared.objects(refresh=True))
    damaged = machine("third").open("corpus/stage/b")
    assert damaged
    assert len(damaged.damage()) == 2
    assert machine("third").open("corpus/stage/b", intact=True) is None


def test_file_of_a_tokenizer_is_never_missing_while_others_fetch_it(machine: Open) -> None:
    written = write(machine("here"), "text")
    there = machine("there")
    found = [there.find(ADDRESS, written.fingerprint) for _ in range(8)]

    def is_complete(artifact: Artifact | None) -> bool:
        assert artifact
        folder = artifact.folder()
        return all((folder / name).is_file() for name in written.manifest.files)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_complete, found))


def test_damage_on_the_way_is_fetched_again(machine: Open, s3: S3Server, tmp_path: Path) -> None:
    written = write(machine("here"), "text")
    assert machine("there").open(ADDRESS)
    (copy,) = (path for path in (tmp_path / "there").rglob("*.json") if written.fingerprint in path.name)
    copy.write_bytes(b"")  # as after a power cut
    found = machine("there").open(ADDRESS)
    assert found
    s3.faults.flipped = 1
    assert contents(found.folder())["content"] == b"text"


def test_changed_object_is_reported_and_built_again_after_it_is_discarded(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    written = write(store, "text")
    s3.put(f"lab/store/corpus/stage/.artifacts/part%20é@{written.fingerprint}/one", b"eno")
    there = machine("there")
    damaged = there.open(ADDRESS, intact=True)
    assert damaged
    assert [line.rpartition("/")[2] for line in damaged.damage(checksums=True)] == [
        "one: its content is not what was written (checksum differs)"
    ]
    with pytest.raises(StoreError, match=r"one: its content is not what was written"):
        damaged.folder()
    there.discard(ADDRESS, damaged.path)
    assert machine("third").open(ADDRESS) is None
    write(there, "text")
    found = machine("third").open(ADDRESS, intact=True)
    assert found
    assert found.damage(checksums=True) == []


def test_damaged_copy_in_the_scratch_folder_is_fetched_again_after_a_check(store: BucketStore, machine: Open) -> None:
    file = write(store, "text").folder() / "one"
    file.write_bytes(b"eno")
    assert store.damage(ADDRESS, file.parent) == []
    found = machine("here").open(ADDRESS)
    assert found
    assert contents(found.folder())["one"] == b"one"


def test_foreign_object_is_not_changed(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    written = write(store, "text")
    s3.put(f"lab/store/corpus/stage/.artifacts/part%20é@{written.fingerprint}/mine", b"mine")
    s3.put("lab/store/readme.txt", b"mine")
    surveyed = store.survey()
    assert [version.protected for version in surveyed.versions] == ["mine in it was not written by the store"]
    assert [str(foreign.path) for foreign in surveyed.foreign] == [f"{PLACE}/readme.txt", written.place]
    with pytest.raises(StoreError, match="mine in it was not written by the store"):
        store.discard(ADDRESS, written.path)
    assert store.published_fingerprint(ADDRESS) == written.fingerprint


def test_opening_many_artifacts_takes_no_request_per_artifact(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    addresses = [f"corpus/stage/{i}" for i in range(6)]
    for address in addresses:
        write(store, address, address)
    s3.faults.requests.clear()
    again = machine("here")
    assert all(again.open(address, intact=True) for address in addresses)
    assert s3.faults.requests.total() == 3  # versions, pointers, shared files


def test_least_recently_used_versions_are_evicted_unless_in_use(tmp_path: Path) -> None:
    store = store_in_bucket(PLACE, scratch=tmp_path / "scratch", scratch_bytes=1200)
    written = [write(store, f"{i}" * 200, f"corpus/stage/{i}") for i in range(5)]
    folders = [artifact.folder() for artifact in written[:2]]
    for i, folder in enumerate(store.local.root.glob("*/*/.versions/*")):
        os.utime(folder, (i, i))
    last = write(store, "x" * 400, "corpus/stage/last")
    assert all(contents(folder) for folder in folders)
    there = sorted(path.name.partition("@")[0] for path in store.local.root.glob("*/*/.versions/*"))
    assert len(there) < 5
    assert {"0", "1"} <= set(there)
    del written
    last.folder()
    found = store.open("corpus/stage/2")
    assert found
    assert contents(found.folder())["content"] == b"2" * 200


def test_pickled_artifact_reads_its_files_in_another_process(machine: Open) -> None:
    artifact = pickle.loads(pickle.dumps(write(machine("here"), "text")))
    artifact.remote.store.local.forget(Version(artifact.address, artifact.fingerprint))
    assert contents(artifact.folder())["content"] == b"text"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong/secret"}, "the secret key is not right (AWS_PROFILE, AWS_SECRET_ACCESS_KEY, ~/.aws)"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "the access key is not known (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws)"),
        ({"AWS_SKIP_SIGNATURE": "true"}, "access is denied without credentials, and there are none"),
    ],
)
def test_refused_credentials_are_named_without_secrets(
    machine: Open, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError) as problem:
        machine("here").open(ADDRESS)
    assert message in str(problem.value)
    assert str(problem.value).startswith(f"{PLACE}: ")
    assert "--store" in str(problem.value)
    assert not any(secret in str(problem.value) for secret in (SECRET, "wrong/secret"))


def test_missing_bucket_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"s3://none/store: cannot be listed: there is no such bucket.*--store"):
        store_in_bucket("s3://none/store", scratch=tmp_path / "scratch").open(ADDRESS)


def test_bucket_without_write_permission_stays_as_it_was(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    old = write(store, "old")
    s3.faults.is_read_only = True
    with pytest.raises(StoreError, match=r"s3://raw/lab/store: cannot be written: access is denied to these credentials"):
        write(store, "new")
    s3.faults.is_read_only = False
    assert [version.fingerprint for version in machine("there").survey().versions] == [old.fingerprint]


def test_scratch_folder_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", str(tmp_path / "file" / "scratch"))
    with pytest.raises(StoreError, match=r"scratch: cannot be created: Not a directory.*\$PHYAGI_ASSETS_SCRATCH"):
        store_in_bucket(PLACE)
    for name, message in (("~nobody-here/x", "cannot be found"), ("s3://b/x", "is a folder on this machine")):
        monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", name)
        with pytest.raises(PhyagiAssetsError, match=rf"the scratch folder \(\$PHYAGI_ASSETS_SCRATCH\) .*{message}"):
            store_in_bucket(PLACE)
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("PHYAGI_ASSETS_SCRATCH_BYTES", "much")
    with pytest.raises(StoreError, match=r"\$PHYAGI_ASSETS_SCRATCH_BYTES: 'much' is not a size"):
        write(store_in_bucket(PLACE), "text")


def test_full_scratch_disk_is_named_with_its_setting(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        written = write(store_in_bucket(PLACE, scratch=tmp_path / "scratch"), "x", repeat=2_000_000)
        small = store_in_bucket(PLACE, scratch=disk / "scratch", retry_policy=RetryPolicy(attempts=3, pause=0.0))
        found = small.open(ADDRESS)
        assert found
        message = r"cannot be written to: No space left on device.*it is scratch space: .*\$PHYAGI_ASSETS_SCRATCH"
        with pytest.raises(StoreError, match=message):
            found.folder()
        with pytest.raises(StoreError, match=message):
            write(small, "y", repeat=2_000_000)
        assert small.published_fingerprint(ADDRESS) == written.fingerprint


def test_plan_made_while_another_machine_removes_versions_is_refused(machine: Open) -> None:
    here, there = machine("here"), machine("there")
    removal = ExitStack()

    def plan() -> None:
        with here.planning():
            removal.enter_context(there.removing())
            threading.Timer(0.5, removal.close).start()

    with pytest.raises(StoreError, match="another machine removed versions while a plan was made; run the command again"):
        plan()
    with here.planning():
        pass


def test_machines_of_one_name_with_scratch_folders_at_one_path_hold_leases_apart(tmp_path: Path) -> None:
    store = store_in_bucket(PLACE, scratch=tmp_path / "scratch")
    with store.lock(ADDRESS):
        (tmp_path / "scratch").rename(tmp_path / "scratch of the first machine")
        with store_in_bucket(PLACE, scratch=tmp_path / "scratch").lock_if_free(ADDRESS) as free:
            assert not free
        (tmp_path / "scratch").rename(tmp_path / "scratch of the second machine")
        (tmp_path / "scratch of the first machine").rename(tmp_path / "scratch")


def test_steps_of_a_partition_are_locked_by_the_lease_of_its_run(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    with store.lock("runs/corpus/part"):
        with store.lock("corpus/step/part"), store.lock("corpus/transfers/part"), store.lock_if_free("corpus/other/part") as free:
            assert free
        other = machine("there")
        with other.lock_if_free("corpus/step/part") as free, other.lock_if_free("corpus/transfers/part") as free_to_the_same_thread:
            assert (free, free_to_the_same_thread) == (False, False)
        with other.lock_if_free("corpus/step/other") as free:
            assert free
        assert [key for key in s3.listed() if "/.leases/" in key] == ["lab/store/.leases/building/runs/corpus/part/.lease"]
    with machine("there").lock_if_free("corpus/step/part") as free:
        assert free


def test_corpus_can_have_the_name_of_the_file_with_the_identity_of_a_scratch_folder(machine: Open) -> None:
    for _ in range(2):  # the file is created by the first process, after its first lock
        store = machine("here")
        with store.lock("identity/raw_dataset/part"), store.lock("runs/identity"):
            pass


def test_clean_that_loses_its_lease_reports_it_and_stops_removing(machine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = machine("here")
    monkeypatch.setattr(store, "_leases", replace(store._leases, expiry=0.0))
    old = write(store, "old")
    write(store, "new")
    cleaning = Cleaning(store=store, partitions={"corpus": ["part%20é"]}, mixtures=[])
    found = cleaning.find()
    assert [item.fingerprint for item in found] == [old.fingerprint]
    with pytest.raises(StoreError, match="nothing more is removed; run the command again"):
        cleaning.remove(found)
    assert store.find(ADDRESS, old.fingerprint)


def test_lease_of_a_dead_machine_on_a_partition_does_not_block_its_corpus(machine: Open) -> None:
    store = machine("here")
    store._leases = replace(store._leases, expiry=0.1)
    with machine("there").lock("runs/corpus/part"), store.lock("runs/corpus"):  # the server stores objects as files
        pass


def test_upload_and_lease_of_a_machine_that_died_long_ago_are_removed(machine: Open, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = machine("here")
    kept = write(store, "kept")
    s3.put(f"lab/store/corpus/stage/.artifacts/part@{'0' * 32}/one", b"one")
    s3.put("lab/store/.leases/builds/corpus/stage/part", b"a machine that is gone")
    store.remove_abandoned_files(everywhere=True)
    assert len(s3.listed()) == 9
    monkeypatch.setattr(bucket_store, "_BROKEN_OFF", timedelta(days=-1))
    store.remove_abandoned_files(everywhere=True)
    assert len(s3.listed()) == 7
    assert store.find(ADDRESS, kept.fingerprint)


def test_version_that_another_process_holds_is_not_evicted(tmp_path: Path) -> None:
    one, other = (store_in_bucket(PLACE, scratch=tmp_path / "scratch", scratch_bytes=500) for _ in range(2))
    folder = write(one, "held", "corpus/stage/held", repeat=50).folder()
    held = one.open("corpus/stage/held")
    assert held
    held.folder()
    for i in range(3):
        write(other, f"{i}", f"corpus/stage/{i}", repeat=200)
    assert contents(folder)["content"] == b"held" * 50
    del held
    write(other, "last", "corpus/stage/last", repeat=50)
    assert not folder.exists()


def test_busy_server_is_asked_again(machine: Open, s3: S3Server) -> None:
    store = machine("here")

    def be_busy() -> None:
        s3.faults.unavailable = 2

    write(store, "text", fill=be_busy)
    s3.faults.unavailable = 2
    found = machine("there").open(ADDRESS, intact=True)
    assert found
    assert found.damage(checksums=True) == []


def test_concurrent_machines_lose_nothing(machine: Open) -> None:
    machines = [machine(f"{i}") for i in range(6)]

    def build(number: int) -> None:
        for content in ("one", "two"):
            write(machines[number], content, "corpus/stage/shared")
        write(machines[number], f"{number}", f"corpus/stage/{number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(build, range(6)))
    there = machine("there")
    assert list(there.list()) == [*(f"corpus/stage/{i}" for i in range(6)), "corpus/stage/shared"]
    assert len(there.survey().versions) == 8
    assert all(version.damage(checksums=True) == [] for version in there.survey().versions)


def test_changed_file_of_a_tokenizer_is_replaced_when_a_version_is_built_again(machine: Open, s3: S3Server) -> None:
    store = machine("here")
    written = write(store, "text")
    shared = next(name for name, stored in store.shared.objects(refresh=True).items() if stored.size == 100)
    s3.put(f"lab/store/{SHARED}/{shared}", b"x" * 100)
    there = machine("there")
    assert there.damage(ADDRESS, written.path) == [
        f"{written.place}/tokenizer/tokenizer.json: its content is not what was written (checksum differs)"
    ]
    there.discard(ADDRESS, written.path)
    write(there, "text")
    assert machine("third").damage(ADDRESS, written.path) == []
