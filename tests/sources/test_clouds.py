"""Sources in Google Cloud Storage and in Azure, and cases that the S3 test server cannot produce."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phyagi_assets.build.scan import scan_source
from phyagi_assets.errors import AccessError, SourceChangedError, SourceDownError, SourceError
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from tests.buckets import SECRET, BucketServer, bucket_server
from tests.support import build, declare_corpus, write_text

SCHEMES = ["gs", "az"]


@pytest.fixture(scope="module")
def _running() -> Iterator[BucketServer]:
    with bucket_server() as server:
        yield server


@pytest.fixture
def bucket(_running: BucketServer, monkeypatch: pytest.MonkeyPatch) -> BucketServer:
    """An empty bucket that the environment variables select."""
    for environment in _running.environments.values():
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
    _running.objects.clear()
    _running.fetched.clear()
    _running.is_busy, _running.is_public, _running.region, _running.etag, _running.refusal = False, False, "", "", ""
    return _running


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    """A workspace that does not wait between attempts."""
    return replace(workspace, retry_policy=RetryPolicy(attempts=3, pause=0.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_objects_give_the_same_artifacts_as_local_files(scheme: str, bucket: BucketServer, workspace: Workspace) -> None:
    for name, text in {"a.txt": "One.", "d/café [1].txt": "Two.", ".hidden.txt": "Three."}.items():
        bucket.objects[f"plays/{name}"] = text.encode()
        write_text(workspace.data / "raw" / name, text)
    far = build(declare_corpus(workspace.data, "plays", f"{scheme}://lake/plays/**/*.txt"), workspace)["all"]
    near = build(declare_corpus(workspace.data, "plays", "raw/**/*.txt"), workspace)["all"]
    assert far[0].artifact.manifest.inputs["files"].keys() == {"a.txt", "d/café [1].txt"}
    assert [built.artifact.fingerprint for built in far[1:]] == [built.artifact.fingerprint for built in near[1:]]
    assert all(built.reused for built in near)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_a_changed_object_is_fetched_again(scheme: str, bucket: BucketServer, workspace: Workspace) -> None:
    bucket.objects |= {f"day/{i}.txt": f"Text {i}.".encode() for i in range(3)}
    corpus = declare_corpus(workspace.data, "days", f"{scheme}://lake/day/*.txt")
    build(corpus, workspace)
    assert scan_source(corpus, workspace).due == []
    bucket.objects["day/1.txt"] = b"Another."
    build(corpus, workspace)
    assert bucket.fetched[3:] == ["day/1.txt"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_object_that_changes_after_its_listing_is_refused(scheme: str, bucket: BucketServer, workspace: Workspace) -> None:
    bucket.objects["a.txt"] = b"One."
    corpus = declare_corpus(workspace.data, "corpus", f"{scheme}://lake/*.txt")
    partition = workspace.sources.partitions(corpus)["all"]
    bucket.objects["a.txt"] = b"Two."
    with pytest.raises(SourceChangedError, match=rf"{scheme}://lake/a\.txt: the object is gone or has changed since it was listed, "):
        build_raw(corpus, partition, workspace)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_folder_placeholder_is_ignored_and_key_with_a_trailing_slash_is_refused(
    scheme: str, bucket: BucketServer, workspace: Workspace
) -> None:
    bucket.objects |= {"ends/": b"", "ends/sub/": b"", "ends/a.txt": b"One."}
    corpus = declare_corpus(workspace.data, "corpus", f"{scheme}://lake/ends/**")
    assert [file.name for file in workspace.sources.partitions(corpus)["all"].files] == ["a.txt"]
    bucket.objects["ends/b.txt/"] = b"Two."
    with pytest.raises(SourceError, match=rf"{scheme}://lake/ends/b\.txt: the object is gone .* or its key ends in a slash"):
        build(corpus, workspace)


@pytest.mark.parametrize(
    ("scheme", "variables", "message"),
    [
        ("gs", {"GOOGLE_SKIP_SIGNATURE": "true"}, r"gs://lake/: access is denied without credentials, .* \(GOOGLE_APPLICATION_CREDENTIALS"),
        (
            "az",
            {"AZURE_SKIP_SIGNATURE": "true"},
            r"az://lake/: access is denied without credentials, .* \(AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
        ),
        ("az", {"AZURE_STORAGE_ACCOUNT_NAME": ""}, r"az://lake/: the settings of Azure are not valid: .*ccount"),
        (
            "az",
            {"AZURE_ENDPOINT": "nowhere", "AZURE_STORAGE_ENDPOINT": ""},
            r"AZURE_ENDPOINT is not the address of a server, such as https",
        ),
        ("gs", {"GOOGLE_BASE_URL": "nowhere"}, r"GOOGLE_BASE_URL is not the address of a server, such as https"),
    ],
)
def test_invalid_settings_are_named(
    bucket: BucketServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, scheme: str, variables: dict[str, str], message: str
) -> None:
    bucket.objects["a.txt"] = b"One."
    for name, value in variables.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    with pytest.raises(SourceError, match=message) as told:
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", f"{scheme}://lake/*.txt"))
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bucket_that_does_not_exist_is_named(scheme: str, bucket: BucketServer, workspace: Workspace) -> None:
    del bucket
    with pytest.raises(SourceError, match=rf"{scheme}://nowhere/x/: there is no such (bucket|container)"):
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", f"{scheme}://nowhere/x/*"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_busy_server_is_retried_and_reported(scheme: str, bucket: BucketServer, workspace: Workspace) -> None:
    bucket.is_busy = True
    with pytest.raises(SourceDownError, match=rf"{scheme}://lake/: the server says ServerBusy \(tried 3 times\)"):
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", f"{scheme}://lake/*.txt"))


def test_object_whose_etag_is_not_its_md5_is_fetched_twice_once_per_bucket(bucket: BucketServer, workspace: Workspace) -> None:
    bucket.objects |= {"a.txt": b"One.", "b.txt": b"Two."}
    bucket.etag = "0" * 32
    corpus = declare_corpus(workspace.data, "corpus", "s3://lake/*.txt", partition_by="file")
    for partition in workspace.sources.partitions(corpus).values():
        build_raw(corpus, partition, workspace)
    assert bucket.fetched == ["a.txt", "a.txt", "b.txt"]


def test_bucket_in_another_region_is_requested_there(bucket: BucketServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket.objects["a.txt"] = b"One."
    bucket.region = "eu-west-1"
    built = build(declare_corpus(workspace.data, "corpus", "s3://lake/*.txt"), workspace)["all"]
    assert built[-1].artifact.manifest.counts["train"]["documents"] == 1


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("RequestTimeTooSkewed", "the clock of this machine and that of the server differ too much; set the clock right", AccessError),
        ("AccessDenied", r"access is denied to these credentials \(AWS_PROFILE, ", AccessError),
        ("InvalidToken", r"the session token is not valid; log in again \(AWS_SESSION_TOKEN, ", AccessError),
        ("PermanentRedirect", r"the bucket is in another region \(AWS_REGION, ", SourceError),
    ],
)
def test_refusal_names_the_missing_setting_and_is_not_retried(
    bucket: BucketServer, workspace: Workspace, code: str, message: str, error: type[SourceError]
) -> None:
    bucket.refusal = code
    with pytest.raises(error, match=message):
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", "s3://lake/*.txt"))


def test_requests_without_credentials_are_unsigned(
    bucket: BucketServer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket.objects["a.txt"] = b"One."
    corpus = declare_corpus(workspace.data, "corpus", "s3://lake/*.txt")
    with pytest.raises(SourceError, match=r"s3://lake/: access is denied without credentials, and there are none \(AWS_PROFILE, "):
        workspace.sources.partitions(corpus)
    bucket.is_public = True
    assert build(corpus, workspace)["all"][-1].artifact.manifest.counts["train"]["documents"] == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pinned_object_is_read_in_parts_until_it_changes(scheme: str, bucket: BucketServer, workspace: Workspace) -> None:
    bucket.objects["day/a.txt"] = b"One after the other."
    corpus = declare_corpus(workspace.data, "days", f"{scheme}://lake/day/*.txt")
    pinned = workspace.sources.pinned(workspace.sources.partitions(corpus)["all"].files[0])
    assert pinned.read_range(4, 9) == b"after"
    bucket.objects["day/a.txt"] = b"Another after it...."
    with pytest.raises(
        SourceChangedError, match=rf"{scheme}://lake/day/a\.txt: has changed: it was pinned as ETag \w+, 20 bytes, and it is ETag"
    ):
        pinned.read_range(4, 9)
