"""Servers that are not object stores, or do not answer, are named."""

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from phyagi_assets.errors import SourceError, StoreError
from phyagi_assets.objects import outage
from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.objects.retries import NoAnswerError, RetryPolicy
from phyagi_assets.sources.hub_errors import answered_by_page
from phyagi_assets.sources.object_store import Buckets
from tests.s3 import KEY, SECRET, S3Server
from tests.support import declare_corpus

BUCKET = "s3://raw/store"
PAGES = {"well-formed": "<html><body>Sign in</body></html>", "usual": "<!DOCTYPE html><html><br></html>", "empty": "", "JSON": "{}"}


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server that answers every request with the same page, as login pages of networks do."""
    content = PAGES[request.param].encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=partial(server.serve_forever, poll_interval=0.02)).start()
        _use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _use(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


def test_web_page_is_not_an_empty_bucket(page: str, tmp_path: Path) -> None:
    said = f"{page} does not answer as S3 does: .* check the address \\(AWS_ENDPOINT_URL\\)"
    with pytest.raises(StoreError, match=f"{BUCKET}: cannot be listed: {said}"):
        BucketFolder(BUCKET).list()
    corpus = declare_corpus(tmp_path, "corpus", "s3://raw/*.jsonl")
    with pytest.raises(SourceError, match=f"s3://raw/: {said}"):
        Buckets("s3://", RetryPolicy()).files(corpus, "s3://raw/*.jsonl")


def test_empty_folder_of_a_bucket_is_asked_about_once(s3: S3Server) -> None:
    folder = BucketFolder("s3://raw/nothing-here")
    assert (folder.list(), folder.list()) == ([], [])
    assert s3.faults.requests == {"GET": 2, "HEAD": 1}


def test_refused_deletion_is_not_called_a_refused_write(s3: S3Server) -> None:
    s3.faults.is_read_only = True
    with pytest.raises(StoreError, match=f"{BUCKET}: an object cannot be deleted: access is denied"):
        BucketFolder(BUCKET).delete(["a"])


def test_server_that_has_not_answered_for_long_is_asked_once_per_request_until_it_answers(s3: S3Server) -> None:
    s3.put("store/a", b"content")
    folder = BucketFolder(BUCKET, RetryPolicy(attempts=3, pause=0.0, outage=0.0))
    for _ in range(2):
        s3.faults.is_down = True
        for tried in ("tried 3 times", "tried once", "tried once"):
            with pytest.raises(StoreError, match=tried):
                folder.folder("inner").read("b")
        s3.faults.is_down = False
        assert folder.read("a") == b"content"


def test_outage_is_logged_once_for_all_requests(s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    folder = BucketFolder(BUCKET, RetryPolicy(attempts=2, pause=0.0))
    for outages in (1, 2):
        s3.faults.is_down = True
        for key in "ab":
            with pytest.raises(StoreError, match="tried 2 times"):
                folder.folder("inner").read(key)
        s3.faults.is_down = False
        assert folder.read("a") is None
        assert ["trying again up to 1 times" in message for message in caplog.messages] == [True] * outages


@pytest.mark.parametrize("after", ["a refusal", "a long time without requests"])
def test_earlier_outage_does_not_take_the_retries_of_a_request(s3: S3Server, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    folder = BucketFolder(BUCKET, RetryPolicy(attempts=3, pause=0.0, outage=0.0))
    s3.faults.is_down = True
    with pytest.raises(StoreError, match="tried 3 times"):
        folder.read("a")
    if after == "a refusal":
        s3.faults.is_down, s3.faults.is_read_only = False, True
        with pytest.raises(StoreError, match="access is denied"):
            folder.delete(["a"])
        s3.faults.is_down = True
    else:
        monkeypatch.setattr(outage, "_OUTDATED", 0.0)
    with pytest.raises(StoreError, match="tried 3 times"):
        folder.read("a")


@pytest.mark.parametrize("by", ["file", "process"])
def test_credentials_that_were_renewed_are_read_again(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    file, keys = tmp_path / "credentials", tmp_path / "keys.json"

    def write(secret: str) -> None:
        if by == "file":
            file.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n")
        else:  # which does not say when they expire
            file.write_text(f"[default]\ncredential_process = cat {keys}\n")
            keys.write_text(json.dumps({"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": secret}))

    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3.put("store/a", b"content")
    write("of yesterday")
    folder = BucketFolder(BUCKET)
    with pytest.raises(StoreError, match="the secret key is not right"):
        folder.read("a")
    write(SECRET)
    assert folder.read("a") == b"content"


def test_credential_process_that_fails_for_a_while_is_run_again_by_readers(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    helper, keys = tmp_path / "helper", tmp_path / "keys.json"
    helper.write_text(f"#!/bin/sh\ncat {keys} && mv {keys} {keys}.used || {{ mv {keys}.used {keys}; exit 1; }}\n")
    helper.chmod(0o755)
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()  # so that the client asks for others with each request
    keys.write_text(json.dumps({"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET, "Expiration": soon}))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {helper}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3.put("store/a", b"content")
    folder = BucketFolder(BUCKET, RetryPolicy(pause=0.01), waits_for_access=True)
    for _ in range(2):
        assert folder.read("a") == b"content"
        time.sleep(0.2)  # the client does not ask again at once
    assert "the credential_process of profile 'default' in ~/.aws/config gives no credentials" in caplog.text
    assert SECRET not in caplog.text


def test_listing_of_a_server_that_never_answers_is_given_up_after_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # which accepts connections, and no more
        _use(f"http://127.0.0.1:{server.getsockname()[1]}", monkeypatch)
        with pytest.raises(StoreError, match=r"cannot be reached, or broke off: Timeout \(tried 2 times\)"):
            BucketFolder(BUCKET, RetryPolicy(pause=0.01), read_timeout=0.1).list()


def test_listing_of_a_server_that_has_answered_before_gets_all_attempts(s3: S3Server) -> None:
    s3.put("store/a", b"a")
    folder = BucketFolder(BUCKET, RetryPolicy(attempts=4, pause=0.01), read_timeout=0.2)
    assert folder.list()
    s3.faults.latency = 0.5
    with pytest.raises(StoreError, match=r"Timeout \(tried 4 times\)"):
        folder.list()


def test_attempts_without_an_answer_are_limited_where_they_are_counted() -> None:
    def silent() -> None:
        tried.append(1)
        raise NoAnswerError("silence")

    for silences, attempts in ((None, 4), (2, 2)):
        tried: list[int] = []
        with pytest.raises(SourceError, match=f"tried {attempts} times"):
            RetryPolicy(attempts=4, pause=0.0).with_retries("a server", silent, silences=silences)
        assert len(tried) == attempts


def test_web_page_instead_of_the_hub_is_recognized() -> None:
    for content, is_page in ((" <html>", True), ("{", False)):
        with pytest.raises(json.JSONDecodeError) as caught:
            json.loads(content)
        assert ("HF_ENDPOINT" in answered_by_page(caught.value)) is is_page
