"""The process that fetches parts of objects for another one."""

import os
import signal
import sys
from pathlib import Path

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.objects.fetching import FetchingProcess, PartRequest
from tests.ray_nodes import children
from tests.s3 import BUCKET, S3Server


@pytest.fixture
def fetching(s3: S3Server) -> FetchingProcess:
    s3.put("folder/letters", b"abcdefghij")
    return FetchingProcess(BucketFolder(f"s3://{BUCKET}/folder"))


def fetch(fetching: FetchingProcess) -> bytes:
    request = PartRequest(key="letters", start=2, stop=5, size=10)
    return fetching.submit([request])[0].result(timeout=30)


def test_process_imports_no_module_from_the_working_directory(
    fetching: FetchingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('this is another module')")
    monkeypatch.chdir(tmp_path)
    assert fetch(fetching) == b"cde"


def test_process_that_dies_now_and_then_is_started_again(fetching: FetchingProcess) -> None:
    before = set(children(os.getpid()))
    for _ in range(4):
        assert fetch(fetching) == b"cde"
        for process in set(children(os.getpid())) - before:
            os.kill(process, signal.SIGKILL)


def test_process_that_cannot_run_is_named_for_later_requests_too(fetching: FetchingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"s3://raw/folder: the process that fetches from it ended 3 times, .* exit code 1; check its"):
            fetch(fetching)
