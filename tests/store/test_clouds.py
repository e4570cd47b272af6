"""Stores in Google Cloud Storage and Azure: the same content as in S3, and refused requests change nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.bucket_store import BucketStore
from phyagi_assets.store.copying import copy_versions, version_copies
from phyagi_assets.store.local import LocalStore
from tests.bucket_stores import store_in_bucket
from tests.buckets import SECRET, BucketServer, bucket_server
from tests.support import build, declare_corpus, write_text
from tests.tokenizers.faulty_engines import store_contents

SCHEMES = ["gs", "az"]
STEPS = ["numpy_cache", "raw_dataset", "tokenized_arrow"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """An empty bucket that the environment variables select."""
    with bucket_server() as server:
        for environment in server.environments.values():
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
        yield server


def store_on(scheme: str, machine: Path) -> BucketStore:
    return store_in_bucket(f"{scheme}://lake/of a lab/é+%", scratch=machine, retry_policy=RetryPolicy(attempts=3, pause=0.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_store_has_the_bytes_of_a_store_on_a_disk_and_removes_versions(
    scheme: str, bucket: BucketServer, workspace: Workspace, tmp_path: Path
) -> None:
    write_text(workspace.data / "raw" / "a b.txt", "One.")
    corpus = declare_corpus(workspace.data, "plays", "raw/*.txt", partition_by="file")
    build(corpus, workspace)
    here, there, back = store_on(scheme, tmp_path / "here"), store_on(scheme, tmp_path / "there"), LocalStore(tmp_path / "back")
    build(corpus, Workspace(data=workspace.data, store=here, engines=workspace.engines))
    list(copy_versions(version_copies(there, back)))
    assert isinstance(workspace.store, LocalStore)
    expected, found = store_contents(workspace.store.root), store_contents(back.root)
    assert [name for name in found if not name.startswith(".") and expected[name] != found[name]] == []
    assert sorted(version.address for version in there.versions()) == [f"plays/{step}/a%20b" for step in STEPS]
    assert not [key for key in bucket.objects if "/.leases/" in key or not key.startswith("of a lab/é+%/")]
    there.bucket.delete([found.key for found in there.bucket.list()] + ["absent"])
    assert bucket.objects == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_object_is_created_once_and_large_ones_are_written_in_parts_and_copied_by_the_server(
    scheme: str, bucket: BucketServer, tmp_path: Path
) -> None:
    folder = BucketFolder(f"{scheme}://lake/store", RetryPolicy(attempts=1))
    assert [folder.create("pointer", content) for content in (b"first", b"second")] == [True, False]
    assert folder.read("pointer") == b"first"
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 70_000)
    folder.upload(large, "large", xxhash.xxh3_128(large.read_bytes()).hexdigest())
    assert folder.copy("large", folder.folder("inner"), "copied", large.stat().st_size)
    assert bucket.objects["store/inner/copied"] == large.read_bytes()
    assert bucket.parts == {}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("refusal", "place", "message"),
    [
        ("read-only", "lake/store", r"://lake/store: cannot be written: access is denied to these credentials \((GOOGLE|AZURE)_"),
        ("AuthenticationFailed", "lake/store", r"://lake/store: cannot be written: the credentials are not right \((GOOGLE|AZURE)_"),
        ("", "nowhere/store", r"://nowhere/store: cannot be .*: there is no such (bucket|container)"),
    ],
)
def test_refusal_names_the_setting_and_leaves_the_bucket_as_it_was(
    scheme: str, bucket: BucketServer, workspace: Workspace, tmp_path: Path, refusal: str, place: str, message: str
) -> None:
    write_text(workspace.data / "raw" / "a.txt", "One.")
    corpus = declare_corpus(workspace.data, "plays", "raw/*.txt")
    bucket.is_read_only, bucket.refusal = refusal == "read-only", refusal if refusal != "read-only" else ""
    with pytest.raises(StoreError, match=message) as told:
        build(corpus, Workspace(data=workspace.data, store=store_in_bucket(f"{scheme}://{place}", scratch=tmp_path / "scratch")))
    assert SECRET not in str(told.value)
    assert bucket.objects == {}
