"""Sources in S3: listing, fetching once, verification, resumption and errors."""

import gzip
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from phyagi_assets.build.scan import scan_source
from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError, SourceChangedError, SourceError
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.steps.raw import build_raw, expected_raw
from phyagi_assets.steps.step import Workspace
from tests.command import command
from tests.s3 import SECRET, S3Server
from tests.support import DATA, build, declare_corpus, write_text
from tests.tokenizers.faulty_engines import store_contents

PLAYS = sorted((DATA / "raw" / "shakespeare").glob("*.txt"))[:3]


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    """A workspace without pauses between attempts."""
    return replace(workspace, retry_policy=RetryPolicy(attempts=3, pause=0.0))


@pytest.fixture
def plays(s3: S3Server, workspace: Workspace) -> Corpus:
    for play in PLAYS:
        s3.put(f"lake/plays/{play.name}", play)
    s3.put("lake/other/readme.md", b"no play")
    return declare_corpus(workspace.data, "plays", "s3://raw/lake/plays/*.txt", partition_by="file", splits={"validation": 0.3})


def test_remote_files_have_the_fingerprints_and_arrays_of_local_files(plays: Corpus, workspace: Workspace) -> None:
    for play in PLAYS:
        write_text(workspace.data / "raw" / play.name, play.read_bytes())
    local = declare_corpus(workspace.data, "local", "raw/*.txt", partition_by="file", splits={"validation": 0.3})
    far, near = build(plays, workspace), build(local, workspace)
    assert list(far) == list(near)
    for key in far:
        assert [built.artifact.fingerprint for built in far[key]] == [built.artifact.fingerprint for built in near[key]]
        arrays = [{path.name: path.read_bytes() for path in of[key][-1].artifact.path.glob("*.npy")} for of in (far, near)]
        assert arrays[0] == arrays[1]


def test_corpus_moved_to_the_bucket_and_back_is_not_encoded_again(s3: S3Server, workspace: Workspace) -> None:
    write_text(workspace.data / "raw" / "a.txt", "One.")
    s3.put("moved/a.txt", b"One.")
    places = ("raw/a.txt", "s3://raw/moved/a.txt", "raw/a.txt")
    built = [build(declare_corpus(workspace.data, "corpus", place), workspace)["all"] for place in places]
    assert [[of.reused for of in chain] for chain in built] == [[False] * 3, [False, True, True], [True] * 3]
    s3.faults.is_down = True
    assert (built[1][0].artifact.path / "files" / "a.txt").read_text() == "One."


def test_fetched_object_is_not_fetched_again(plays: Corpus, s3: S3Server, workspace: Workspace) -> None:
    build(plays, workspace)
    assert len(s3.faults.contents) == 3
    build(plays, workspace)
    assert all(
        artifact.is_current
        for part in workspace.sources.partitions(plays).values()
        for artifact in partition_artifacts(plays, part, workspace)
    )
    assert scan_source(plays, workspace).due == []
    assert len(s3.faults.contents) == 3
    s3.put(f"lake/plays/{PLAYS[0].name}", PLAYS[0])  # put again, the same
    assert scan_source(plays, workspace).due == []
    s3.put(f"lake/plays/{PLAYS[1].name}", b"another play")
    s3.put("lake/plays/new.txt", b"a new play")
    due = {item.key: item.steps for item in scan_source(plays, workspace).due}
    assert due == dict.fromkeys([PLAYS[1].stem, "new"], ("raw_dataset", "tokenized_arrow", "numpy_cache"))
    build(plays, workspace)
    assert sorted(s3.faults.contents[3:]) == [f"lake/plays/{PLAYS[1].name}", "lake/plays/new.txt"]


def test_changed_file_of_a_partition_is_fetched_alone(s3: S3Server, workspace: Workspace) -> None:
    for i in range(10):
        s3.put(f"day/{i}.txt", f"Text {i}.".encode())
    corpus = declare_corpus(workspace.data, "days", "s3://raw/day/*.txt")
    build(corpus, workspace)
    s3.put("day/7.txt", b"Another.")
    build(corpus, workspace)
    assert s3.faults.contents[10:] == ["day/7.txt"]


def test_multipart_and_compressed_objects_are_fetched(s3: S3Server, workspace: Workspace) -> None:
    lines = b"".join(b'{"text": "Line %d of many."}\n' % i for i in range(300_000))
    s3.put_in_parts("big/one.jsonl", lines)
    s3.put("big/two.jsonl.gz", gzip.compress(lines[: 9 * 28]))
    corpus = declare_corpus(workspace.data, "big", "s3://raw/big/*")
    build(corpus, workspace)
    (partition,) = workspace.sources.partitions(corpus).values()
    assert "-" in str(partition.files[0].stamp[0])
    assert expected_raw(corpus, partition, workspace)


def test_broken_transfer_is_resumed(plays: Corpus, s3: S3Server, workspace: Workspace) -> None:
    key, partition = next(iter(workspace.sources.partitions(plays).items()))
    s3.faults.cut = [5_000, 10_000]
    built = build_raw(plays, partition, workspace)
    assert (built.artifact.path / "files" / f"{key}.txt").read_bytes() == PLAYS[0].read_bytes()
    assert len(s3.faults.contents) == 3
    assert not list((workspace.store.root / ".transfers").rglob("*.txt"))


def test_failed_transfer_is_resumed_by_the_next_run(plays: Corpus, s3: S3Server, workspace: Workspace) -> None:
    partition = next(iter(workspace.sources.partitions(plays).values()))
    before = store_contents(workspace.store.root)
    s3.faults.cut = [5_000] * 3
    with pytest.raises(SourceError, match=r"s3://raw/lake/plays/.*\.txt: .* \(tried 3 times\)"):
        build_raw(plays, partition, workspace)
    assert {name: of for name, of in store_contents(workspace.store.root).items() if not name.startswith(".transfers")} == before
    progress: list[int] = []
    build_raw(plays, partition, workspace, progress.append)
    assert sum(progress) == PLAYS[0].stat().st_size - 15_000


def test_flipped_byte_is_noticed_and_fetched_again(plays: Corpus, s3: S3Server, workspace: Workspace) -> None:
    partition = next(iter(workspace.sources.partitions(plays).values()))
    s3.faults.flipped = 1
    built = build_raw(plays, partition, workspace)
    assert (built.artifact.path / "files" / PLAYS[0].name).read_bytes() == PLAYS[0].read_bytes()


def test_busy_server_is_retried_and_server_that_is_down_is_reported(plays: Corpus, s3: S3Server, workspace: Workspace) -> None:
    s3.faults.unavailable = 2
    assert len(workspace.sources.partitions(plays)) == 3
    s3.faults.is_down = True
    with pytest.raises(SourceError, match=r"s3://raw/lake/plays/: http://127\S+ cannot be reached, or broke off: \w+ \(tried 3 times\)"):
        workspace.sources.partitions(plays)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://raw/lake/none/*.txt", r"corpus.yaml:3: source.path: no object matches s3://raw/lake/none/\*\.txt"),
        ("s3://raw", r"corpus.yaml:3: source.path: 's3://raw' names no objects; name them, as in s3://raw/folder/\*\.jsonl"),
        ("s3://raw/lake/", r"names no objects"),
        ("s3://raw/a**/b", r"is not a valid glob"),
    ],
)
@pytest.mark.usefixtures("plays")
def test_url_without_objects_is_an_error_at_its_line(workspace: Workspace, path: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", path))


def test_missing_bucket_is_named(s3: S3Server, workspace: Workspace) -> None:
    del s3
    with pytest.raises(SourceError, match=r"s3://nowhere/x/: there is no such bucket"):
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", "s3://nowhere/x/*"))


def test_secrets_are_not_stored(
    plays: Corpus, s3: S3Server, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    s3.faults.unavailable = 1
    build(plays, workspace)
    wrong = "AnotherSecret/0123456789"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", wrong)
    with pytest.raises(SourceError, match=r"the secret key is not right") as denied:
        Workspace(data=workspace.data, store=workspace.store).sources.partitions(plays)
    written = [path.read_bytes() for path in workspace.store.root.rglob("*") if path.is_file()]
    for secret in (SECRET, wrong):
        assert secret not in str(denied.value) + caplog.text
        assert not any(secret.encode() in content for content in written)


@pytest.mark.usefixtures("plays")
def test_secrets_are_not_in_the_records_of_dagster(s3: S3Server, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.faults.unavailable = 1
    said = [command("materialize", "--data", workspace.data)]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "AnotherSecret/0123456789")
    said += [command("materialize", "--data", workspace.data)]
    assert [done.returncode for done in said] == [0, 1]
    assert "the secret key is not right" in said[-1].stderr
    kept = [path.read_bytes() for path in workspace.store.root.rglob("*") if path.is_file()]
    assert any(b"s3://raw/lake/plays" in content for content in kept)
    for secret in (SECRET, "AnotherSecret/0123456789"):
        assert not any(secret in done.stdout + done.stderr for done in said)
        assert not any(secret.encode() in content for content in kept)


def test_aws_profile_files_are_used(
    plays: Corpus, s3: S3Server, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = f"[profile lake]\nregion = us-east-1\nendpoint_url = {s3.proxy}\n"
    credentials = f"[lake]\naws_access_key_id = {s3.environment['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {SECRET}\n"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(write_text(tmp_path / "aws" / "config", config)))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(write_text(tmp_path / "aws" / "credentials", credentials)))
    for name in s3.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "lake")
    assert len(workspace.sources.partitions(plays)) == 3


def listed(workspace: Workspace, path: str) -> list[str]:
    corpus = declare_corpus(workspace.data, "corpus", path)
    return [file.name for file in workspace.sources.partitions(corpus)["all"].files]


def test_keys_are_matched_as_local_files_are(s3: S3Server, workspace: Workspace) -> None:
    for name in ("a.txt", "d/b.txt", ".c.txt", "_temporary/0/d.txt", "cafe\u0301.txt", "x [1].txt"):
        s3.put(f"lake/{name}", b"x")
        write_text(workspace.data / "lake" / name, "x")
    for pattern in ("lake/**/*.txt", "lake/**", "lake/*", "lake/caf\u00e9*", "lake/x [[]1].txt", "lake/_temporary/**"):
        assert listed(workspace, f"s3://raw/{pattern}") == listed(workspace, pattern)
    left_out = workspace.sources.listing(declare_corpus(workspace.data, "corpus", "s3://raw/lake/**/*.txt")).left_out
    assert sorted(file.origin for file in left_out) == ["s3://raw/lake/.c.txt", "s3://raw/lake/_temporary/0/d.txt"]


def test_content_encoding_is_decoded(s3: S3Server, workspace: Workspace) -> None:
    s3.put("packed/a.txt", gzip.compress(b"One."), ContentEncoding="gzip")
    s3.put("packed/b.txt.gz", gzip.compress(b"Two."), ContentEncoding="gzip")
    s3.put("packed/c.txt", b"Three.", ContentEncoding="gzip")
    built = build(declare_corpus(workspace.data, "corpus", "s3://raw/packed/*"), workspace)["all"]
    files = built[0].artifact.path / "files"
    assert (files / "a.txt").read_bytes() == b"One."
    assert gzip.decompress((files / "b.txt.gz").read_bytes()) == b"Two."
    assert built[-1].artifact.manifest.counts["train"]["documents"] == 3
    assert [of.reused for of in build(declare_corpus(workspace.data, "corpus", "s3://raw/packed/*"), workspace)["all"]] == [True] * 3


def test_invalid_address_is_reported_without_its_password(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:the-password@host name:x")
    with pytest.raises(SourceError, match=r"the settings of S3 are not valid: ") as told:
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", "s3://raw/a.txt"))
    assert "the-password" not in str(told.value)


def test_objects_without_an_etag_are_identified_by_modification_time(s3: S3Server, workspace: Workspace) -> None:
    s3.put("old/a.txt", b"One.")
    s3.faults.unlisted, s3.faults.ahead = ("ETag",), 60
    corpus = declare_corpus(workspace.data, "corpus", "s3://raw/old/*.txt")
    partition = workspace.sources.partitions(corpus)["all"]
    built = build_raw(corpus, partition, workspace)
    assert (built.artifact.path / "files" / "a.txt").read_bytes() == b"One."
    again = expected_raw(corpus, workspace.sources.partitions(corpus)["all"], workspace)
    assert again
    assert again.fingerprint == built.artifact.fingerprint
    assert s3.faults.contents == ["old/a.txt"]
    later = replace(partition.files[0], stamp=("", 4, "2001-01-01T00:00:00+00:00"))
    with pytest.raises(SourceChangedError, match=r"s3://raw/old/a.txt: the object (is gone or )?has changed since it was listed"):
        build_raw(corpus, replace(partition, files=(later,)), workspace)


@pytest.mark.parametrize(
    ("unlisted", "message"),
    [
        (
            ("ETag",),
            r"s3://raw/new/a\.txt: is listed with no ETag and was written at [\d:]+, too short before .*; wait a few seconds, or use",
        ),
        (("ETag", "LastModified"), r"s3://raw/new/: objects are listed with no time of writing, .*; use a server that gives it"),
        (("Size",), r"s3://raw/new/: objects are listed with no size, .*; use a server that gives it"),
    ],
)
def test_object_without_etag_and_time_is_refused(s3: S3Server, workspace: Workspace, unlisted: tuple[str, ...], message: str) -> None:
    s3.put("new/a.txt", b"One.")
    s3.faults.unlisted, s3.faults.ahead = unlisted, -3600
    with pytest.raises(SourceError, match=message):
        workspace.sources.partitions(declare_corpus(workspace.data, "corpus", "s3://raw/new/*"))


def test_key_that_is_a_file_and_a_folder_is_read_alone_and_refused_with_its_files(s3: S3Server, workspace: Workspace) -> None:
    s3.put("both/a", b"One.")
    s3.put("both/a/b.txt", b"Two.")
    assert listed(workspace, "s3://raw/both/*") == ["a"]
    assert listed(workspace, "s3://raw/both/a/*") == ["b.txt"]
    with pytest.raises(
        SourceError, match=r"s3://raw/both/a: it is an object, and the folder of s3://raw/both/a/b\.txt; narrow source\.path"
    ):
        listed(workspace, "s3://raw/both/**")
    apart = declare_corpus(workspace.data, "apart", "s3://raw/both/**", partition_by="file", source={"format": "text"})
    assert [[file.name for file in part.files] for part in workspace.sources.partitions(apart).values()] == [["a"], ["a/b.txt"]]


def test_empty_object_whose_key_ends_in_a_slash_is_a_folder(s3: S3Server, workspace: Workspace) -> None:
    s3.put("ends/", b"")
    s3.put("ends/a.txt", b"One.")
    assert listed(workspace, "s3://raw/ends/**") == ["a.txt"]


@pytest.mark.parametrize("key", ["odd//b", "odd/../b", "odd/./b"])
def test_key_that_is_not_a_valid_path_is_named(s3: S3Server, workspace: Workspace, key: str) -> None:
    s3.put("odd/b", b"Two.")
    s3.faults.renamed = {"odd/b": key}
    with pytest.raises(
        SourceError, match=rf's3://raw/odd/: the key "{key}" is not a valid path of a file; rename it, or narrow source.path'
    ):
        listed(workspace, "s3://raw/odd/**")


def test_listing_requests_only_the_fixed_prefix_of_a_pattern(s3: S3Server, workspace: Workspace) -> None:
    for key in ("d/2024-a/x.txt", "d/2024-b/x.txt", "d/2024.txt", "d/2023/x.txt"):
        s3.put(key, b"x")
    assert listed(workspace, "s3://raw/d/2024*/*.txt") == ["2024-a/x.txt", "2024-b/x.txt"]
    assert listed(workspace, "s3://raw/d/2024*") == ["2024.txt"]
    assert not any("2023" in prefix for prefix in s3.faults.prefixes)
